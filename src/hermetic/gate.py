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

try:
    import cython  # type: ignore[import-untyped]
except ImportError:
    cython = SimpleNamespace(compiled=False)

_T = TypeVar("_T")

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

    __slots__ = ("__weakref__", "_place", "_ticket", "admitted", "entry", "holder", "since", "wake")

    def __init__(self, ticket: Ticket, place: ref[Ticket], wake: Callable[[], bool]) -> None:
        self._ticket = ticket
        self._place = place
        self.holder = ticket.holder
        self.since = ticket.since
        self.wake = wake
        self.admitted = False
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

    __slots__ = ("admitted", "refused", "timed_out", "wait_seconds", "waited")

    def __init__(self) -> None:
        self.admitted = 0
        self.waited = 0
        self.refused = 0
        self.timed_out = 0
        self.wait_seconds = 0.0


class Gate:
    """Admits ``limit`` holders at once, and lets ``max_waiting`` wait in line."""

    def __init__(self, name: str, limit: int, max_waiting: int | None) -> None:
        self.name = name
        self.limit = limit
        self.max_waiting = max_waiting
        self.counters = GateCounters()
        # re-entrant: the collector may find a forgotten connection while this thread holds it
        self._lock = threading.RLock()
        self._out: dict[ref[Ticket], None] = {}
        self._queue: dict[ref[Waiter], None] = {}
        # one for all marks: to bind it takes longer than to enter
        self._told = self._forgotten

    def __repr__(self) -> str:
        return (
            f"<Gate {self.name}: {len(self._out)} of {self.limit} out, {len(self._queue)} waiting>"
        )

    @property
    def lent(self) -> int:
        return len(self._out)

    @property
    def waiting(self) -> int:
        return len(self._queue)

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
    ) -> Ticket | Waiter | Refused:
        """Ask for a place.

        :param holder: whoever asks (an owner); equal holders are the same party.
        :param make_wake: called, under no lock, only when there is a wait.
        """
        ticket = Ticket(holder, label, now)
        entry = ticket.entry = weak(ticket, self._told)
        with self._lock:
            if self._admitted(entry):
                return ticket
        waiter = Waiter(ticket, entry, make_wake())
        line = waiter.entry = weak(waiter, self._told)
        with self._lock:
            self._sweep()
            if self._admitted(entry):
                return ticket
            if self._would_wait_for_itself(holder):
                self.counters.refused += 1
                return Refused(self_deadlock=True)
            if self.max_waiting is not None and len(self._queue) >= self.max_waiting:
                self.counters.refused += 1
                return Refused(self_deadlock=False)
            self._queue[line] = None
            # a place may have come free, by the collector, since the look above
            woken = self._pass_on(now)
        self._wake(woken, now)
        return waiter

    def leave(self, ticket: Ticket, now: float) -> None:
        """Give a place back; the first in line gets it. A ticket that is out no more is ignored."""
        entry = ticket.entry
        if entry is None:
            return
        if _UNDIVIDED and not self._queue:
            if not self._struck_out(entry):
                return
        else:
            with self._lock:
                if not self._struck_out(entry):
                    return
                woken = self._pass_on(now) if self._queue else None
            if woken:
                self._wake(woken, now)
        # last: until here the end of the ticket passes the place on, should an interrupt strike
        ticket.entry = None

    def give_up(self, waiter: Waiter) -> Ticket | None:
        """Leave the queue. The ticket, when it had been given already: use it or give it back."""
        with self._lock:
            entry = waiter.entry
            if entry is not None and entry in self._queue:
                del self._queue[entry]
                self.counters.timed_out += 1
            return waiter.ticket

    def resize(self, limit: int, now: float) -> None:
        """Change how many may be out. Those that are out stay out."""
        with self._lock:
            self.limit = limit
            woken = self._pass_on(now)
        self._wake(woken, now)

    def start_anew(self) -> None:
        """Forget everybody: a forked child has none of the threads and tasks that were here."""
        self._lock = threading.RLock()
        self._out = {}
        self._queue = {}

    def _forgotten(self, entry: ref[Any]) -> None:
        """The collector's word that nobody keeps a ticket or waiter any more, from any place."""
        with self._lock:
            try:
                self._out.pop(entry, None)
                self._queue.pop(entry, None)
            except TypeError:
                return  # it was in neither: a mark has its hash from where it was entered
            waiters = self.waiters()
            # nobody tells the time here: a moment that is past for certain has to do
            now = waiters[-1].since if waiters else 0.0
            woken = self._pass_on(now)
        self._wake(woken, now)

    def _wake(self, woken: list[Waiter], now: float) -> None:
        while woken:
            gone = [waiter for waiter in woken if not waiter.wake()]
            if not gone:
                return
            with self._lock:
                for waiter in gone:
                    self._out.pop(waiter._place, None)
                    waiter.admitted = False  # should it come back all the same, it was too late
                woken = self._pass_on(now)

    def holders(self) -> tuple[Ticket, ...]:
        with self._lock:
            return _kept(self._out)

    def waiters(self) -> tuple[Waiter, ...]:
        with self._lock:
            return _kept(self._queue)

    # ------------------------------------------------------------ under the lock

    def _admitted(self, entry: ref[Ticket]) -> bool:
        """A place for a ticket, if one is free and nobody waits. Calls nothing but C."""
        if len(self._out) < self.limit and not self._queue:
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

    def _pass_on(self, now: float) -> list[Waiter]:
        woken: list[Waiter] = []
        while self._queue and len(self._out) < self.limit:
            first = next(iter(self._queue), None)
            if first is None:
                return woken
            waiter = first()
            if waiter is None:
                self._queue.pop(first, None)
            # the collector may run at any allocation or call, and give a place back through this
            # very method: between this look and the two moves nothing is allocated or called
            if waiter is None or len(self._out) >= self.limit or waiter.admitted:
                continue
            waiter.admitted = True
            waiter._ticket.since = now
            del self._queue[first]
            self._out[waiter._place] = None
            waiter.entry = None
            self.counters.admitted += 1
            self.counters.waited += 1
            self.counters.wait_seconds += now - waiter.since
            woken.append(waiter)
        return woken

    def _would_wait_for_itself(self, holder: object) -> bool:
        """Every place is held by somebody who waits here too, and the asker is one of the
        holders.
        """
        stuck = {waiter.holder for waiter in _kept(self._queue)}
        stuck.add(holder)
        holding = {ticket.holder for ticket in _kept(self._out)}
        return holder in holding and holding <= stuck


def _kept(entries: dict[ref[_T], None]) -> tuple[_T, ...]:
    """Those that are still there; a list first, since the collector may take one out meanwhile."""
    return tuple(found for entry in list(entries) if (found := entry()) is not None)
