"""Who is admitted to a pool next. No I/O and no waiting; time is an argument.

One gate stands in front of the pools of one server and role, for threads and asyncio together. It
keeps the order (first come, first served), the bound on who is out, the bound on who waits, and
the list of holders. Whoever may not enter yet is given a ``Waiter``; the shell waits on it in its
own way.

Tickets and waiters are remembered weakly. What nobody keeps any more, because an interrupt struck
between two steps of whoever was to keep it, leaves when the collector finds it.

One lock guards the whole state. Under it nothing is called but list and dict operations; waiters
are woken after it was let go. A step that no other thread can see half done needs no lock.
"""

from __future__ import annotations

import sysconfig
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, TypeVar
from weakref import ref

from .budget import Budget

try:
    import cython  # type: ignore[import-untyped]
except ImportError:
    cython = SimpleNamespace(compiled=False)

_T = TypeVar("_T")

# seconds over which the shortest wait is looked at, before anybody is sent away
_INTERVAL = 2.0

# Whether a compiled step that calls nothing but C is one step for every other thread too: it is
# where the interpreter has one lock for all. The gate's own lock is then only for what calls more.
_UNDIVIDED: bool = cython.compiled and not sysconfig.get_config_var("Py_GIL_DISABLED")

# the compiled form has this from gate.pxd
if not cython.compiled:

    def weak(referent: Any, told: Callable[[Any], None]) -> ref[Any]:
        return ref(referent, told)


class Ticket:
    """The right to hold one connection: whose (``holder``, ``label`` in words), and since when.

    It lasts for as long as somebody keeps it.
    """

    __slots__ = ("__weakref__", "entry", "holder", "label", "since")

    def __init__(self, holder: object, label: Callable[[], str], since: float) -> None:
        self.holder = holder
        self.label = label
        self.since = since
        # the gate's mark of it, from its making until it is given back
        self.entry: ref[Ticket] | None = None


class Waiter:
    """A place in the queue.

    ``wake`` is called once, by whoever gives it its ticket, under no lock; it answers whether there
    is still somebody to wake. Whoever does not keep it waits no more.
    """

    __slots__ = (
        "__weakref__", "_place", "_ticket", "admitted", "entry", "holder", "shed", "since", "wake",
    )  # fmt: skip

    def __init__(self, ticket: Ticket, place: ref[Ticket], wake: Callable[[], bool]) -> None:
        self._ticket = ticket
        self._place = place
        self.holder = ticket.holder
        self.since = ticket.since
        self.wake = wake
        self.admitted = False
        # it was sent away, because everybody waits for too long
        self.shed = False
        # the gate's mark of it, for as long as it is in the queue
        self.entry: ref[Waiter] | None = None

    @property
    def ticket(self) -> Ticket | None:
        """What it waited for, once it has been given."""
        return self._ticket if self.admitted else None


@dataclass(frozen=True, slots=True)
class Refused:
    """Not even a place in the queue. ``self_deadlock``: the wait could never have ended."""

    self_deadlock: bool


class GateCounters:
    """What a gate has seen. ``wait_seconds`` is the sum over all who waited and were admitted."""

    __slots__ = ("admitted", "refused", "shed", "timed_out", "wait_seconds", "waited")

    def __init__(self) -> None:
        self.admitted = 0
        self.waited = 0
        self.refused = 0
        self.shed = 0
        self.timed_out = 0
        self.wait_seconds = 0.0


