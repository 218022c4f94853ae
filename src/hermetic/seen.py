"""What is watched for, and frozen records of what was seen: options, steps, ended scopes, findings.

Nothing of this is made, or costs anything, on a Database that nobody watches.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any

from .checking import Checker
from .errors import HermeticError, Outcome, ScopeRef

# What can be found, with what it means in a few words.
FINDINGS: dict[str, str] = {
    "repeated-statement": "one statement again and again in one scope, mostly a lazy load (N+1)",
    "chatty-scope": "a scope of very many statements",
    "slow-scope": "a scope that took long",
    "held-too-long": "a scope that has had a connection for long, and has it still",
    "idle-in-transaction": "a transaction that is open and in which nothing happens",
    "pool-near-limit": "a pool of which almost everything is lent, or in front of which many wait",
    "nested-independent": "scopes that hold a connection and wait for a second one",
    "connection-leak": "a connection that nobody gave back, until the collector found it",
    "used-after-end": "a session that is used when its scope has ended",
    "lazy-load-in-asyncio": "what was not loaded is used in a coroutine, which cannot wait for it",
    "session-left-open": "a session outside any scope, in a transaction that nobody ends",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What a Database is watched for: ``Database(url, watch=Watch(slow=0.5))``.

    :param strict: findings are raised, as FindingError, in the scope that they are of: at its next
        statement, or before its COMMIT, which then is a rollback. For tests. Default ``False``.
    :param keep: how many ended scopes are kept, and as many slow ones, and as many that failed.
        Default 200.
    :param steps: of how many statements a scope keeps text and time; further ones are counted.
        Default 200.
    :param slow: seconds; a scope that takes longer is slow. Default 1.
    :param held: seconds; a connection that a scope has for longer is held too long. Default 10.
    :param idle: seconds between two statements of an open transaction. Default 5.
    :param repeats: how often one statement may be sent by one scope. Default 10.
    :param chatty: how many statements a scope may send. Default 500.
    :param near: the part of a pool, 0 to 1, that may be lent. Default 0.9.
    :param every: seconds between two looks at what is open. Default 1.
    :param ignore: findings that are not wanted, by name. Default ``set()``.
    :param nearby: whether ``hermetic top`` and ``hermetic list`` of the same user see the process,
        by a socket in a private folder. Default ``True``.
    :param service: by which name several processes are workers of one service there. Default
        ``None``: ``HERMETIC_SERVICE``, or what was started.
    """

    strict: bool = False
    keep: int = 200
    steps: int = 200
    slow: float = 1.0
    held: float = 10.0
    idle: float = 5.0
    repeats: int = 10
    chatty: int = 500
    near: float = 0.9
    every: float = 1.0
    ignore: Collection[str] = frozenset()
    nearby: bool = True
    service: str | None = None

    def __post_init__(self) -> None:
        check = Checker("Watch()")
        check.flag("strict", self.strict)
        check.flag("nearby", self.nearby)
        if self.service is not None:
            check.text("service", self.service, longest=100)
        for name in ("keep", "steps"):
            check.whole(name, getattr(self, name), at_least=0, at_most=100_000)
        for name in ("repeats", "chatty"):
            check.whole(name, getattr(self, name), at_least=1, at_most=1_000_000)
        for name in ("slow", "held", "idle", "every"):
            check.seconds(name, getattr(self, name))
        near: Any = self.near
        if isinstance(near, bool) or not isinstance(near, (int, float)) or not 0 < near <= 1:
            raise check.refuse("near", near, "must be a number above 0, up to 1")
        if isinstance(self.ignore, str) or not set(self.ignore) <= set(FINDINGS):
            known = ", ".join(FINDINGS)
            raise check.refuse("ignore", self.ignore, f"must be a set of: {known}")
        object.__setattr__(self, "ignore", frozenset(self.ignore))


_ON = ("1", "true", "yes", "on")
_OFF = ("", "0", "false", "no", "off")


def watch(check: Checker, option: str, value: Any) -> Watch | None:
    """The option ``watch``: ``True``, ``"strict"``, a Watch, or nothing."""
    if value is None or value is False or isinstance(value, Watch):
        return value or None
    # from an environment it is a word
    word = value.strip().lower() if isinstance(value, str) else value
    if word in _OFF:
        return None
    if word is True or word in _ON:
        return Watch()
    if word == "strict":
        return Watch(strict=True)
    raise check.refuse(option, value, "must be True, 'strict' or a Watch")


@dataclass(frozen=True, slots=True)
class Step:
    """One statement of a scope.

    ``at`` is when it was sent, in seconds since the scope was opened; ``seconds`` until it was
    answered, ``None`` where it failed or is not answered yet. Of one that failed ``failed_after``
    is how many seconds later that was known, and ``code`` what the server said of it (SQLSTATE,
    errno), if it did. ``rows`` is how many rows it has returned or changed; ``None``: that was not
    to be known. Parameters are not kept.
    """

    statement: str
    at: float
    seconds: float | None
    failed_after: float | None = None
    code: str | None = None
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class SeenScope:
    """A scope that has ended, or as it was when looked at.

    ``ended_at`` is a Unix time, ``None`` of one that is open. ``seconds`` is its life: of these it
    ``waited`` for a place in the pool and was ``working`` at statements, and ``leaving`` is what
    the end took, with the flush and the COMMIT. ``steps`` are its first statements, ``statements``
    how many there were. ``rows`` is how many rows these have returned or changed; ``round_trips``
    how often the server was waited for, BEGIN and COMMIT included: ``None`` where the driver cannot
    be seen to.
    """

    number: int
    name: str
    opened_at: str
    owner: str
    propagation: str
    readonly: bool
    attempt: int
    tenant: str | None
    server: str | None
    outcome: Outcome | None
    error: str | None
    ended_at: float | None
    seconds: float
    waited: float
    working: float
    leaving: float
    statements: int
    steps: tuple[Step, ...]
    rows: int = 0
    round_trips: int | None = None

    @property
    def ref(self) -> ScopeRef:
        """Name, number and opening line."""
        return ScopeRef(self.name, self.number, self.opened_at)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that should not be, found while watching.

    ``code`` is one of FINDINGS; ``message`` says what was seen, ``advice`` what to do. ``place`` is
    the line of the user's code that it comes from, ``scope`` the scope that it was last seen in,
    ``stack`` where its owner was at that moment, innermost last. What comes from the same line is
    one finding: ``count`` says how often, ``first`` and ``last`` are Unix times.
    """

    code: str
    message: str
    advice: str
    place: str
    scope: ScopeRef | None = None
    statement: str | None = None
    stack: tuple[str, ...] = ()
    count: int = 1
    first: float = 0.0
    last: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """What a JSON encoder takes."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return found | {"scope": None if self.scope is None else str(self.scope)}


class FindingError(HermeticError):
    """A finding, raised where a Database is watched strictly. ``finding`` has it all."""

    def __init__(self, finding: Finding) -> None:
        where = f" ({finding.place})" if finding.place else ""
        super().__init__(f"{finding.message}{where}", scope=finding.scope, hint=finding.advice)
        self.finding = finding
