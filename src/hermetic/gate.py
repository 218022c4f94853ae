"""Who is admitted to a pool next. No I/O and no waiting; time is an argument.

One gate stands in front of the pools of one server and role, for threads and asyncio together. It
keeps the order (first come, first served), the bound on who is out, the bound on who waits, and
the list of holders. Whoever may not enter yet is given a ``Waiter``; the shell waits on it in its
own way.

One lock guards the whole state. Under it nothing is called but list and dict operations; waiters
are woken after it was let go.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass


class Ticket:
    """The right to hold one connection: whose (``holder``, ``label`` in words), and since when."""

    __slots__ = ("holder", "label", "since")

    def __init__(self, holder: object, label: Callable[[], str], since: float) -> None:
        self.holder = holder
        self.label = label
        self.since = since


class Waiter:
    """A place in the queue.

    ``wake`` is called once, by whoever gives it its ticket, under no lock; it answers whether there
    is still somebody to wake.
    """

    __slots__ = ("_ticket", "admitted", "holder", "since", "wake")

    def __init__(self, ticket: Ticket, wake: Callable[[], bool]) -> None:
        self._ticket = ticket
        self.holder = ticket.holder
        self.since = ticket.since
        self.wake = wake
        self.admitted = False

    @property
    def ticket(self) -> Ticket | None:
        """What it waited for, once it has been given."""
        return self._ticket if self.admitted else None


@dataclass(frozen=True, slots=True)
class Refused:
    """Not even a place in the queue. ``self_deadlock``: the wait could never have ended."""

    self_deadlock: bool


@dataclass
class GateCounters:
    """What a gate has seen. ``wait_seconds`` is the sum over all who waited and were admitted."""

    admitted: int = 0
    waited: int = 0
    refused: int = 0
    timed_out: int = 0
    wait_seconds: float = 0.0


class Gate:
    """Admits ``limit`` holders at once, and lets ``max_waiting`` wait in line."""

    def __init__(self, name: str, limit: int, max_waiting: int | None) -> None:
        self.name = name
        self.limit = limit
        self.max_waiting = max_waiting
        self.counters = GateCounters()
        # re-entrant: the collector may find a forgotten connection while this thread holds it
        self._lock = threading.RLock()
        self._out: dict[Ticket, None] = {}
        self._queue: dict[Waiter, None] = {}

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
        with self._lock:
            if len(self._out) < self.limit and not self._queue:
                self._out[ticket] = None
                self.counters.admitted += 1
                return ticket
        waiter = Waiter(ticket, make_wake())
        with self._lock:
            if len(self._out) < self.limit and not self._queue:
                self._out[ticket] = None
                self.counters.admitted += 1
                return ticket
            if self._would_wait_for_itself(holder):
                self.counters.refused += 1
                return Refused(self_deadlock=True)
            if self.max_waiting is not None and len(self._queue) >= self.max_waiting:
                self.counters.refused += 1
                return Refused(self_deadlock=False)
            self._queue[waiter] = None
            # a place may have come free, by the collector, since the look above
            woken = self._pass_on(now)
        self._wake(woken, now)
        return waiter

    def leave(self, ticket: Ticket, now: float) -> None:
        """Give a place back; the first in line gets it. A ticket that is out no more is ignored."""
        with self._lock:
            if self._out.pop(ticket, ticket) is ticket or not self._queue:
                return
            woken = self._pass_on(now)
        self._wake(woken, now)

    def give_up(self, waiter: Waiter) -> Ticket | None:
        """Leave the queue. The ticket, when it had been given already: use it or give it back."""
        with self._lock:
            if waiter in self._queue:
                del self._queue[waiter]
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

    def _wake(self, woken: list[Waiter], now: float) -> None:
        while woken:
            gone = [waiter for waiter in woken if not waiter.wake()]
            if not gone:
                return
            with self._lock:
                for waiter in gone:
                    self._out.pop(waiter._ticket, None)
                    waiter.admitted = False  # should it come back all the same, it was too late
                woken = self._pass_on(now)

    def holders(self) -> tuple[Ticket, ...]:
        with self._lock:
            return tuple(self._out)

    def waiters(self) -> tuple[Waiter, ...]:
        with self._lock:
            return tuple(self._queue)

    # ------------------------------------------------------------ under the lock

    def _pass_on(self, now: float) -> list[Waiter]:
        woken: list[Waiter] = []
        while self._queue and len(self._out) < self.limit:
            waiter = next(iter(self._queue), None)
            # the collector may run at any allocation or call, and give a place back through this
            # very method: between this look and the two moves nothing is allocated or called
            if waiter is None or len(self._out) >= self.limit or waiter.admitted:
                continue
            waiter.admitted = True
            waiter._ticket.since = now
            del self._queue[waiter]
            self._out[waiter._ticket] = None
            self.counters.admitted += 1
            self.counters.waited += 1
            self.counters.wait_seconds += now - waiter.since
            woken.append(waiter)
        return woken

    def _would_wait_for_itself(self, holder: object) -> bool:
        """Every place is held by somebody who waits here too, and the asker is one of the
        holders.
        """
        # lists, in one step each: the collector may give a place back in the middle
        waiters, tickets = list(self._queue), list(self._out)
        stuck = {waiter.holder for waiter in waiters}
        stuck.add(holder)
        holding = {ticket.holder for ticket in tickets}
        return holder in holding and holding <= stuck
