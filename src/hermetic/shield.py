"""Ending a scope of asyncio so that a cancellation of its caller does not reach the end.

An end works in a task of its own. The caller goes on waiting for it, for a bounded time, and is
cancelled afterwards. Where all that has to be done is to send one COMMIT on a connection in hand,
the task is made only when a cancellation has come, or the COMMIT failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, TypeAlias

from sqlalchemy.util import greenlet_spawn

from .clock import monotonic
from .ending import end, end_sent, end_struck, end_unsent
from .errors import Outcome
from .events import logger
from .fast import flush_async, lean_async
from .parts import parts
from .registry import Scope

# what is to be raised, and the cancellation, or an interrupt, that came in the meantime
Ended: TypeAlias = "tuple[BaseException | None, BaseException | None]"
# what a task may be struck by from outside, while it waits or between two of its steps
_ARRIVING = (asyncio.CancelledError, KeyboardInterrupt, SystemExit)

# how long the end of a scope may take once its socket was destroyed under it
_LAST_SECONDS = 1.0

# endings that outlived their caller; kept here, or the loop would forget them half-way
_stragglers: set[asyncio.Task[Any]] = set()


async def end_shielded(
    scope: Scope, error: BaseException | None, cleanup_timeout: float, *, struck: bool = False
) -> Ended:
    """``end``, in a task of its own.

    :param struck: ``end_struck`` instead.
    """
    work = end_struck if struck else end
    task = _in_task(scope, greenlet_spawn(work, scope, error, cleanup_timeout))
    return await _see_through(scope, task, cleanup_timeout, None, last=struck)


def _in_task(scope: Scope, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    return asyncio.create_task(work, name=f"end of {scope.name} #{scope.number}")


async def _see_through(
    scope: Scope,
    task: asyncio.Task[Any],
    cleanup_timeout: float,
    cancelled: BaseException | None,
    last: bool = False,
) -> Ended:
    """Wait for an end.

    :param cancelled: a cancellation that has come already.
    :param last: it is what was left of another one, and nothing comes after it.
    """
    until = None if cancelled is None else monotonic() + cleanup_timeout
    broken_off = False
    while not task.done():
        left = None if until is None else max(0.0, until - monotonic())
        try:
            await asyncio.wait((task,), timeout=left)
        except _ARRIVING as arrived:
            if cancelled is None:
                cancelled = arrived
                # not sent yet: it will not be. Sent: it gets its time, and no more
                scope.cancelled = True
                until = monotonic() + cleanup_timeout
                if scope.interruptible:
                    task.cancel()
        if task.done() or until is None or monotonic() < until:
            continue
        if broken_off:
            _leave_behind(scope, task)
            return None, cancelled
        broken_off = True
        until = monotonic() + _LAST_SECONDS
        if not _break_off(scope):
            task.cancel()
    if task.cancelled():
        return asyncio.CancelledError(), cancelled
    struck = task.exception()
    if struck is None:
        return task.result(), cancelled
    if last:
        return struck, cancelled
    # an interrupt, in the task of the end itself
    rest = _in_task(scope, greenlet_spawn(end_struck, scope, struck, cleanup_timeout))
    return await _see_through(scope, rest, cleanup_timeout, cancelled, last=True)


def _leave_behind(scope: Scope, task: asyncio.Task[Any]) -> None:
    _stragglers.add(task)
    task.add_done_callback(_stragglers.discard)
    logger.error("the end of %s hangs, and was left behind", scope.ref)
    sent = scope.transaction is not None and scope.transaction.commit_sent
    scope.failed = True
    scope.boundary.end(Outcome.UNKNOWN if sent else Outcome.NOT_COMMITTED)


def _break_off(scope: Scope) -> bool:
    """Shut the scope's socket; a driver's own answer to a cancellation may be another long wait."""
    broken = False
    for part in parts(scope.root):
        connection = part.connection
        if connection is not None and connection.scope is part and connection.break_off:
            connection.break_off()
            broken = True
    return broken


# ---------------------------------------------------------------- a COMMIT in hand


async def end_written(scope: Scope, cleanup_timeout: float) -> Ended:
    """The end of a scope of which ``lean_async.may_commit`` is true, and which has to be flushed.

    The flush is work like any other of the block: a cancellation interrupts it, and nothing is
    committed.
    """
    try:
        await flush_async.flush(scope.session)
    except BaseException as struck:
        rest = greenlet_spawn(end_unsent, scope, struck, cleanup_timeout)
        return await _see_through(scope, _in_task(scope, rest), cleanup_timeout, None)
    if lean_async.may_end(scope, None):
        return await end_in_hand(scope, cleanup_timeout)
    return await end_shielded(scope, None, cleanup_timeout)


async def end_in_hand(scope: Scope, cleanup_timeout: float) -> Ended:
    """The end of a scope of which ``lean_async.may_end`` is true.

    The driver's coroutine is run from here by hand, step by step: what it waits for is a future of
    its own, and what this task waits for is a ``_Wait`` for that one. A cancellation of this task
    reaches the second alone. So nothing interrupts the COMMIT, and there are these ways to leave a
    wait:

    - The driver's future is done: its coroutine goes on, in this task.
    - This task was cancelled: a new task takes the coroutine over at the very step where it stands,
      and the rest is as for every end that is cancelled. ``_see_through`` has the cancellation, and
      keeps it; it waits for so long as it has to, breaks the socket off after that, and whatever
      else arrives there is the same cancellation.
    - Both at once: the second. The new task finds the future done, and goes on.

    A driver's coroutine may not see which task it runs in (``Wire.commit``). What comes after a
    COMMIT that failed may, and has a task of its own.
    """
    if scope.registry.resolver is not None:
        try:
            await scope.registry.resolver.note_natively(scope)
        except BaseException as struck:
            undone = greenlet_spawn(end_unsent, scope, struck, cleanup_timeout)
            return await _see_through(scope, _in_task(scope, undone), cleanup_timeout, None)
    scope.ending = True
    scope.boundary.committing()
    transaction: Any = scope.transaction
    transaction.commit_sent = transaction.over = True
    nothing = transaction.apart or transaction.put_off
    work = None if nothing else scope.side.wire.commit(scope.lent.dbapi_connection)
    while work is not None:  # without a transaction there is nothing to send
        try:
            waited = work.send(None)
        except StopIteration:
            break
        except BaseException as struck:
            rest = _settled(scope, _raised(struck), cleanup_timeout)
            return await _see_through(scope, _in_task(scope, rest), cleanup_timeout, None)
        try:
            await _Wait(waited)
        except asyncio.CancelledError as arrived:
            scope.cancelled = True
            rest = _settled(scope, _rest(work, waited), cleanup_timeout)
            return await _see_through(scope, _in_task(scope, rest), cleanup_timeout, arrived)
    if lean_async.may_close(scope):
        return end_sent(scope, None, cleanup_timeout), None
    rest = greenlet_spawn(end_sent, scope, None, cleanup_timeout)
    return await _see_through(scope, _in_task(scope, rest), cleanup_timeout, None)


class _Wait:
    """What a task waits for in the place of a driver's future: done when that is, in the same turn
    of the loop. A cancellation of the task ends this wait, and does not reach the future.

    It does what a task asks of a future, and is awaited once.
    """

    __slots__ = (
        "_asyncio_future_blocking", "_awaited", "_cancelled", "_context", "_ended", "_loop",
        "_message", "_wake",
    )  # fmt: skip

    def __init__(self, awaited: Any) -> None:
        self._loop = asyncio.get_running_loop()
        self._asyncio_future_blocking = False
        self._awaited = awaited
        self._cancelled = self._ended = False
        self._message: Any = None
        self._wake: Any = None
        self._context: Any = None
        if awaited is not None:
            # the mark by which a coroutine's yield is known to be a wait; tasks take it off too
            awaited._asyncio_future_blocking = False

    def __await__(self) -> Generator[Any, None, None]:
        self._asyncio_future_blocking = True
        yield self
        self.result()

    def get_loop(self) -> Any:
        return self._loop

    def add_done_callback(self, wake: Any, *, context: Any = None) -> None:
        self._wake, self._context = wake, context
        if self._awaited is None:
            # the coroutine gave others a turn
            self._loop.call_soon(self._over, context=context)
        else:
            self._awaited.add_done_callback(self._over, context=context)

    def _over(self, _: object = None) -> None:
        if not self._ended:
            self._ended = True
            self._wake(self)

    def cancel(self, msg: Any = None) -> bool:
        if self._ended:
            return False
        self._ended = self._cancelled = True
        self._message = msg
        self._loop.call_soon(self._wake, self, context=self._context)
        return True

    def cancelled(self) -> bool:
        return self._cancelled

    def done(self) -> bool:
        return self._ended

    def result(self) -> None:
        if self._cancelled:
            raise asyncio.CancelledError(*(() if self._message is None else (self._message,)))


async def _rest(work: Coroutine[Any, Any, Any], waited: Any) -> None:
    """The rest of a coroutine that stands at a wait."""
    while True:
        step: Callable[[], Any]
        try:
            await _Wait(waited)
        except asyncio.CancelledError as arrived:
            step = partial(work.throw, arrived)
        else:
            step = partial(work.send, None)
        try:
            waited = step()
        except StopIteration:
            return


async def _raised(struck: BaseException) -> None:
    raise struck


async def _settled(
    scope: Scope, work: Coroutine[Any, Any, Any], cleanup_timeout: float
) -> BaseException | None:
    """What is left of an end: the rest of a COMMIT, and everything after it."""
    struck: BaseException | None = None
    try:
        await work
    except BaseException as error:
        struck = error
        if isinstance(error, Exception):
            side = scope.side
            struck = side.wire.translated(scope.lent.dbapi_connection, error, side.dialect)
    return await greenlet_spawn(end_sent, scope, struck, cleanup_timeout)
