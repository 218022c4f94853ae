"""WSGI: a unit of work for each request, which commits before its response leaves.

It needs no library. Flask has more of its own in ``hermetic.integrations.flask``.
"""

from __future__ import annotations

import io
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError, ScopeRefused
from ..events import logger
from ..flow import Flow
from ..work import Work
from .answers import BAD_TIMEOUT, Answer, unanswered
from .settings import WebOptions, retried
from .together import Together, expected

if TYPE_CHECKING:
    from ..database import Database
    from ..session import Session

__all__ = ["RequestUnit", "RequestUnits", "request_unit", "retried"]

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
App = Callable[[Environ, StartResponse], Iterable[bytes]]
# what answers a request whose unit could not end as it should, or ``None``
Respond = Callable[[Environ, BaseException], App | None]

_KEY = "hermetic"


class RequestUnits:
    """WSGI middleware: one unit of work for each request, opened when a session is asked for.

    The unit ends when the application has called ``start_response`` and returned, before anything
    is sent. When its commit fails the client gets an error in the response's place. Of a body that
    is a generator nothing has run then: it opens a scope of its own.

    :param app: the application.
    :param database: whose units.
    :param respond: asked first to answer a request whose commit has failed; see ``flask``.
    :param options: the fields of WebOptions and ScopeOptions.
    :raises InvalidOption: an option is unknown, or its value outside its limits.
    """

    def __init__(
        self, app: App, database: Database, respond: Respond | None = None, **options: Any
    ) -> None:
        self.app = app
        self.database = database
        self.respond = respond
        self.options = WebOptions.build(options)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            unit = RequestUnit(self.database, self.options, environ)
        except ValueError:
            return _send(start_response, BAD_TIMEOUT)
        environ[_KEY] = {**environ.get(_KEY, {}), self.database: unit}
        unit.keep_body()
        # what the application changes in it is not the next run's
        given = dict(environ)
        while True:
            held = _Held(start_response)
            try:
                answered = self._answered(unit, held, environ)
            except Exception as error:
                pause = unit.pause_after(error)
                if pause is None:
                    if unit.leaves_it_to_another:
                        raise
                    return self._failed(unit, error, start_response)
            else:
                held.let_go(unit.headers())
                return answered
            time.sleep(pause)
            environ.clear()
            environ.update(given)
            unit.begin_again()

    def _failed(
        self, unit: RequestUnit, error: Exception, start_response: StartResponse
    ) -> Iterable[bytes]:
        """The answer to a request that failed, where it is not the program's own fault."""
        if self.respond is not None and unit.failed_at_its_end:
            answered = self.respond(unit.environ, error)
            if answered is not None:
                return answered(unit.environ, start_response)
        answer = unit.answer(error)
        if answer is None:
            raise error
        return _send(start_response, answer)

    def _answered(self, unit: RequestUnit, held: _Held, environ: Environ) -> Iterable[bytes]:
        flow = unit.flow
        answered: Iterable[bytes] = ()
        if flow is not None:
            flow.__enter__()
        try:
            answered = self.app(environ, held)
            if not held.status:
                answered = _Begun(answered)  # some begin with the first piece of the body
            if not held.status:
                raise unanswered()
            unit.end(held.status)
            return answered
        except BaseException as error:
            try:
                _close(answered)
            except Exception:
                logger.warning("the body of a request that failed was not closed", exc_info=True)
            finally:
                unit.end_failed(error)
            raise
        finally:
            if flow is not None:
                flow.__exit__(None, None, None)


