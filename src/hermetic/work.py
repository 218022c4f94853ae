"""A unit of work whose beginning and end are two calls: for frameworks, whose hooks are apart."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

from .attempts import Run
from .boundary import Entry, enter
from .clock import monotonic
from .current import innermost, is_over, make_current
from .errors import Outcome, ScopeControls, ScopeEnded, ScopeRefused
from .events import logger
from .handed import hand_round
from .keywords import ScopeKeywords
from .options import Propagation, ScopeOptions
from .parts import parts
from .place import Place, caller_frame
from .registry import Scope
from .scope import (
    _as_outer,
    _sends_nothing,
    begin_async,
    begin_sync,
    end_async,
    end_sync,
    see_to_end,
    see_to_end_async,
)

if TYPE_CHECKING:
    from .async_session import AsyncSession
    from .database import Database
    from .session import Session


# how long the end of a unit may take once its socket was destroyed under it
_LAST_SECONDS = 1.0


class Work:
    """One unit of work, as ``db.work(…)`` gives it; for whoever writes an integration.

    Nothing is opened until a session is asked for, by ``session`` or ``asession``: the first of
    them settles whether the unit is one of threads or of asyncio. Whoever asks again gets the same
    session. It has to be ended, by ``end`` or ``aend``, exactly once.

    Hooks that run while it ends get its session too, as long as that is open; those that run
    afterwards get none.

    The session of threads belongs to whoever has the context in which it was asked for, or a copy
    of it, one thread at a time, and to nobody inside an event loop.
    """

    # whether something may be thrown into the thread that ends it: its COMMIT is sent by another
    commits_apart = False

    def __init__(
        self, database: Database, options: ScopeOptions, place: Place, until: float | None
    ) -> None:
        self._run = Run(database, options, place)
        if until is not None:
            known = self._run.deadline
            self._run.deadline = until if known is None else min(known, until)
        self._until = until
        self._opening = threading.Lock()
        # the open one, also while it ends, and the one that was opened last
        self._scope: Scope | None = None
        self._last: Scope | None = None
        self._ending = False

    def __repr__(self) -> str:
        state = "not opened" if self._last is None else repr(self._last)
        return f"<Work of {self._run.database.name!r}, {state}>"

    @property
    def opened(self) -> bool:
        """Whether a session was asked for, and the unit has not begun to end since."""
        return self._scope is not None and not self._ending

    @property
    def scope(self) -> Scope | None:
        """The record of its scope, also after the end; ``None`` where none was opened."""
        return self._last

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; ``None`` while that is open, or where no session was asked for."""
        return None if self._last is None else self._last.outcome

    # ------------------------------------------------------------ the session

    def session(self, **options: Unpack[ScopeKeywords]) -> Session:
        """Its session, for threads.

        :param options: those of a scope. Where the unit is open already they are demands, which it
            has to meet.
        :raises ScopeRefused: it does not, or the unit is one of asyncio.
        :raises ScopeEnded: a hook has asked that runs after its end.
        """
        with self._opening:
            scope = self._scope
            if scope is None:
                scope = self._begin(options)
            else:
                self._check_asked(scope, options, asynchronous=False)
        _bring_into_context(scope)
        session: Session = scope.facade
        return session

    async def asession(self, **options: Unpack[ScopeKeywords]) -> AsyncSession:
        """As ``session``, for asyncio. It belongs to the task that has asked first."""
        scope = self._scope
        if scope is None:
            run = self._prepared(options)
            scope = await begin_async(run.database, run.options, run.place, self._deadline())
            self._scope = self._last = scope
            scope.unit = self
            run.opened(scope)
        else:
            self._check_asked(scope, options, asynchronous=True)
        session: AsyncSession = scope.facade
        return session

    def _begin(self, options: Mapping[str, Any]) -> Scope:
        run = self._prepared(options)
        scope = begin_sync(run.database, run.options, run.place, self._deadline())
        # first: what strikes from here on finds something to end
        self._scope = self._last = scope
        scope.unit = self
        if scope.entry is Entry.TRANSACTION or scope.entry is Entry.PLAIN:
            hand_round(scope)
        run.opened(scope)
        return scope

    def _prepared(self, options: Mapping[str, Any]) -> Run:
        run = self._run
        if options:
            run.options = run.options.updated(options, place="db.work()")
        return run

    def _deadline(self) -> float | None:
        own = self._run.prepare()
        known = [each for each in (own, self._until) if each is not None]
        return min(known) if known else None

    def _check_asked(self, scope: Scope, options: Mapping[str, Any], *, asynchronous: bool) -> None:
        if scope.asynchronous != asynchronous:
            has, wants = ("asyncio", "threads") if scope.asynchronous else ("threads", "asyncio")
            raise ScopeRefused(
                f"A session of {wants} was asked for in a unit of work that has one of {has}.",
                scope=scope.ref,
                hint=f"Use the one of {has} in all of it, or open a unit of its own with "
                "db.session().",
            )
        if is_over(scope):
            # nobody would end what was opened now
            raise ScopeEnded(
                "The session of a unit of work was asked for after its scope had ended.",
                scope=scope.ref,
                hint="Open a scope of its own with db.session().",
            )
        if not options:
            return
        given = {"propagation": Propagation.REQUIRED, **options}
        wanted = ScopeOptions().updated(given, place="db.work()")
        enter(wanted, _as_outer(scope), scope.registry.family.default_isolation)  # type: ignore[union-attr]

    # ------------------------------------------------------------ the end

    def rollback_only(self) -> None:
        """Have it rolled back when it ends, without an exception."""
        if self._scope is not None:
            self._scope.innermost.ask_rollback()

    def end(self, error: BaseException | None = None) -> None:
        """End it: commit, or roll back because of ``error``; nothing where nothing is open.

        ``error`` is not raised. What goes wrong besides is, a failed commit above all.

        :raises ScopeControls: it is one of asyncio.
        """
        scope = self._scope
        if scope is None or self._ending:
            return
        if scope.asynchronous:
            raise ScopeControls("A unit of asyncio was ended by end().", hint="await aend().")
        self._ending = True
        try:
            self._end_here(scope, error)
        finally:
            self._scope, self._ending = None, False

    async def aend(
        self, error: BaseException | None = None, *, executor: Executor | None = None
    ) -> None:
        """As ``end``, under asyncio, also for a unit of threads: that is ended in a thread.

        A cancellation that arrives in the meantime is raised once, afterwards. When the unit has
        not ended ``cleanup_timeout`` after it, its socket is shut.

        :param executor: whose thread. Default: the loop's own.
        """
        scope = self._scope
        if scope is None or self._ending:
            return
        self._ending = True
        try:
            await self._aend(scope, error, executor)
        finally:
            self._scope, self._ending = None, False

    async def _aend(
        self, scope: Scope, error: BaseException | None, executor: Executor | None
    ) -> None:
        if scope.asynchronous:
            cleanup = self._run.database.options.cleanup_timeout
            try:
                await end_async(scope, error, cleanup)
            except BaseException as struck:
                await see_to_end_async(scope, struck, cleanup)
                raise
        elif _is_free(scope) and _sends_nothing(scope, error):
            self._end_here(scope, error)
        else:
            end = partial(self._end_here, scope, error)
            if error is not None and not isinstance(error, scope.options.commit_on):
                # a thread that goes on with it, because its caller was cancelled, gets no further
                scope.boundary.doom(error)
                end = partial(_interrupt_and, end, scope)
            await self._end_in_thread(scope, end, executor)

    def _end_here(self, scope: Scope, error: BaseException | None) -> None:
        cleanup = self._run.database.options.cleanup_timeout
        session = scope.session
        # a thread whose caller was cancelled may be in the middle of a statement
        in_use = getattr(session, "_in_use", None)
        if in_use is not None:
            in_use.acquire()
        try:
            end_sync(scope, error, cleanup)
        except BaseException as struck:
            see_to_end(scope, struck, cleanup)
            raise
        finally:
            if in_use is not None:
                in_use.release()

    async def _end_in_thread(
        self, scope: Scope, end: Callable[[], None], executor: Executor | None
    ) -> None:
        cleanup = self._run.database.options.cleanup_timeout
        # somebody who is inside its session has to come out first, and gets so much time
        until = None if _is_free(scope) else monotonic() + cleanup
        context = contextvars.copy_context()
        ended = asyncio.get_running_loop().run_in_executor(executor, context.run, end)
        cancelled: asyncio.CancelledError | None = None
        broken_off = False
        while not ended.done():
            left = None if until is None else max(0.0, until - monotonic())
            try:
                await asyncio.wait((ended,), timeout=left)
            except asyncio.CancelledError as arrived:
                if cancelled is None:
                    cancelled = arrived
                    scope.cancelled = True
                    until = until or monotonic() + cleanup
            if ended.done() or until is None or monotonic() < until:
                continue
            if broken_off and cancelled is not None:
                logger.error("the end of %s hangs, and was left behind", scope.ref)
                ended.add_done_callback(_say_nothing)
                raise cancelled
            if not broken_off:
                _break_off(scope)
            broken_off, until = True, monotonic() + _LAST_SECONDS
        failed = ended.exception()
        if cancelled is not None:
            cancelled.__context__ = failed
            raise cancelled
        if failed is not None:
            raise failed

    # ------------------------------------------------------------ again

    def again(self, error: BaseException) -> float | None:
        """Seconds until it should be run again, because of what it raised; ``None`` for not.

        As its policy has it, ``retry``, and never when it was, or may have been, committed. After
        the pause the next session that is asked for is that of the next attempt.
        """
        return self._run.pause_after(self._last, error)


