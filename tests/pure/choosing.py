"""Random histories of two gates with reserves, priority, suspension and one budget."""

from __future__ import annotations

import itertools

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hermetic import Budget
from hermetic.gate import Gate, Ticket, Waiter


class Side:
    """A gate, who is out, and who waits: first those with priority, then the others."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.out: list[Ticket] = []
        self.lines: dict[bool, list[Waiter]] = {True: [], False: []}

    def settle(self) -> None:
        """Those who were admitted have been the first of their line."""
        for line in self.lines.values():
            while line and line[0].ticket is not None:
                ticket = line.pop(0).ticket
                assert ticket is not None
                self.out.append(ticket)
            assert all(waiter.ticket is None for waiter in line), "somebody was passed over"


class ChoosingMachine(RuleBasedStateMachine):
    """Every party is its own: nobody waits for itself."""

    @initialize(
        limits=st.tuples(st.integers(2, 4), st.integers(2, 4)),
        reserves=st.tuples(st.integers(0, 1), st.integers(0, 1)),
        budget=st.none() | st.integers(1, 6),
    )
    def open_the_gates(
        self, limits: tuple[int, int], reserves: tuple[int, int], budget: int | None
    ) -> None:
        self.budget = None if budget is None else Budget(budget)
        self.sides = [
            Side(Gate("gate", limit, None, reserve=reserve, budget=self.budget))
            for limit, reserve in zip(limits, reserves, strict=True)
        ]
        self.names = itertools.count()
        self.now = 0.0

    def _settle(self) -> None:
        for side in self.sides:
            side.settle()

    @rule(at=st.integers(0, 1), priority=st.booleans(), passing=st.floats(0.1, 5))
    def enter(self, at: int, priority: bool, passing: float) -> None:
        self.now += passing
        side, name = self.sides[at], str(next(self.names))
        admitted = side.gate.enter(name, lambda: name, self.now, lambda: lambda: True, priority)
        if isinstance(admitted, Ticket):
            room = side.gate.limit - (0 if priority else side.gate.reserve)
            assert len(side.out) < room
            assert not side.lines[True]
            assert priority or not side.lines[False]
            side.out.append(admitted)
        else:
            assert isinstance(admitted, Waiter)
            side.lines[priority].append(admitted)
            assert side.gate.enter_at_once("late", lambda: "late", self.now) is None or priority

    @precondition(lambda self: any(side.out for side in self.sides))
    @rule(data=st.data(), passing=st.floats(0.1, 5), lost=st.booleans())
    def leave(self, data: st.DataObject, passing: float, lost: bool) -> None:
        self.now += passing
        side = data.draw(st.sampled_from([side for side in self.sides if side.out]))
        ticket = side.out.pop(data.draw(st.integers(0, len(side.out) - 1)))
        if not lost:
            side.gate.leave(ticket, self.now)
        del ticket
        self._settle()

    @precondition(lambda self: any(any(side.lines.values()) for side in self.sides))
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        lines = [line for side in self.sides for line in side.lines.values() if line]
        line = lines[data.draw(st.integers(0, len(lines) - 1))]
        waiter = line.pop(data.draw(st.integers(0, len(line) - 1)))
        side = next(each for each in self.sides if any(line is it for it in each.lines.values()))
        assert side.gate.give_up(waiter) is None

    @rule(at=st.integers(0, 1))
    def suspend(self, at: int) -> None:
        self.sides[at].gate.suspend()

    @rule(at=st.integers(0, 1))
    def resume(self, at: int) -> None:
        self.sides[at].gate.resume(self.now)
        self._settle()

    @rule(at=st.integers(0, 1), limit=st.integers(2, 5))
    def resize(self, at: int, limit: int) -> None:
        self.sides[at].gate.resize(limit, self.now)
        self._settle()

    @invariant()
    def the_gates_are_as_the_lists_are(self) -> None:
        if not hasattr(self, "sides"):
            return
        lent = sum(len(side.out) for side in self.sides)
        room = self.budget is None or lent < self.budget.limit
        if self.budget is not None:
            assert self.budget.lent == lent <= self.budget.limit
        for side in self.sides:
            gate = side.gate
            assert {id(t) for t in gate.holders()} == {id(t) for t in side.out}
            assert list(gate.waiters()) == [*side.lines[True], *side.lines[False]]
            if gate.suspended or not room:
                continue
            assert not side.lines[True] or len(side.out) >= gate.limit
            assert not side.lines[False] or len(side.out) >= gate.limit - gate.reserve
