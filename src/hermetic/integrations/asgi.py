"""ASGI: a unit of work for each request, which commits before its response leaves.

It needs no library. FastAPI has more of its own in ``hermetic.integrations.fastapi``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import weakref
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ..clock import monotonic
from ..errors import ConfigurationError, PoolTimeout, ScopeRefused
from ..events import logger
from ..flow import Flow
from ..work import Work
from .answers import BAD_TIMEOUT, GONE, Answer, unanswered
from .receiving import Message, Receive, Receiving
from .settings import WebOptions, retried
from .together import Together, expected

if TYPE_CHECKING:
    from ..async_session import AsyncSession
    from ..database import Database
    from ..session import Session

__all__ = ["ClientGone", "RequestUnit", "RequestUnits", "request_unit", "retried"]

ASGIScope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[ASGIScope, Receive, Send], Awaitable[None]]
# answers a request that failed, or says that it does not
Respond = Callable[[ASGIScope, Receive, Send, BaseException], Awaitable[bool]]

_KEY = "hermetic"


class ClientGone(Exception):
    """A request was broken off because its client had gone before the response began."""


class RequestUnits:
    """ASGI middleware: one unit of work for each request, opened when a session is asked for.

    Put it next to the application, inside of middleware that answers by itself. A response begins
    after the commit. When that fails the client gets an error in its place.

    :param app: the application.
    :param database: whose units. Several may each have a middleware.
    :param respond: asked first to answer a request that failed; see ``fastapi``.
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
        self._ends: ThreadPoolExecutor | None = None
        self._process = 0
        self._turns: weakref.WeakKeyDictionary[Any, asyncio.Semaphore] = weakref.WeakKeyDictionary()

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            await RequestUnit(self, scope, receive, send).run()
        elif kind == "websocket":
            await self._websocket(scope, receive, send)
        elif kind == "lifespan" and self.options.drain is not None:
            await self.app(scope, receive, self._draining(send))
        else:
            await self.app(scope, receive, send)

    async def _websocket(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        flow = self.flow_of(scope)
        if flow is None:
            await self.app(scope, receive, send)
            return
        with flow:
            await self.app(scope, receive, send)

    def _draining(self, send: Send) -> Send:
        async def drain_first(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                await self.database.adrain(self.options.drain or 0.0)
                # a request that is still there ends its unit all the same, in a new one
                ends, self._ends = self._ends, None
                if ends is not None:
                    ends.shutdown(wait=False)
            await send(message)

        return drain_first

    @property
    def ends(self) -> ThreadPoolExecutor:
        """The threads in which units of threads end; a forked process has its own.

        As many as there can be connections: one that hangs keeps no other waiting. Not those of
        the endpoints, which may all wait for what these give back.
        """
        if self._ends is None or self._process != os.getpid():
            options = self.database.options
            size = options.pool_size + (options.reader_pool_size or options.pool_size)
            self._ends, self._process = ThreadPoolExecutor(size, "hermetic-end"), os.getpid()
        return self._ends

    def flow_of(self, scope: ASGIScope) -> Flow | None:
        """The flow of a request or websocket, from the position that its client sent."""
        options = self.options
        if options.position_cookie is None and options.position_header is None:
            return None
        position = None
        if options.position_header is not None:
            position = _header(scope, options.position_header)
        if position is None and options.position_cookie is not None:
            position = _cookie(scope, options.position_cookie)
        return options.flow(self.database, position)

    def turns(self) -> asyncio.Semaphore:
        """Who may have a session for threads: never all threads that there are wait for a
        connection, while whoever has one waits for a thread.
        """
        loop = asyncio.get_running_loop()
        found = self._turns.get(loop)
        if found is None:
            found = self._turns[loop] = asyncio.Semaphore(self.options.threads or _threads() - 1)
        return found


def _threads() -> int:
    """How many threads there are for endpoints: anyio's, which Starlette's run in."""
    if "anyio" not in sys.modules:
        return 40
    from anyio.to_thread import current_default_thread_limiter

    return max(2, int(min(current_default_thread_limiter().total_tokens, 1 << 20)))


class RequestUnit:
    """The unit of work of one request, as ``request_unit`` gives it."""

    def __init__(self, units: RequestUnits, scope: ASGIScope, receive: Receive, send: Send) -> None:
        self._units = units
        self._options = units.options
        self._given = scope
        self._send = send
        self._receiving = Receiving(receive, self._options.body_limit)
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        outer: dict[Database, RequestUnit] = scope.get(_KEY, {})
        self._together: Together = next(iter(outer.values()))._together if outer else Together()
        self._until: float | None = None
        self._flow: Flow | None = None
        self._turn: asyncio.Semaphore | None = None
        self._taking = asyncio.Lock()
        self._gone = False
        # of the attempt that runs: what it was given, what it raised and its end
        self._work: Work | None = None
        self._scope = scope
        self._error: BaseException | None = None
        self._failure: BaseException | None = None
        self._pause: float | None = None
        self._ended = False
        self._started = False

    @property
    def work(self) -> Work | None:
        """Its unit of work; ``None`` until a session was asked for."""
        return self._work

    # ------------------------------------------------------------ for the application

    async def asession(self, **options: Any) -> AsyncSession:
        """Its session, for asyncio.

        :param options: those of a scope. Where it is open already they are demands.
        :raises ScopeRefused: they are not met, the response has begun, or it has a session for
            threads.
        """
        work = self._open()
        self._watch()
        return await work.asession(**options)

    async def session(self, **options: Any) -> Session:
        """Its session, for threads; used in threads that are given a copy of this context.

        It waits here, not in a thread, where there are too many.

        :raises PoolTimeout: it has waited for as long as for a connection.
        """
        self._open()
        self._watch()
        async with self._taking:
            if self._turn is None:
                await self._take_turn()
        if self._ended:
            self._give_turn_back()
        return self._open().session(**options)

    def session_here(self, **options: Any) -> Session:
        """As ``session``, called in a thread; where all of them wait, it waits no better."""
        work = self._open()
        self._loop.call_soon_threadsafe(self._watch)
        return work.session(**options)

    def failed(self, error: BaseException) -> None:
        """Note that the request failed, although it may be answered: its unit is rolled back."""
        self._error = self._error or error

    def answer(self, error: BaseException) -> Answer | None:
        """What the client is told of an error; ``None`` for one that is let through."""
        outcomes = self._together.outcomes | expected(self._work, error)
        return self._options.answer(error, outcomes)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """A block whose exceptions are noted, by ``failed``."""
        try:
            yield
        except BaseException as error:
            self.failed(error)
            raise

    def _open(self) -> Work:
        if self._ended:
            raise ScopeRefused(
                "The request's unit of work has ended: its response has begun.",
                hint="A body that is streamed, or a background task, opens its own: db.session().",
            )
        work = self._work
        if work is None:
            policy = self._policy()
            options = {**self._options.scope, "retry": policy, "name": self._name()}
            work = self._units.database.work(until=self._until, of=self._endpoint(), **options)
            self._work = work
        self._together.add(work)
        return work

    def _watch(self) -> None:
        """Hear of the client's end, from the first session on."""
        if self._options.cancel and not self._ended and not self._gone:
            self._receiving.watch(self._client_gone, has_body=_has_body(self._given))

    def _policy(self) -> Any:
        return self._options.policy(self._endpoint(), self._given["method"])

    def _endpoint(self) -> Any:
        """What answers it: Starlette's ``endpoint``, or the function of Litestar's handler."""
        scope = self._together.scope or self._scope
        function = getattr(scope.get("route_handler"), "fn", None)
        # one that runs in a thread is inside of Litestar's own callable
        return scope.get("endpoint") or getattr(function, "func", function)

    def _name(self) -> str:
        given = self._options.scope.get("name")
        scope = self._together.scope or self._scope
        path = scope.get("path_template") or getattr(scope.get("route"), "path", None)
        path = path or self._given["path"]
        return given or f"{self._given['method']} {path}"[:63]

    async def _take_turn(self) -> None:
        turns = self._units.turns()
        seconds = self._units.database.options.pool_timeout
        if self._until is not None:
            seconds = min(seconds, self._until - monotonic())
        try:
            async with asyncio.timeout(seconds):
                await turns.acquire()
        except TimeoutError as late:
            raise PoolTimeout(
                "No thread was to be had for a request with a session for threads.",
                pool="threads of requests",
                limit=self._options.threads or _threads() - 1,
                hint="Requests take too long, or there are too few threads.",
            ) from late
        self._turn = turns

    def _client_gone(self) -> None:
        if not self._ended and not self._gone and self._task is not None:
            self._gone = True
            self._task.cancel(ClientGone.__name__)

    # ------------------------------------------------------------ its life

    async def run(self) -> None:
        """Have the application answer the request."""
        try:
            asked = self._options.timeout_header and _header(
                self._given, self._options.timeout_header
            )
            self._until = self._options.until(asked or None)
        except ValueError:
            await _send_answer(self._send, BAD_TIMEOUT)
            return
        flow = self._flow = self._units.flow_of(self._given)
        try:
            if flow is None:
                await self._run()
            else:
                with flow:
                    await self._run()
        finally:
            self._receiving.stop()
            self._give_turn_back()

    async def _run(self) -> None:
        while True:
            known = self._given.get(_KEY, {})
            self._scope = {**self._given, _KEY: {**known, self._units.database: self}}
            self._together.scope = self._scope
            try:
                await self._units.app(self._scope, self._receiving, self._sending)
                if not self._ended:
                    # nothing was answered, so that nobody was told of a success
                    await self._end(unanswered())
                return
            except BaseException as raised:
                pause = await self._fail(raised)
                if pause is None:
                    return
            await asyncio.sleep(pause)
            if self._options.cancel and self._receiving.client_gone:
                logger.debug("a request's client was gone; it was not run again")
                await self._answer_nobody()
                return
            self._receiving.repeat()
            self._together.repeat(self._work)
            self._error = self._failure = None
            self._ended = False

    async def _sending(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self._started:
            if self._pause is not None and self._error is not None:
                raise self._error  # it answers once more what is to be run again
            if self._failure is not None and message["status"] < 400:
                raise self._failure  # it goes on although its commit has failed
            if not self._ended:
                await self._end_before(message["status"])
            self._started = True
            if self._flow is not None and self._flow.position is not None:
                message = self._with_position(message, self._flow.position)
        await self._send(message)

    async def _end_before(self, status: int) -> None:
        """End the unit before a response begins; what that raises is the response's failure."""
        work = self._work
        if work is not None and self._error is None and not self._options.commits(status):
            work.rollback_only()
        try:
            await self._end(self._error)
        except BaseException as failed:
            self._failure = failed
            raise
        if isinstance(self._error, Exception):
            # it was answered; it is run again in place of that where it may be
            self._pause = self._pause_after(self._error)
            if self._pause is not None:
                raise self._error

    async def _end(self, error: BaseException | None) -> None:
        self._ended = True
        try:
            if self._work is not None:
                await self._work.aend(error, executor=self._units.ends)
        finally:
            self._give_turn_back()

    def _give_turn_back(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.release()

    # ------------------------------------------------------------ where it fails

    async def _fail(self, raised: BaseException) -> float | None:
        """Seconds until it is run again; ``None`` when it was answered.

        :raises BaseException: what was raised, where that is not for the client to know.
        """
        error = self._failure or self._error or raised
        if isinstance(raised, asyncio.CancelledError):
            error = raised
        if not self._ended:
            try:
                await self._end(error)
            except BaseException as worse:
                error = worse
        if self._gone and isinstance(error, asyncio.CancelledError) and self._task is not None:
            self._task.uncancel()
            logger.debug("a request's client was gone; its unit was rolled back")
            await self._answer_nobody()
            return None
        if self._started or not isinstance(error, Exception):
            raise error
        pause, self._pause = self._pause, None
        if pause is None:
            pause = self._pause_after(error)
        if pause is None and self._policy() and self._together.others_open(self._work):
            raise error  # whoever has the outermost one may run all of them again
        if pause is None and not await self._answered(error):
            raise error
        return pause

    async def _answer_nobody(self) -> None:
        """Have middleware further out come to its end: some takes none for a fault of its own."""
        if not self._started:
            with contextlib.suppress(Exception):  # a server may say once more that there is nobody
                await _send_answer(self._send, GONE)

    def _may_repeat(self) -> bool:
        policy = self._policy()
        return policy is not None and not self._started and self._receiving.can_repeat

    def _pause_after(self, error: Exception) -> float | None:
        work = self._work
        if work is None or not self._may_repeat() or not self._together.may_repeat(work):
            return None
        return work.again(error)

    async def _answered(self, error: Exception) -> bool:
        respond = self._units.respond
        scope = self._together.scope or self._scope
        if respond is not None and await respond(scope, self._receiving, self._send, error):
            return True
        answer = self.answer(error)
        if answer is None:
            return False
        await _send_answer(self._send, answer)
        return True

    def _with_position(self, message: Message, position: str) -> Message:
        headers = list(message.get("headers", ()))
        options = self._options
        if options.position_header is not None:
            headers.append((options.position_header.lower().encode(), position.encode()))
        if options.position_cookie is not None:
            secure = self._given.get("scheme") == "https"
            headers.append((b"set-cookie", options.cookie(position, secure=secure).encode()))
        return {**message, "headers": headers}


def request_unit(scope: ASGIScope, database: Database | None = None) -> RequestUnit:
    """The unit of work of a request, by its ASGI scope (Starlette's ``request.scope``).

    :param database: whose, where there are several.
    :raises ConfigurationError: there is no middleware for it.
    :raises ScopeRefused: it is a websocket, which has no response that a commit could come before.
    """
    units: dict[Database, RequestUnit] = scope.get(_KEY, {})
    if database is None and len(units) == 1:
        return next(iter(units.values()))
    found = None if database is None else units.get(database)
    if found is not None:
        return found
    if scope["type"] == "websocket":
        raise ScopeRefused(
            "A websocket has no unit of work: no response that a commit could come before.",
            hint="Open one for each message: async with db.session().",
        )
    which = "it is not said which" if units and database is None else "there is no middleware"
    raise ConfigurationError(
        f"The request has no unit of work: {which}.",
        hint="Put RequestUnits(app, db) around the application; with FastAPI: "
        "Sessions(db).install(app).",
    )


async def _send_answer(send: Send, answer: Answer) -> None:
    headers = [(name.encode(), value.encode()) for name, value in answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _header(scope: ASGIScope, name: str) -> str | None:
    wanted = name.lower().encode()
    for known, value in scope["headers"]:
        if known == wanted:
            text: str = value.decode("latin-1")
            return text
    return None


def _cookie(scope: ASGIScope, name: str) -> str | None:
    for known, value in scope["headers"]:
        if known == b"cookie":
            for each in value.decode("latin-1").split(";"):
                key, _, text = each.strip().partition("=")
                if key == name:
                    found: str = text
                    return found
    return None


def _has_body(scope: ASGIScope) -> bool:
    names = dict(scope["headers"])
    return names.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in names
