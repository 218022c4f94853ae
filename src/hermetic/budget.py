"""A bound on the connections that several Databases have out together."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from typing import Any

from .errors import InvalidOption


class Budget:
    """How many connections the Databases that share it may have out at once, all pools together.

    Each pool keeps its own bound besides. What comes free goes to the pool whose first in line has
    waited longest.

    :param limit: 1 to 100000.
    """

    def __init__(self, limit: int) -> None:
        given: object = limit
        if not isinstance(given, int) or isinstance(given, bool) or not 1 <= given <= 100_000:
            problem = "must be a whole number from 1 to 100000"
            raise InvalidOption("limit", given, problem, place="Budget()")
        self.limit = limit
        # guards the step from a look at all gates to the place that one of them gives; the gates'
        # own locks are held around it, never taken inside
        self.lock = threading.RLock()
        self._gates: list[weakref.ref[Any]] = []

    def __repr__(self) -> str:
        return f"<Budget: {self.lent} of {self.limit} out>"

    @property
    def lent(self) -> int:
        """How many are out now."""
        return sum(gate.lent for gate in self._known())

    @property
    def room(self) -> bool:
        """Whether one more may be out."""
        return self.lent < self.limit

    def would_wait_for_itself(self, at: Any, asker: object) -> bool:
        """Whether somebody who holds a place would wait for ever at a gate: every wait that would
        have to end first is one of those that wait for a place of theirs. Under ``lock``.
        """
        holding: dict[Any, set[object]] = {}
        waits: list[tuple[object, Any]] = [(asker, at)]
        for gate in self._known():
            holding[gate], waiting = gate.parties()
            if not gate.suspended:  # who resumes ends a wait
                waits += [(party, gate) for party in waiting]
        everybody = set().union(*holding.values())
        if asker not in everybody:
            return False
        spent = not self.room
        while True:
            stuck = {party for party, _ in waits}
            left = []
            for party, gate in waits:
                full = gate.lent >= gate.limit - gate.reserve
                if (full and holding[gate] <= stuck) or (spent and everybody <= stuck):
                    left.append((party, gate))
            if len(left) == len(waits):
                return any(party == asker for party, _ in waits)
            waits = left

    def join(self, gate: Any) -> None:
        """Count what a gate has out."""
        self._gates = [*(known for known in self._gates if known() is not None), weakref.ref(gate)]

    def pass_on(self, now: float) -> None:
        """A place came free in one of the gates: whoever waits longest, at any of them, is next."""
        waited_for = [(gate.oldest, gate) for gate in self._known() if gate.oldest is not None]
        for _, gate in sorted(waited_for, key=lambda each: each[0] or 0.0):
            if self.room:
                gate.look(now)

    def start_anew(self) -> None:
        """In a forked child: another thread may have held the lock."""
        self.lock = threading.RLock()

    def _known(self) -> Iterator[Any]:
        for known in self._gates:
            gate = known()
            if gate is not None:
                yield gate