class RequestUnit:
    """The unit of work of one request, as ``request_unit`` gives it; for any framework in threads.

    :raises ValueError: the request asks for a timeout that is none.
    """

    def __init__(self, database: Database, options: WebOptions, environ: Environ) -> None:
        self.database = database
        self.options = options
        self.environ = environ
        outer: dict[Any, RequestUnit] = environ.get(_KEY, {})
        self._together: Together = next(iter(outer.values()))._together if outer else Together()
        asked = environ.get(_field(options.timeout_header)) if options.timeout_header else None
        self._until = options.until(asked or None)
        self.flow: Flow | None = options.flow(database, self._position())
        self._work: Work | None = None
        self._error: BaseException | None = None
        self._ended = False
        # whether the application has answered, and its end has failed
        self.failed_at_its_end = False
        self._body: bytes | None = None
        self._pause: float | None = None
        # what is called, where a framework knows
        self.endpoint: Any = None
        self.name: str | None = None

    @property
    def work(self) -> Work | None:
        """Its unit of work; ``None`` until a session was asked for."""
        return self._work

    @property
    def ended(self) -> bool:
        """Whether it can be opened no more."""
        return self._ended

    def session(self, **options: Any) -> Session:
        """Its session.

        :param options: those of a scope. Where it is open already they are demands.
        :raises ScopeRefused: they are not met, or the response has begun.
        """
        if self._ended:
            raise ScopeRefused(
                "The request's unit of work has ended: its response has begun.",
                hint="A body that is streamed opens a scope of its own: db.session().",
            )
        if self._work is None:
            environ = self.environ
            name = self.name or f"{environ['REQUEST_METHOD']} {environ.get('PATH_INFO') or '/'}"
            given = {"name": name[:63], **self.options.scope, "retry": self.policy()}
            self._work = self.database.work(until=self._until, of=self.endpoint, **given)
        self._together.add(self._work)
        return self._work.session(**options)

    def failed(self, error: BaseException) -> None:
        """Note that the request failed, although it may be answered: its unit is rolled back."""
        self._error = self._error or error

    def answer(self, error: BaseException) -> Answer | None:
        """What the client is told of an error; ``None`` for one that is let through."""
        outcomes = self._together.outcomes | expected(self._work, error)
        return self.options.answer(error, outcomes)

    @property
    def leaves_it_to_another(self) -> bool:
        """Whether the unit of another Database, further out, says what becomes of a failure."""
        return self.policy() is not None and self._together.others_open(self._work)

    def policy(self) -> Any:
        """The policy of the request, if it is safe to run it again."""
        return self.options.policy(self.endpoint, self.environ["REQUEST_METHOD"])

    # ------------------------------------------------------------ its end

    def end(self, status: int) -> None:
        """End it, by the status of its response; what that raises is the response's failure."""
        self._ended = True
        work = self._work
        if work is None:
            return
        if self._error is None and not self.options.commits(status):
            work.rollback_only()
        try:
            work.end(self._error)
        except BaseException:
            self.failed_at_its_end = True
            raise
        if self._error is not None:
            # it was answered; it is run again in place of that where it may be
            self._pause = self.pause_after(self._error)
            if self._pause is not None:
                raise self._error

    def end_failed(self, error: BaseException) -> None:
        """End it, because the request raised; nothing where it has ended."""
        self._ended = True
        if self._work is not None:
            self._work.end(error)

    def pause_after(self, error: BaseException) -> float | None:
        """Seconds until the request should be run again as a whole; ``None`` for not."""
        pause, self._pause = self._pause, None
        if pause is not None:
            return pause
        work = self._work
        if work is None or self._body is None or self.policy() is None:
            return None
        return work.again(error) if self._together.may_repeat(work) else None

    def begin_again(self) -> None:
        """Make it ready for another run of the request, with its body."""
        self._ended, self._error = False, None
        self.failed_at_its_end = False
        self._together.repeat(self._work)
        if self._body is not None:
            self.environ["wsgi.input"] = io.BytesIO(self._body)

    def keep_body(self) -> None:
        """Keep the body for another run, where that may be, and it is not too large.

        To be called again where the endpoint is known.
        """
        environ = self.environ
        if self._body is not None or self.policy() is None:
            return
        try:
            length = int(environ.get("CONTENT_LENGTH") or 0)
        except ValueError:
            return
        if 0 <= length <= self.options.body_limit and "HTTP_TRANSFER_ENCODING" not in environ:
            self._body = environ["wsgi.input"].read(length) if length else b""
            environ["wsgi.input"] = io.BytesIO(self._body)

    # ------------------------------------------------------------ what goes with it

    def headers(self) -> list[tuple[str, str]]:
        """The header fields of its response: how far it has come."""
        position = None if self.flow is None else self.flow.position
        if position is None:
            return []
        options, found = self.options, []
        if options.position_header is not None:
            found.append((options.position_header, position))
        if options.position_cookie is not None:
            secure = self.environ.get("wsgi.url_scheme") == "https"
            found.append(("Set-Cookie", options.cookie(position, secure=secure)))
        return found

    def _position(self) -> str | None:
        options = self.options
        if options.position_header is not None:
            given: str | None = self.environ.get(_field(options.position_header))
            if given is not None:
                return given
        if options.position_cookie is None:
            return None
        for each in self.environ.get("HTTP_COOKIE", "").split(";"):
            name, _, value = each.strip().partition("=")
            if name == options.position_cookie:
                return str(value)
        return None


def request_unit(environ: Environ, database: Database | None = None) -> RequestUnit:
    """The unit of work of a request, by its WSGI environment.

    :param database: whose, where there are several.
    :raises ConfigurationError: there is no middleware for it.
    """
    units: dict[Any, RequestUnit] = environ.get(_KEY, {})
    if database is None and len(units) == 1:
        return next(iter(units.values()))
    found = None if database is None else units.get(database)
    if found is None:
        raise ConfigurationError(
            "The request has no unit of work of this Database.",
            hint="Put RequestUnits(app, db) around the application.",
        )
    return found


class _Held:
    """``start_response``, held back until the unit has ended."""

    def __init__(self, start_response: StartResponse) -> None:
        self._start = start_response
        self._arguments: tuple[Any, ...] = ()
        self.status = 0

    def __call__(self, status: str, headers: list[Any], exc_info: Any = None) -> Any:
        self.status = int(status.partition(" ")[0])
        self._arguments = (status, headers, exc_info)
        return self._write

    def let_go(self, more: list[tuple[str, str]]) -> None:
        """Begin the response."""
        status, headers, exc_info = self._arguments
        self._start(status, [*headers, *more], *((exc_info,) if exc_info else ()))

    def _write(self, data: bytes) -> None:
        raise NotImplementedError(
            "write() sends before the unit of work has ended; return the body instead"
        )


class _Begun:
    """A body whose first piece was made, with which its response begins."""

    def __init__(self, answered: Iterable[bytes]) -> None:
        self._answered = answered
        pieces = iter(answered)
        first = list(itertools.islice(pieces, 1))
        self._pieces = itertools.chain(first, pieces)

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def close(self) -> None:
        _close(self._answered)


def _close(answered: Iterable[bytes]) -> None:
    close = getattr(answered, "close", None)
    if close is not None:
        close()


def _field(name: str) -> str:
    return "HTTP_" + name.upper().replace("-", "_")


def _send(start_response: StartResponse, answer: Answer) -> Iterable[bytes]:
    try:
        phrase = HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = "Error"
    start_response(f"{answer.status} {phrase}", list(answer.headers))
    return [answer.body]