class Gate:
    """Admits ``limit`` holders at once, and lets ``max_waiting`` wait in line.

    :param reserve: how many of the places are for holders with priority alone.
    :param shed_after: seconds, or 0 for never: when nobody was admitted for two seconds who had
        waited less, those who have waited twice as long are sent away.
    :param budget: what other gates' holders count in too.
    """

    def __init__(
        self,
        name: str,
        limit: int,
        max_waiting: int | None,
        *,
        reserve: int = 0,
        shed_after: float = 0.0,
        budget: Budget | None = None,
    ) -> None:
        self.name = name
        self.limit = limit
        self.max_waiting = max_waiting
        self.reserve = reserve
        self.shed_after = shed_after
        self.budget = budget
        self.suspended = False
        self.counters = GateCounters()
        # re-entrant: the collector may find a forgotten connection while this thread holds it
        self._lock = threading.RLock()
        self._out: dict[ref[Ticket], None] = {}
        self._queue: dict[ref[Waiter], None] = {}
        # those with priority; nobody waits here while there is any place at all
        self._urgent: dict[ref[Waiter], None] = {}
        # how many may be out for somebody to be admitted without a further thought
        self._open = 0
        self._recount()
        # nobody waited less than ``_least`` in the time up to ``_until``; whether that was too long
        self._least = 0.0
        self._until = 0.0
        self._slow = False
        # one for all marks: to bind it takes longer than to enter
        self._told = self._forgotten
        if budget is not None:
            budget.join(self)

    def __repr__(self) -> str:
        return f"<Gate {self.name}: {len(self._out)} of {self.limit} out, {self.waiting} waiting>"

    @property
    def lent(self) -> int:
        return len(self._out)

    @property
    def waiting(self) -> int:
        return len(self._queue) + len(self._urgent)

    @property
    def oldest(self) -> float | None:
        """Since when the first in line waits."""
        waiters = self.waiters()
        return min((waiter.since for waiter in waiters), default=None)

    def enter_at_once(self, holder: object, label: Callable[[], str], now: float) -> Ticket | None:
        """A place, if one is free and nobody waits."""
        ticket = Ticket.__new__(Ticket)
        ticket.holder = holder
        ticket.label = label
        ticket.since = now
        entry = ticket.entry = weak(ticket, self._told)
        admitted = False
        if _UNDIVIDED:
            admitted = self._admitted(entry)
        else:
            with self._lock:
                admitted = self._admitted(entry)
        if admitted:
            return ticket
        ticket.entry = None  # the end of a mark first: the gate need not be told
        return None

    def enter(
        self,
        holder: object,
        label: Callable[[], str],
        now: float,
        make_wake: Callable[[], Callable[[], bool]],
        priority: bool = False,
    ) -> Ticket | Waiter | Refused:
        """Ask for a place.

        :param holder: whoever asks (an owner); equal holders are the same party.
        :param make_wake: called, under no lock, only when there is a wait.
        :param priority: it may have a reserved place.
        """
        ticket = Ticket(holder, label, now)
        entry = ticket.entry = weak(ticket, self._told)
        with self._lock:
            if self._may_enter(entry, priority):
                return ticket
        waiter = Waiter(ticket, entry, make_wake())
        line = waiter.entry = weak(waiter, self._told)
        # with a budget nobody queues at another gate between the look and the place in this queue
        with self._lock, self._lock if self.budget is None else self.budget.lock:
            self._sweep()
            if self._may_enter(entry, priority):
                return ticket
            if self._would_wait_for_itself(holder, priority):
                self.counters.refused += 1
                return Refused(self_deadlock=True)
            shed = self._shed(now)
            if self.max_waiting is not None and self.waiting >= self.max_waiting:
                self.counters.refused += 1
                refused = True
            else:
                (self._urgent if priority else self._queue)[line] = None
                refused = False
            # a place may have come free, by the collector, since the look above
            woken = shed + self._pass_on(now)
        self._wake(woken, now)
        return Refused(self_deadlock=False) if refused else waiter

    def enter_if_free(self, holder: object, label: Callable[[], str], now: float) -> Ticket | None:
        """As ``enter_at_once``, where more may have to be asked than whether a place is free."""
        ticket = Ticket(holder, label, now)
        entry = ticket.entry = weak(ticket, self._told)
        with self._lock:
            if self._may_enter(entry, False):
                return ticket
        ticket.entry = None
        return None

    def leave(self, ticket: Ticket, now: float) -> None:
        """Give a place back; the first in line gets it. A ticket that is out no more is ignored."""
        entry = ticket.entry
        if entry is None:
            return
        if _UNDIVIDED and not (self._queue or self._urgent or self.budget is not None):
            if not self._struck_out(entry):
                return
        else:
            with self._lock:
                if not self._struck_out(entry):
                    return
                # with a budget, another gate's first in line may have waited longer
                waits = self.budget is None and (self._queue or self._urgent)
                woken = self._pass_on(now) if waits else None
            if woken:
                self._wake(woken, now)
            if self.budget is not None:
                self.budget.pass_on(now)
        # last: until here the end of the ticket passes the place on, should an interrupt strike
        ticket.entry = None

    def give_up(self, waiter: Waiter) -> Ticket | None:
        """Leave the queue. The ticket, when it had been given already: use it or give it back."""
        with self._lock:
            entry = waiter.entry
            if entry is not None and (entry in self._queue or entry in self._urgent):
                self._queue.pop(entry, None)
                self._urgent.pop(entry, None)
                self.counters.timed_out += 1
            return waiter.ticket

    def resize(self, limit: int, now: float) -> None:
        """Change how many may be out. Those that are out stay out."""
        with self._lock:
            self.limit = limit
            self._recount()
        self.look(now)

    def suspend(self) -> None:
        """Admit nobody; whoever asks waits in line."""
        with self._lock:
            self.suspended = True
            self._recount()

    def resume(self, now: float) -> None:
        """Admit again, those first who came first."""
        with self._lock:
            self.suspended = False
            self._recount()
        self.look(now)

    def look(self, now: float) -> None:
        """Admit whoever may be admitted by now."""
        with self._lock:
            woken = self._pass_on(now)
        self._wake(woken, now)

    def start_anew(self) -> None:
        """Forget everybody: a forked child has none of the threads and tasks that were here."""
        self._lock = threading.RLock()
        self._out = {}
        self._queue = {}
        self._urgent = {}
        if self.budget is not None:
            self.budget.start_anew()

    def _forgotten(self, entry: ref[Any]) -> None:
        """The collector's word that nobody keeps a ticket or waiter any more, from any place."""
        with self._lock:
            try:
                self._out.pop(entry, None)
                self._queue.pop(entry, None)
                self._urgent.pop(entry, None)
            except TypeError:
                return  # it was in neither: a mark has its hash from where it was entered
            waiters = self.waiters()
            # nobody tells the time here: a moment that is past for certain has to do
            now = waiters[-1].since if waiters else 0.0
            woken = self._pass_on(now) if self.budget is None else []
        self._wake(woken, now)
        if self.budget is not None:
            self.budget.pass_on(now)

    def _wake(self, woken: list[Waiter], now: float) -> None:
        while woken:
            gone = [waiter for waiter in woken if not waiter.wake()]
            if not gone:
                return
            with self._lock:
                for waiter in gone:
                    if waiter.shed:
                        continue
                    self._out.pop(waiter._place, None)
                    waiter.admitted = False  # should it come back all the same, it was too late
                woken = self._pass_on(now)

    def holders(self) -> tuple[Ticket, ...]:
        with self._lock:
            return _kept(self._out)

    def waiters(self) -> tuple[Waiter, ...]:
        with self._lock:
            return _kept(self._urgent) + _kept(self._queue)

    # ------------------------------------------------------------ under the lock

    def _admitted(self, entry: ref[Ticket]) -> bool:
        """A place for a ticket, if one is free and nobody waits. Calls nothing but C."""
        if len(self._out) < self._open and not self._queue:
            self._out[entry] = None
            self.counters.admitted += 1
            return True
        return False

    def _struck_out(self, entry: ref[Ticket]) -> bool:
        """A ticket's place taken back. Calls nothing but C."""
        if entry not in self._out:
            return False
        del self._out[entry]
        return True

    def _sweep(self) -> None:
        """Strike out what an interrupt in ``_forgotten`` has left; in the queue, _pass_on does."""
        for entry in list(self._out):
            if entry() is None:
                self._out.pop(entry, None)

    def _recount(self) -> None:
        """Where more has to be asked than whether a place is free, nobody enters at once."""
        if self.suspended or self.budget is not None:
            self._open = 0
        else:
            self._open = self.limit - self.reserve

    def _may_enter(self, entry: ref[Ticket], priority: bool) -> bool:
        """As ``_admitted``, with everything that may have to be asked."""
        if self.shed_after and not self._queue:
            self._slow, self._least = False, 0.0
        if self._urgent or (self._queue and not priority) or not self._has_room(priority):
            return False
        if self.budget is None:
            self._out[entry] = None
        else:
            with self.budget.lock:
                if not self.budget.room:
                    return False
                self._out[entry] = None
        self.counters.admitted += 1
        return True

    def _has_room(self, priority: bool) -> bool:
        limit = self.limit if priority else self.limit - self.reserve
        if self.suspended or len(self._out) >= limit:
            return False
        return self.budget is None or self.budget.room

    def _pass_on(self, now: float) -> list[Waiter]:
        woken: list[Waiter] = self._shed(now) if self._slow else []
        while True:
            if self._urgent and self._has_room(True):
                queue, limit = self._urgent, self.limit
            elif self._queue and self._has_room(False):
                queue, limit = self._queue, self.limit - self.reserve
            else:
                return woken
            first = next(iter(queue), None)
            if first is None:
                continue
            waiter = first()
            if waiter is None:
                queue.pop(first, None)
                continue
            if self.budget is not None:
                self.budget.lock.acquire()
            try:
                if self.budget is not None and not self.budget.room:
                    return woken
                # the collector may run at any allocation or call, and give a place back through
                # this very method: between this look and the two moves nothing is allocated or
                # called
                if len(self._out) >= limit or waiter.admitted or waiter.shed:
                    continue
                waiter.admitted = True
                waiter._ticket.since = now
                queue.pop(first, None)
                self._out[waiter._place] = None
            finally:
                if self.budget is not None:
                    self.budget.lock.release()
            waiter.entry = None
            self.counters.admitted += 1
            self.counters.waited += 1
            self.counters.wait_seconds += now - waiter.since
            if self.shed_after and queue is self._queue:
                self._observe(now - waiter.since, now)
            woken.append(waiter)

    def _observe(self, waited: float, now: float) -> None:
        """How long somebody waited who was admitted now."""
        if waited <= self.shed_after:
            self._slow = False
        if now >= self._until:
            self._slow = self._least > self.shed_after
            self._least, self._until = waited, now + _INTERVAL
        elif waited < self._least:
            self._least = waited

    def _shed(self, now: float) -> list[Waiter]:
        """Send away those who have waited for too long, where everybody waits for too long."""
        gone: list[Waiter] = []
        if not self.shed_after:
            return gone
        for entry in list(self._queue):
            waiter = entry()
            age = 0.0 if waiter is None else now - waiter.since
            # where nobody comes back at all, nobody tells that it is slow
            if waiter is None or not (self._slow or age > _INTERVAL) or age <= 2 * self.shed_after:
                break
            if self._queue.pop(entry, self) is None:
                waiter.shed, waiter.entry = True, None
                self.counters.shed += 1
                self.counters.refused += 1
                gone.append(waiter)
        return gone

    def parties(self) -> tuple[set[object], set[object]]:
        """Who holds places and who waits; without the lock, which may be held elsewhere."""
        waiters = _kept(self._urgent) + _kept(self._queue)
        return {ticket.holder for ticket in _kept(self._out)}, {each.holder for each in waiters}

    def would_wait_for_itself(self, holder: object, priority: bool = False) -> bool:
        """Whether a holder of a place that has to wait would do so for ever."""
        with self._lock, self._lock if self.budget is None else self.budget.lock:
            self._sweep()
            return self._would_wait_for_itself(holder, priority)

    def _would_wait_for_itself(self, holder: object, priority: bool) -> bool:
        """Every place is held by somebody who waits too, and the asker is one of the holders."""
        if self.suspended:
            return False  # others can end the wait: who resumes
        if self.budget is not None:
            return self.budget.would_wait_for_itself(self, holder)
        if len(self._out) < (self.limit if priority else self.limit - self.reserve):
            return False
        holding, waiting = self.parties()
        waiting.add(holder)
        return holder in holding and holding <= waiting


def _kept(entries: dict[ref[_T], None]) -> tuple[_T, ...]:
    """Those that are still there; a list first, since the collector may take one out meanwhile."""
    return tuple(found for entry in list(entries) if (found := entry()) is not None)
