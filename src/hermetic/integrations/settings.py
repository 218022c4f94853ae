"""Options of a web integration, checked when they are given."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..checking import Checker
from ..clock import monotonic
from ..errors import InvalidOption, Outcome
from ..flow import Flow
from ..options import Retry, ScopeOptions
from .answers import STATUSES, Answer, answer_to

if TYPE_CHECKING:
    from ..database import Database

_F = TypeVar("_F", bound=Callable[..., Any])

MARK: Final = "__hermetic_retried__"


def _succeeded(status: int) -> bool:
    return status < 400


def with_scope(kind: type[Any], options: Mapping[str, Any], *, place: str) -> dict[str, Any]:
    """The keywords of a class of options: its own fields, and those of ScopeOptions as ``scope``.

    :raises InvalidOption: one is unknown, or wrong.
    """
    own = {each.name for each in fields(kind)}
    given = {name: value for name, value in options.items() if name in own}
    scope = {name: value for name, value in options.items() if name not in own}
    ScopeOptions().updated(scope, place=place)
    return {**given, "scope": {**given.get("scope", {}), **scope}}


@dataclass(frozen=True, kw_only=True)
class WebOptions:
    """What the units of work of requests promise, and how they are answered.

    :param commits: called with a response's status: whether the unit commits. Default: below 400.
    :param timeout: seconds for a request's unit, from the request's arrival on. Default ``None``:
        as the Database has it.
    :param timeout_header: the name of a request's header field that may make it shorter: seconds,
        as ``2.5``. It needs ``timeout``, which bounds it. Default ``None``.
    :param retry: the policy of requests that are run again as a whole, with a fresh session: a
        number of attempts or a Retry. Which ones, ``retried`` says, or ``safe``. Default 5.
    :param safe: methods of requests that are safe to be run again, such as ``{"GET"}``. Default:
        none; ``retried`` marks a single endpoint.
    :param body_limit: bytes of a request's body that are kept for that; a larger one is run once.
        Default 1 MiB.
    :param statuses: the status for each class of errors, in place of those in ``STATUSES``;
        ``None`` for an error that is let through.
    :param retry_after: seconds, of ``Retry-After`` in a 503. Default 1.
    :param position_cookie: the name of a cookie that carries how far the client has seen and
        written, so that replicas show no less. Without replicas it does nothing. Default ``None``.
    :param position_header: a header field for the same, of requests and responses. Default
        ``None``.
    :param cookie_age: seconds that the cookie is kept. Default 300.
    :param cancel: whether a request is cancelled when its client is gone before the response
        began (ASGI). Default ``True``.
    :param threads: how many requests may have a session for threads at once (ASGI); more wait.
        Default ``None``: one less than the threads that there are for endpoints.
    :param drain: seconds for which a server that shuts down waits for open scopes, before it closes
        the Database (ASGI). Default ``None``: it does not close it.
    :param scope: options of the units' scopes, which can be given as options of their own.
    """

    commits: Callable[[int], bool] = _succeeded
    timeout: float | None = None
    timeout_header: str | None = None
    retry: Any = 5
    safe: Collection[str] = ()
    body_limit: int = 1 << 20
    statuses: Mapping[type[BaseException], int | None] = field(default_factory=dict)
    retry_after: int = 1
    position_cookie: str | None = None
    position_header: str | None = None
    cookie_age: int = 300
    cancel: bool = True
    threads: int | None = None
    drain: float | None = None
    scope: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check = Checker("web options")
        check.seconds("timeout", self.timeout, optional=True)
        check.seconds("drain", self.drain, optional=True, zero=True)
        check.whole("body_limit", self.body_limit, at_least=0, at_most=1 << 40)
        check.whole("retry_after", self.retry_after, at_least=0, at_most=1 << 31)
        check.whole("cookie_age", self.cookie_age, at_least=1, at_most=1 << 31)
        check.whole("threads", self.threads, at_least=1, at_most=1 << 20, optional=True)
        check.flag("cancel", self.cancel)
        for name in ("timeout_header", "position_cookie", "position_header"):
            value = getattr(self, name)
            if value is not None:
                check.ascii(name, value)
        if self.timeout_header is not None and self.timeout is None:
            raise check.refuse("timeout_header", self.timeout_header, "needs timeout, its bound")
        if not callable(self.commits):
            raise check.refuse("commits", self.commits, "must be callable")
        if isinstance(self.safe, str):
            raise check.refuse("safe", self.safe, "must be a set of methods")
        policy = ScopeOptions().updated({"retry": self.retry}, place="web options").retry
        object.__setattr__(self, "retry", policy)
        object.__setattr__(self, "safe", frozenset(each.upper() for each in self.safe))
        object.__setattr__(self, "statuses", {**STATUSES, **self.statuses})

    @classmethod
    def build(cls, options: Mapping[str, Any]) -> WebOptions:
        """From keywords: fields of its own, and of ScopeOptions.

        :raises InvalidOption: one is unknown, or wrong.
        """
        return cls(**with_scope(cls, options, place="web options"))

    # ------------------------------------------------------------ of one request

    def until(self, asked: str | None) -> float | None:
        """Monotonic seconds at which the time of a request that comes now is over.

        :param asked: what the client's header field says.
        :raises ValueError: it is no number of seconds.
        """
        if self.timeout is None:
            return None
        seconds = self.timeout
        if asked is not None:
            wanted = float(asked)
            if not wanted > 0:
                raise ValueError(asked)
            seconds = min(seconds, wanted)
        return monotonic() + seconds

    def policy(self, endpoint: object, method: str) -> Retry | None:
        """The policy of a request, if it is safe to run it again."""
        marked: Retry | bool | None = getattr(endpoint, MARK, None)
        if isinstance(marked, Retry):
            return marked
        return self.retry if marked or method in self.safe else None

    def flow(self, database: Database, position: str | None) -> Flow | None:
        """The flow of a request, from what its client sent; ``None`` where it would do nothing.

        What is none of the database's positions is taken for none: anybody may have changed it.
        """
        if self.position_cookie is None and self.position_header is None:
            return None
        if not database.options.replicas:
            return None
        try:
            return database.flow(position=position)
        except InvalidOption:
            return database.flow()

    def cookie(self, position: str, *, secure: bool) -> str:
        """A ``Set-Cookie`` with a position."""
        safety = "; Secure" if secure else ""
        return (
            f"{self.position_cookie}={position}; Max-Age={self.cookie_age}; Path=/; HttpOnly; "
            f"SameSite=Lax{safety}"
        )

    def answer(
        self, error: BaseException, outcomes: Collection[Outcome | None] = ()
    ) -> Answer | None:
        """What a client is told of an error; ``None`` for one that is let through.

        :param outcomes: of the request's units, as far as they have ended.
        """
        return answer_to(error, self.statuses, self.retry_after, outcomes)


def retried(policy: Any = True) -> Callable[[_F], _F]:
    """Mark an endpoint as safe to be run again as a whole, when its unit lost a conflict.

    Everything that it does besides, in memory or elsewhere, must bear to be done again.

    :param policy: a number of attempts or a Retry; default: the integration's own.
    :raises InvalidOption: it is neither.
    """
    mark = policy
    if policy is not True:
        mark = ScopeOptions().updated({"retry": policy}, place="retried()").retry

    def set_mark(endpoint: _F) -> _F:
        setattr(endpoint, MARK, mark)
        return endpoint

    return set_mark