def _say_nothing(ended: asyncio.Future[None]) -> None:
    """Whoever would have heard of it was cancelled long ago."""
    if not ended.cancelled():
        ended.exception()


def _bring_into_context(scope: Scope) -> None:
    known: Scope | None = innermost()
    while known is not None and known is not scope:
        known = known.parent
    if known is None:
        make_current(scope)


def _is_free(scope: Scope) -> bool:
    """Whether no thread is inside its session."""
    in_use = getattr(scope.session, "_in_use", None)
    if in_use is None or not in_use.acquire(blocking=False):
        return in_use is None
    in_use.release()
    return True


def _interrupt_and(end: Callable[[], None], scope: Scope) -> None:
    """End a unit; a statement that a thread still waits for is ended first."""
    if not _is_free(scope):
        for part in parts(scope.root):
            connection, transaction = part.connection, part.transaction
            if connection is None or connection.scope is not part:
                continue
            if transaction is not None and transaction.commit_sent:
                continue
            connection.retired = True  # it may be struck by this when it is lent to another
            with contextlib.suppress(Exception):
                if connection.remains is not None:
                    connection.remains.end(_LAST_SECONDS)
                else:
                    record: Any = connection.pool_record and connection.pool_record()
                    connection.family.interrupt(record.dbapi_connection, _LAST_SECONDS)
    end()


def _break_off(scope: Scope) -> None:
    for part in parts(scope.root):
        connection = part.connection
        if connection is not None and connection.scope is part and connection.break_off:
            connection.break_off()


def _place_of(function: object) -> Place | None:
    """The first line of a function, where its code is known."""
    code = getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None
    if code is None:
        return None
    place = Place.__new__(Place)
    place._code, place._at = code, -1
    return place


class Working:
    """``work``, of a Database."""

    options: Any

    def work(self, *, until: float | None = None, of: object = None, **options: Any) -> Work:
        """A unit of work whose beginning and end are two calls; for whoever writes an integration.

        Elsewhere ``session`` does the same as a block, which cannot be left open.

        :param until: monotonic seconds at which its time is over. Default ``None``: as ``timeout``.
        :param of: the function whose work it is; its line is named as the one that opened the
            scope. Default ``None``: the caller's.
        :param options: the fields of ScopeOptions.
        :raises InvalidOption: an option is unknown, or its value outside its limits.
        """
        merged: ScopeOptions = self._merged(options, "db.work()")  # type: ignore[attr-defined]
        place = _place_of(of) or Place(caller_frame())
        return Work(self, merged, place, until)  # type: ignore[arg-type]
