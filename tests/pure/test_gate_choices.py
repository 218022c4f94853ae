"""Whom a gate prefers, keeps waiting, and sends away: reserves, suspension, shedding, budgets."""

from __future__ import annotations

import pytest

from hermetic import Budget, InvalidOption
from hermetic.gate import Gate, Refused, Ticket, Waiter
from tests.pure.choosing import ChoosingMachine
from tests.pure.machines import run
from tests.pure.test_gate import Doors, Wakes


class Choosing(Doors):
    """Doors to a gate that was made otherwise."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.wakes = Wakes()
        self.now = 0.0
        self.kept: list[object] = []

    def urgent(self, holder: str) -> Ticket | Waiter | Refused:
        admitted = self.gate.enter(holder, lambda: holder, self.now, self.wakes.of(holder), True)
        self.kept.append(admitted)
        return admitted


def reserved(limit: int, reserve: int) -> Choosing:
    return Choosing(Gate("doors", limit, None, reserve=reserve))


# ---------------------------------------------------------------- reserves


def test_the_last_places_are_for_those_with_priority() -> None:
    doors = reserved(3, 1)
    doors.enter("a")
    doors.enter("b")

    doors.queue("c")

    assert isinstance(doors.urgent("admin"), Ticket)
    assert doors.gate.lent == 3


def test_who_enters_at_once_does_not_enter_a_reserve() -> None:
    doors = reserved(2, 1)

    ticket = doors.gate.enter_at_once("a", lambda: "a", 0.0)

    assert ticket is not None
    assert doors.gate.enter_at_once("b", lambda: "b", 0.0) is None


def test_priority_is_served_first() -> None:
    doors = reserved(2, 1)
    first = doors.enter("a")
    admin = doors.urgent("admin")
    assert isinstance(admin, Ticket)
    ordinary = doors.queue("b")
    second = doors.urgent("admin 2")
    assert isinstance(second, Waiter)

    doors.leave(first)

    assert doors.wakes.woken == ["admin 2"]
    doors.leave(admin)
    assert doors.wakes.woken == ["admin 2"]  # one is out still, and that is all that there is for b
    assert second.ticket is not None
    doors.leave(second.ticket)
    assert doors.wakes.woken == ["admin 2", "b"]
    assert ordinary.ticket is not None


def test_a_reserve_does_not_make_a_wait_for_oneself_look_like_another() -> None:
    doors = reserved(2, 1)
    doors.enter("a")

    assert doors.ask("a") == Refused(self_deadlock=True)


# ---------------------------------------------------------------- suspension


def test_nobody_is_admitted_while_it_is_suspended() -> None:
    doors = Doors(2)
    doors.gate.suspend()

    doors.queue("a")
    doors.queue("b")
    assert doors.gate.enter_at_once("c", lambda: "c", 0.0) is None

    doors.gate.resume(1.0)
    assert doors.wakes.woken == ["a", "b"]
    assert doors.out == ["a", "b"]


def test_what_comes_back_meanwhile_is_not_lent() -> None:
    doors = Doors(1)
    ticket = doors.enter("first")
    doors.gate.suspend()
    doors.queue("a")

    doors.leave(ticket)
    assert doors.out == []

    doors.gate.resume(1.0)
    assert doors.out == ["a"]


def test_suspension_is_no_wait_for_oneself() -> None:
    doors = Doors(1)
    ticket = doors.enter("a")
    doors.gate.suspend()

    doors.queue("a")
    doors.leave(ticket)
    doors.gate.resume(1.0)

    assert doors.out == ["a"]


# ---------------------------------------------------------------- shedding


def shedding(limit: int = 1) -> Choosing:
    return Choosing(Gate("doors", limit, None, shed_after=0.5))


def test_a_short_crowd_is_not_shed() -> None:
    doors = shedding()
    ticket: Ticket | None = doors.enter("first")
    waiters = [doors.queue(f"w{number}") for number in range(10)]

    for waiter in waiters:
        doors.now += 0.15
        doors.leave(ticket)
        ticket = waiter.ticket

    assert doors.gate.counters.shed == 0


def test_where_everybody_waits_long_the_oldest_are_sent_away() -> None:
    doors = shedding()
    ticket: Ticket | None = doors.enter("first")
    line: list[Waiter] = []
    # one comes every 0.1 s, one is served every 0.4 s
    for step in range(100):
        doors.now = step * 0.1
        line.append(doors.queue(f"w{step}"))
        if step % 4 == 3:
            doors.leave(ticket)
            ticket = next((w.ticket for w in line if w.holder in doors.out), None)
    shed = [waiter for waiter in line if waiter.shed]

    assert shed
    assert doors.gate.counters.shed == len(shed)
    assert all(waiter.ticket is None for waiter in shed)
    assert {str(waiter.holder) for waiter in shed} <= set(doors.wakes.woken)
    # once it has begun nobody waits for more than about twice the time
    waiting = doors.gate.waiters()
    assert waiting
    assert doors.now - waiting[0].since <= 2 * 0.5 + 0.4


def test_nobody_comes_back_and_the_line_is_shed_by_who_comes() -> None:
    doors = shedding()
    doors.enter("holds for ever")
    old = doors.queue("old")
    doors.now = 3.0

    new = doors.queue("new")

    assert (old.shed, new.shed) == (True, False)
    assert doors.wakes.woken == ["old"]
    assert doors.gate.give_up(old) is None


def test_a_line_that_was_empty_is_a_new_one() -> None:
    doors = shedding()
    ticket = doors.enter("first")
    doors.now = 3.0
    late = doors.queue("late")
    doors.now = 10.0
    doors.leave(ticket)
    doors.leave(late.ticket)
    again = doors.enter("again")
    doors.now = 10.1
    waiter = doors.queue("waiter")
    doors.now = 11.2
    doors.leave(again)

    assert waiter.ticket is not None
    assert doors.gate.counters.shed == 0


def test_priority_is_not_shed() -> None:
    doors = shedding()
    doors.enter("holds for ever")
    admin = doors.urgent("admin")
    assert isinstance(admin, Waiter)
    doors.now = 5.0

    doors.queue("new")

    assert not admin.shed


# ---------------------------------------------------------------- budgets


def sharing(limit: int, *limits: int) -> tuple[Budget, list[Choosing]]:
    budget = Budget(limit)
    return budget, [Choosing(Gate(f"doors {n}", n, None, budget=budget)) for n in limits]


def test_several_gates_share_a_budget() -> None:
    budget, (first, second) = sharing(3, 2, 2)
    first.enter("a")
    first.enter("b")
    ticket = second.enter("c")

    waiter = second.queue("d")
    assert budget.lent == 3

    second.leave(ticket)
    assert waiter.ticket is not None
    assert budget.lent == 3


def test_a_place_goes_to_the_gate_where_the_wait_is_longest() -> None:
    budget, (first, second) = sharing(1, 1, 1)
    ticket = first.enter("a")
    second.now = 1.0
    second.queue("old")
    first.now = 2.0
    first.queue("young")

    first.leave(ticket)

    assert budget.lent == 1
    assert first.wakes.woken + second.wakes.woken == ["old"]


def test_a_ticket_that_nobody_keeps_gives_its_place_to_the_other_gate() -> None:
    budget, (first, second) = sharing(1, 1, 1)
    first.enter("lost")
    waiter = second.queue("b")

    first.kept.clear()

    assert waiter.ticket is not None
    assert budget.lent == 1


def test_a_gate_that_is_gone_counts_no_more() -> None:
    _, (first, second) = sharing(1, 1, 1)
    first.enter("a")
    del first

    assert isinstance(second.ask("b"), Ticket)


def test_who_has_all_of_a_budget_would_wait_for_itself() -> None:
    _, (first, second) = sharing(1, 2, 2)
    first.enter("a")

    assert second.ask("a") == Refused(self_deadlock=True)
    assert first.ask("a") == Refused(self_deadlock=True)
    assert isinstance(second.ask("b"), Waiter)


def test_somebody_else_who_has_a_part_of_a_budget_can_end_a_wait() -> None:
    _, (first, second) = sharing(2, 2, 2)
    first.enter("a")
    first.enter("b")

    assert isinstance(second.ask("a"), Waiter)
    assert second.ask("b") == Refused(self_deadlock=True)


def test_who_waits_at_each_others_full_gates_is_told() -> None:
    _, (first, second, third) = sharing(5, 1, 1, 1)
    first.enter("a")
    second.enter("b")
    third.enter("c")

    assert isinstance(second.ask("a"), Waiter)
    assert isinstance(third.ask("b"), Waiter)
    assert first.ask("c") == Refused(self_deadlock=True)


def test_who_waits_at_a_suspended_gate_may_go_on() -> None:
    _, (first, second) = sharing(2, 1, 1)
    first.enter("a")
    second.enter("b")
    second.gate.suspend()

    assert isinstance(second.ask("a"), Waiter)
    assert isinstance(first.ask("b"), Waiter)


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "3", 100_001])
def test_a_budget_is_a_whole_number(limit: object) -> None:
    with pytest.raises(InvalidOption):
        Budget(limit)  # type: ignore[arg-type]


# ---------------------------------------------------------------- histories


@pytest.mark.slow
def test_gates_do_what_the_model_says() -> None:
    run(ChoosingMachine, histories=200)
