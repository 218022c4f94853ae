"""SQLAlchemy's pools with a gate in front of them.

A pool class is subclassed at its two narrow places: ``_do_get`` hands a record out and
``_do_return_conn`` takes it back, in every pool class that SQLAlchemy has, exactly once each
(checked on 2.1.7 to 2.1.9).
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from contextvars import ContextVar
from threading import Lock, get_ident
from typing import TYPE_CHECKING, Any

from sqlalchemy.pool import AsyncAdaptedQueuePool, Pool, QueuePool
from sqlalchemy.util import await_only
from sqlalchemy.util.concurrency import in_greenlet

from .clock import monotonic
from .errors import DatabaseClosed, PoolError, PoolOverloaded, PoolSelfDeadlock, PoolTimeout
from .gate import Gate, Refused, Ticket, Waiter
from .owner import Owner, current_owner
from .registry import Scope

if TYPE_CHECKING:
    from .connecting import Connecting

# the scope on whose behalf a connection is being taken; greenlets share their task's context
demanding: ContextVar[Scope | None] = ContextVar("hermetic_demanding", default=None)

# monotonic seconds at which a connection that is for no scope must have been made
connecting_until: ContextVar[float | None] = ContextVar("hermetic_connecting_until", default=None)

# since when the caller asks for a connection: the pool's timeout counts from there, whatever it
# waits for
asked_since: ContextVar[float | None] = ContextVar("hermetic_asked_since", default=None)


# where a connection's record has what sets it back at its return: code that nobody here has read
# was run on it
RESTORE = "hermetic.restore"

# where it has, if the Database is watched, what tells that its borrower was collected
LENT = "hermetic.lent"


def connect_bound(scope: Scope | None) -> float | None:
    """Monotonic seconds at which whoever waits for a connect has no more time for that."""
    if scope is None:
        return connecting_until.get()
    route = scope.route
    if route is None or route.until is None:
        return scope.deadline
    until: float = route.until
    return until if scope.deadline is None else min(until, scope.deadline)


def demanded() -> Scope | None:
    """The scope on whose behalf it is, or ``None``.

    An interrupt may leave one behind that has ended, in the instant before its taking is over.
    """
    scope = demanding.get()
    return None if scope is None or scope.ended else scope


def _thread_under(scope: Scope | None) -> Scope | None:
    """The scope of this thread inside which the loop was started that runs now."""
    outer = None if scope is None else scope.parent
    while outer is not None:
        owner = outer.holder()
        if not outer.ended and owner._task is None and owner.thread_id == get_ident():
            return outer
        outer = outer.parent
    return None


def _waits(scope: Scope | None, since: float) -> None:
    if scope is not None and scope.trace is not None:
        scope.trace.since = since


def _waited(scope: Scope | None) -> None:
    if scope is not None and scope.trace is not None and scope.trace.since:
        scope.trace.waited += monotonic() - scope.trace.since
        scope.trace.since = 0.0


# seconds; a collection may take a tenth of one
_COLLECT_EVERY = 1.0


# how many of those in line an error names
_FIRST_WAITERS = 5


class Admission:
    """How one pool waits at its gate, in the way of its world."""

    def __init__(
        self, gate: Gate, timeout: float, *, asynchronous: bool, reads_beside: bool
    ) -> None:
        self.gate = gate
        self.timeout = timeout
        self.asynchronous = asynchronous
        self.reads_beside = reads_beside
        self.closed = False
        # when the collector was last asked for a place that an interrupt had cost
        self.collected = 0.0

    def enter(self) -> Ticket | None:
        """Wait for a place, in order, until the pool's timeout or the scope's deadline.

        :return: ``None`` for a place beside the gate: somebody who holds SQLite's one writer takes
            a second connection outside of any scope, to read (``session.bind`` given to pandas).
        :raises PoolTimeout: too long.
        :raises PoolOverloaded: too many wait already.
        :raises PoolSelfDeadlock: it would never end.
        :raises DeadlineExceeded: the scope's time is over.
        """
        return self.enter_for(demanded())

    def enter_for(self, scope: Scope | None) -> Ticket | None:
        """``enter``, for a scope that is known."""
        return self.enter_now(scope, monotonic())

    def enter_now(self, scope: Scope | None, now: float) -> Ticket | None:
        """``enter_for``, at a moment that is known."""
        asked = self.ask(scope, now)
        if not isinstance(asked, Waiter):
            return asked
        _waits(scope, now)
        try:
            admitted = self._wait(asked, self._until(scope, now) - now)
        finally:
            _waited(scope)
        if not admitted:
            raise self._sent_away(scope, now) if asked.shed else self._too_late(scope, now)
        assert asked.ticket is not None
        return asked.ticket

    async def enter_natively(self, asked: Waiter, scope: Scope, now: float) -> Ticket:
        """The wait of ``enter_for``, without SQLAlchemy's bridge."""
        waker: Any = asked.wake
        _waits(scope, now)
        try:
            await waker.wait_natively(self._until(scope, now) - now)
        except BaseException:
            self._pass_on(asked)
            raise
        finally:
            _waited(scope)
        if asked.ticket is None and self.gate.give_up(asked) is None:
            raise self._sent_away(scope, now) if asked.shed else self._too_late(scope, now)
        assert asked.ticket is not None
        return asked.ticket

    def ask(self, scope: Scope | None, now: float) -> Ticket | Waiter | None:
        """A place, or one in line; as ``enter`` in everything else."""
        owner = current_owner() if scope is None else scope.holder()
        label = Label.__new__(Label)
        label._owner, label._scope = owner, scope
        ticket = self.gate.enter_at_once(owner, label, now)
        if ticket is not None:
            return ticket
        priority = scope is not None and scope.options.priority
        if self.asynchronous:
            self._check_thread_under(scope, priority)
        admitted = self.gate.enter(owner, label, now, self._make_waker, priority)
        if isinstance(admitted, Ticket):
            return admitted
        if isinstance(admitted, Refused):
            if admitted.self_deadlock and scope is None and self.reads_beside:
                return None
            admitted = self._ask_again(admitted, owner, scope, now)
        return admitted

    def _until(self, scope: Scope | None, now: float) -> float:
        until = now + self.timeout
        bound = connecting_until.get() if scope is None else scope.deadline
        return until if bound is None else min(until, bound)

    def leave(self, ticket: Ticket) -> None:
        self.gate.leave(ticket, monotonic())

    # ------------------------------------------------------------ waiting

    def _make_waker(self) -> Callable[[], bool]:
        return TaskWaker() if self.asynchronous else ThreadWaker()

    def _wait(self, waiter: Waiter, seconds: float) -> bool:
        waker = waiter.wake
        assert isinstance(waker, (TaskWaker, ThreadWaker))
        try:
            waker.wait(seconds)
        except BaseException:
            self._pass_on(waiter)
            raise
        return waiter.ticket is not None or self.gate.give_up(waiter) is not None

    def _pass_on(self, waiter: Waiter) -> None:
        """Cancelled or interrupted while in line: a place that came at that moment goes on."""
        ticket = self.gate.give_up(waiter)
        if ticket is not None:
            self.leave(ticket)

    # ------------------------------------------------------------ refusing

    def _check_thread_under(self, scope: Scope | None, priority: bool) -> None:
        """:raises PoolSelfDeadlock: its thread has a place, and waits for the loop of this one."""
        under = _thread_under(scope)
        if under is None or not self.gate.would_wait_for_itself(under.holder(), priority):
            return
        name, gate = under.root.name, self.gate
        raise PoolSelfDeadlock(
            f"All {gate.limit} connections of pool {gate.name!r} are held by scopes that this one "
            f"would keep waiting: its event loop runs inside scope {name!r} of the same thread, "
            "which waits for the loop.",
            hint="Have both be coroutine functions, or neither; or open this one afterwards.",
            **self._numbers(scope),
        )

    def _ask_again(
        self, refused: Refused, owner: Owner, scope: Scope | None, now: float
    ) -> Ticket | Waiter:
        """What an interrupt made the caller lose may be in a cycle, and its place with it."""
        admitted: Ticket | Waiter | Refused = refused
        # with a budget, it may be one of another gate
        places = self.gate.budget or self.gate
        lent = places.lent
        if refused.self_deadlock and now - self.collected > _COLLECT_EVERY:
            self.collected = now
            gc.collect()
        if places.lent < lent:
            priority = scope is not None and scope.options.priority
            label = Label(owner, scope)
            admitted = self.gate.enter(owner, label, now, self._make_waker, priority)
        if isinstance(admitted, Refused):
            raise self._refusal(admitted, scope)
        return admitted

    def _refusal(self, refused: Refused, scope: Scope | None) -> PoolError:
        gate = self.gate
        if refused.self_deadlock:
            what = f"All {gate.limit} connections of pool {gate.name!r}"
            if gate.budget is not None and gate.lent < gate.limit:
                what = f"All {gate.budget.limit} connections of the budget of pool {gate.name!r}"
            return PoolSelfDeadlock(
                f"{what} are held by scopes that this one would keep waiting; the wait could not "
                "end.",
                hint="Join the open scope (propagation='required' or 'nested') instead of taking a "
                "second connection inside it, or allow more connections.",
                **self._numbers(scope),
            )
        return PoolOverloaded(
            f"{gate.waiting} already wait for pool {gate.name!r}, which is max_waiting.",
            hint="Shed load before it reaches the database, or raise max_waiting.",
            **self._numbers(scope),
        )

    def _sent_away(self, scope: Scope | None, since: float) -> PoolOverloaded:
        waited = monotonic() - since
        return PoolOverloaded(
            f"Everybody waits for too long for pool {self.gate.name!r}: this one was sent away "
            f"after {waited:.2f} s, by shed_after.",
            hint="Shed load before it reaches the database, or raise shed_after.",
            **self._numbers(scope),
        )

    def _too_late(self, scope: Scope | None, since: float) -> BaseException:
        waited = monotonic() - since
        if scope is not None and scope.deadline is not None and scope.deadline <= since + waited:
            error: BaseException = scope.deadline_exceeded("while it waited for a connection")
            error.__cause__ = self._timeout(scope, waited)
            return error
        return self._timeout(scope, waited)

    def _timeout(self, scope: Scope | None, waited: float) -> PoolTimeout:
        gate = self.gate
        hint = "Let scopes end before they wait for anything else, or allow more connections."
        if gate.suspended:
            why, hint = "the Database is suspended", "db.resume() lends them again."
        elif gate.lent < gate.limit - gate.reserve and gate.budget is not None:
            why = f"all {gate.budget.limit} of its budget are out"
        elif gate.reserve:
            why = f"{gate.lent} of {gate.limit} are out, {gate.reserve} are reserved"
        else:
            why = f"all {gate.limit} are out"
        return PoolTimeout(
            f"No connection of pool {gate.name!r} came free in {waited:.2f} s: {why}, "
            f"{gate.waiting} more wait.",
            hint=hint,
            **self._numbers(scope),
        )

    def _numbers(self, scope: Scope | None) -> dict[str, Any]:
        now = monotonic()
        return {
            "pool": self.gate.name,
            "limit": self.gate.limit,
            "holders": [
                f"{ticket.label()}, for {now - ticket.since:.2f} s"
                for ticket in self.gate.holders()
            ],
            "waiting": self.gate.waiting,
            "waiters": [
                f"{waiter._ticket.label()}, for {now - waiter.since:.2f} s"
                for waiter in self.gate.waiters()[:_FIRST_WAITERS]
            ],
            "scope": None if scope is None else scope.ref,
        }


