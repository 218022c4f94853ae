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
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass


class Ticket:
    """The right to hold one connection. ``holder`` says whose, ``who`` in words, ``since`` when."""

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

    __slots__ = ("holder", "label", "since", "ticket", "wake")

    def __init__(
        self, holder: object, label: Callable[[], str], since: float, wake: Callable[[], bool]
    ) -> None:
        self.holder = holder
        self.label = label
        self.since = since
        self.wake = wake
        self.ticket: Ticket | None = None


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
        self._lock = threading.Lock()
        self._out: dict[Ticket, None] = {}
        self._queue: OrderedDict[Waiter, None] = OrderedDict()

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
        with self._lock:
            if len(self._out) < self.limit and not self._queue:
                return self._admit(holder, label, now)
        wake = make_wake()
        with self._lock:
            if len(self._out) < self.limit and not self._queue:
                return self._admit(holder, label, now)
            if self._would_wait_for_itself(holder):
                self.counters.refused += 1
                return Refused(self_deadlock=True)
            if self.max_waiting is not None and len(self._queue) >= self.max_waiting:
                self.counters.refused += 1
                return Refused(self_deadlock=False)
            waiter = Waiter(holder, label, now, wake)
            self._queue[waiter] = None
            return waiter

    def leave(self, ticket: Ticket, now: float) -> None:
        """Give a place back; the first in line gets it. A ticket that is out no more is ignored."""
        with self._lock:
            if self._out.pop(ticket, ticket) is ticket:
                return
            woken = self._pass_on(now)
        self._wake(woken, now)

    def give_up(self, waiter: Waiter) -> Ticket | None:
        """Leave the queue. The ticket, when it had been given already: use it or give it back."""
        with self._lock:
            if waiter.ticket is None:
                self._queue.pop(waiter, None)
                self.counters.timed_out += 1
            return waiter.ticket

    def resize(self, limit: int, now: float) -> None:
        """Change how many may be out. Those that are out stay out."""
        with self._lock:
            self.limit = limit
            woken = self._pass_on(now)
        self._wake(woken, now)

    def _wake(self, woken: list[Waiter], now: float) -> None:
        for waiter in woken:
            if not waiter.wake() and waiter.ticket is not None:
                self.leave(waiter.ticket, now)

    def holders(self) -> tuple[Ticket, ...]:
        with self._lock:
            return tuple(self._out)

    def waiters(self) -> tuple[Waiter, ...]:
        with self._lock:
            return tuple(self._queue)

    # ------------------------------------------------------------ under the lock

    def _admit(self, holder: object, label: Callable[[], str], now: float) -> Ticket:
        ticket = Ticket(holder, label, now)
        self._out[ticket] = None
        self.counters.admitted += 1
        return ticket

    def _pass_on(self, now: float) -> list[Waiter]:
        woken = []
        while self._queue and len(self._out) < self.limit:
            waiter, _ = self._queue.popitem(last=False)
            waiter.ticket = self._admit(waiter.holder, waiter.label, now)
            self.counters.waited += 1
            self.counters.wait_seconds += now - waiter.since
            woken.append(waiter)
        return woken

    def _would_wait_for_itself(self, holder: object) -> bool:
        """Every place is held by somebody who waits here too, and the asker is one of the
        holders.
        """
        stuck = {waiter.holder for waiter in self._queue}
        stuck.add(holder)
        holding = {ticket.holder for ticket in self._out}
        return holder in holding and holding <= stuck