class ThreadWaker:
    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = Lock()
        self._lock.acquire()

    def __call__(self) -> bool:
        self._lock.release()
        return True

    def wait(self, seconds: float) -> None:
        self._lock.acquire(timeout=max(0.0, seconds))


class TaskWaker:
    __slots__ = ("_future", "_loop")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[None] = self._loop.create_future()

    def __call__(self) -> bool:
        if not self._loop.is_running():
            return False  # closed, or standing still: nobody would come for the place
        try:
            self._loop.call_soon_threadsafe(self._set)
        except RuntimeError:
            return False
        return True

    def _set(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    async def wait_natively(self, seconds: float) -> None:
        # no cancellation can be swallowed: only the alarm and a place set this future
        alarm = self._loop.call_later(max(0.0, seconds), self._set)
        try:
            await self._future
        finally:
            alarm.cancel()

    def wait(self, seconds: float) -> None:
        # asyncio.wait, unlike wait_for on 3.11, cannot swallow a cancellation
        await_only(asyncio.wait((self._future,), timeout=max(0.0, seconds)))


class Label:
    """Who holds a place, in words when they are wanted."""

    __slots__ = ("_owner", "_scope")

    def __init__(self, owner: Owner, scope: Scope | None) -> None:
        self._owner = owner
        self._scope = scope

    def __call__(self) -> str:
        now_at = self._owner.now_at()
        scope = self._scope
        who = str(self._owner) if scope is None else f"{self._owner}, {scope.ref}"
        return f"{who}, now at {now_at}" if now_at else who


class GatedPool(Pool):
    """Mixed into a pool class by ``gated``."""

    admission: Admission
    connecting: Connecting

    def _should_wrap_creator(self, creator: Any) -> Any:
        connect = super()._should_wrap_creator(creator)
        return lambda record: self.connecting.connect(record, connect)

    def connect(self) -> Any:
        scope = demanded()
        kept = None if scope is None else scope.reserved
        token = asked_since.set(monotonic() if kept is None else kept[2])
        try:
            return super().connect()
        finally:
            asked_since.reset(token)

    def _do_get(self) -> Any:
        scope = demanded()
        if scope is not None and scope.in_hand:
            return scope.hand_over()
        if self.admission.closed:
            raise DatabaseClosed(
                f"Pool {self.admission.gate.name!r} is closed: its Database was.",
                hint="Make a new Database.",
            )
        ticket = self._reserved(scope) or self.admission.enter()
        try:
            record = super()._do_get()
        except BaseException:
            if ticket is not None:
                self.admission.leave(ticket)
            raise
        # a stack: StaticPool lends one record to several at a time
        info = record.record_info
        assert info is not None
        if ticket is None:
            info["hermetic.beside"] = True
        else:
            info.setdefault("hermetic.tickets", []).append(ticket)
        if scope is not None and ticket is not None:
            scope.ticket = (self.admission.gate, ticket)
        return record

    def _reserved(self, scope: Scope | None) -> Ticket | None:
        """The place that a fast path got for this scope, and found no connection for."""
        if scope is None or scope.reserved is None or scope.reserved[0] is not self.admission.gate:
            return None
        ticket, scope.reserved = scope.reserved[1], None
        return ticket

    def _do_return_conn(self, record: Any) -> None:
        info = record.record_info or {}
        tickets = info.get("hermetic.tickets")
        # off the record at once: back in the pool with it, it would be out until the record ends
        ticket = tickets.pop() if tickets else None
        try:
            info.pop("hermetic.beside", None)
            if "hermetic.permit" in info:
                self.connecting.returned(info)
            known = record.info.get("hermetic")
            spent = known is not None and (known.dirty or known.beside or known.retired)
            if self.admission.closed or spent:
                # nobody will come for it any more, or nobody may have it as it is
                record.close()
            elif RESTORE in record.info:
                self._restore(record)
            super()._do_return_conn(record)
        finally:
            if ticket is not None:
                self.admission.leave(ticket)

    def _restore(self, record: Any) -> None:
        """Have a connection as it was born, or not at all."""
        restore = record.info.pop(RESTORE)
        try:
            restored = restore(record)
        except BaseException as struck:
            record.invalidate(struck)
            super()._do_return_conn(record)
            raise
        if not restored:
            record.close()

    def _invalidate(
        self, connection: Any, exception: BaseException | None = None, _checkin: bool = True
    ) -> None:
        """Evict the connection's generation; SQLAlchemy would compare times of a wall clock."""
        record = getattr(connection, "_connection_record", None)
        known = None if record is None else record.info.get("hermetic")
        self.connecting.evict(None if known is None else known.generation)
        if _checkin and getattr(connection, "is_valid", False):
            connection.invalidate(exception)

    def recreate(self) -> Pool:
        fresh: Any = super().recreate()
        fresh.admission, fresh.connecting = self.admission, self.connecting
        return fresh  # type: ignore[no-any-return]


class IdleStack(QueuePool):
    """A QueuePool behind a gate, which bounds it: what is left is a stack of idle connections.

    SQLAlchemy's queue, with its lock and its conditions, has nobody to make wait here.
    """

    connecting: Connecting

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # append, pop and remove are one step each under the GIL
        self.idle: list[Any] = []

    def _do_get(self) -> Any:
        while True:
            try:
                record = self.idle.pop()
            except IndexError:
                record = self.connecting.make(self.idle, self._counted)
                if record is None:
                    continue
            known = record.info.get("hermetic")
            if known is None or not (known.retired or monotonic() > known.expires):
                return record
            # of an earlier generation, which may have ended while it was made; or too old
            self.destroy(record)

    def _counted(self) -> Any:
        self._inc_overflow()
        try:
            return self._create_connection()
        except BaseException:
            self._dec_overflow()
            raise

    def _do_return_conn(self, record: Any) -> None:
        if record.dbapi_connection is None:
            self._dec_overflow()  # nothing is left of it: the next one is made when it is needed
        else:
            self.idle.append(record)

    def destroy(self, record: Any) -> None:
        """Close a connection that was taken out of the stack, or does not come back to it."""
        self._dec_overflow()
        record.close()

    def drop_retired(self) -> None:
        """Let go at once of what is idle and may not be lent any more."""
        for record in self.take_idle(lambda known: known.retired):
            self.destroy(record)

    def take_idle(self, wanted: Callable[[Any], bool]) -> list[Any]:
        """Take out of the stack those whose connection is wanted; the longest idle come first."""
        taken = []
        for record in list(self.idle):
            known = record.info.get("hermetic")
            if known is None or not wanted(known):
                continue
            try:
                self.idle.remove(record)
            except ValueError:
                continue  # it was lent in this moment
            taken.append(record)
        return taken

    def dispose(self) -> None:
        idle = self.idle
        while idle:
            idle.pop().close()
        super().dispose()

    def checkedin(self) -> int:
        return len(self.idle)

    def checkedout(self) -> int:
        return super().checkedout() - len(self.idle)


class AsyncIdleStack(IdleStack, AsyncAdaptedQueuePool):
    """The same under asyncio."""

    def destroy(self, record: Any) -> None:
        if in_greenlet():
            super().destroy(record)
            return
        # nothing can be awaited here: whoever comes next destroys what is left
        self.drop(record)
        self.idle.append(record)

    def drop_retired(self) -> None:
        # the loop may be another thread's: its connections end here, and their records at their
        # next use
        for record in list(self.idle):
            known = record.info.get("hermetic")
            if known is not None and known.retired:
                self.drop(record)

    def drop(self, record: Any) -> None:
        """End a connection without a wait, from any thread."""
        known = record.info.get("hermetic")
        if known is not None and known.break_off is not None and not known.family.embedded:
            known.break_off()


# what takes the place of a pool class that a gate makes simpler
_SIMPLER: dict[type[Pool], type[Pool]] = {
    QueuePool: IdleStack,
    AsyncAdaptedQueuePool: AsyncIdleStack,
}
_gated: dict[type[Pool], type[Pool]] = {}


def gated(base: type[Pool]) -> type[Pool]:
    """The pool class with a gate in front of it."""
    if base not in _gated:
        behind = _SIMPLER.get(base, base)
        _gated[base] = type(f"Gated{base.__name__}", (GatedPool, behind), {})
    return _gated[base]
