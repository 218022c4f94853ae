"""Who is admitted to a pool next: order, bounds, and what happens at the same moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hermetic.gate import Gate, Refused, Ticket, Waiter


def nobody() -> str:
    return "nobody"


class Wakes:
    """The wakers of a gate's waiters, and whom they woke, in order."""

    def __init__(self) -> None:
        self.woken: list[str] = []
        self.gone: set[str] = set()

    def of(self, name: str) -> Callable[[], Callable[[], bool]]:
        def wake() -> bool:
            self.woken.append(name)
            return name not in self.gone

        return lambda: wake


def refuse_to_wait() -> Callable[[], bool]:
    raise AssertionError("there was room")


class Deaf(Gate):
    """An interrupt may strike in the very callback of the collector, which swallows it."""

    def _forgotten(self, entry: Any) -> None:
        pass


class Doors:
    """A gate, its clock, and short words for what is done with it."""

    def __init__(
        self, limit: int, max_waiting: int | None = None, *, gate: type[Gate] = Gate
    ) -> None:
        self.gate = gate("doors", limit, max_waiting)
        self.wakes = Wakes()
        self.now = 0.0
        # the gate itself keeps nobody
        self.kept: list[object] = []

    def ask(self, holder: str) -> Ticket | Waiter | Refused:
        admitted = self.gate.enter(
            holder, lambda: f"label of {holder}", self.now, self.wakes.of(holder)
        )
        self.kept.append(admitted)
        return admitted

    def enter(self, holder: str) -> Ticket:
        admitted = self.ask(holder)
        assert isinstance(admitted, Ticket)
        return admitted

    def queue(self, holder: str) -> Waiter:
        waiter = self.ask(holder)
        assert isinstance(waiter, Waiter)
        return waiter

    def leave(self, ticket: Ticket | None) -> None:
        assert ticket is not None
        self.gate.leave(ticket, self.now)

    @property
    def out(self) -> list[object]:
        return [ticket.holder for ticket in self.gate.holders()]

    @property
    def waiting(self) -> list[object]:
        return [waiter.holder for waiter in self.gate.waiters()]


# ---------------------------------------------------------------- order and bounds


def test_as_many_are_out_as_the_limit_says() -> None:
    doors = Doors(2)

    doors.enter("a")
    doors.enter("b")
    doors.queue("c")

    assert (doors.out, doors.waiting) == (["a", "b"], ["c"])
    assert (doors.gate.lent, doors.gate.waiting) == (2, 1)
    assert repr(doors.gate) == "<Gate doors: 2 of 2 out, 1 waiting>"


def test_no_waker_is_made_where_there_is_room() -> None:
    gate = Gate("doors", 1, None)

    assert isinstance(gate.enter("a", nobody, 0.0, refuse_to_wait), Ticket)


def test_who_comes_first_is_served_first() -> None:
    doors = Doors(1)
    ticket: Ticket | None = doors.enter("first")
    waiters = [doors.queue(name) for name in "abc"]

    for waiter in waiters:
        doors.leave(ticket)
        ticket = waiter.ticket

    assert doors.wakes.woken == ["a", "b", "c"]
    assert doors.out == ["c"]


def test_nobody_passes_those_who_wait() -> None:
    doors = Doors(1)
    first = doors.enter("first")
    doors.queue("a")

    # the waker is made outside the lock: the place comes free at that very moment
    def make_wake() -> Callable[[], bool]:
        doors.leave(first)
        return lambda: True

    late = doors.gate.enter("late", nobody, 0.0, make_wake)

    assert isinstance(late, Waiter)
    assert doors.out == ["a"]
    assert doors.waiting == ["late"]


def test_a_place_that_comes_free_while_a_waker_is_made_is_taken_at_once() -> None:
    doors = Doors(1)
    first = doors.enter("first")

    def make_wake() -> Callable[[], bool]:
        doors.leave(first)
        return lambda: pytest.fail("nobody waited")

    assert isinstance(doors.gate.enter("late", nobody, 0.0, make_wake), Ticket)
    assert doors.gate.counters.waited == 0


@pytest.mark.parametrize("bound", [0, 1, 3])
def test_one_more_than_may_wait_is_refused(bound: int) -> None:
    doors = Doors(1, max_waiting=bound)
    doors.enter("first")
    for number in range(bound):
        doors.queue(f"waiter {number}")

    assert doors.ask("one more") == Refused(self_deadlock=False)
    assert doors.gate.waiting == bound
    assert doors.gate.counters.refused == 1


def test_without_a_bound_any_number_waits() -> None:
    doors = Doors(1, max_waiting=None)
    doors.enter("first")

    for number in range(500):
        doors.queue(f"waiter {number}")

    assert doors.gate.waiting == 500


# ---------------------------------------------------------------- giving back and giving up


def test_a_ticket_is_given_back_once() -> None:
    doors = Doors(1)
    ticket = doors.enter("first")
    a, b = doors.queue("a"), doors.queue("b")

    doors.leave(ticket)
    doors.leave(ticket)

    assert doors.out == ["a"]
    assert a.ticket is not None
    assert b.ticket is None


def test_a_ticket_of_another_gate_frees_nothing() -> None:
    doors, others = Doors(1), Doors(1)
    doors.enter("first")
    doors.queue("a")

    doors.leave(others.enter("stranger"))

    assert doors.out == ["first"]


def test_who_gives_up_leaves_the_queue() -> None:
    doors = Doors(1)
    ticket = doors.enter("first")
    a, b = doors.queue("a"), doors.queue("b")

    assert doors.gate.give_up(a) is None
    doors.leave(ticket)

    assert doors.wakes.woken == ["b"]
    assert doors.out == [b.holder]
    assert doors.gate.counters.timed_out == 1


def test_who_gives_up_too_late_has_a_ticket() -> None:
    doors = Doors(1)
    ticket = doors.enter("first")
    a, b = doors.queue("a"), doors.queue("b")
    doors.leave(ticket)

    given = doors.gate.give_up(a)

    assert given is a.ticket
    assert given is not None
    assert doors.gate.counters.timed_out == 0
    doors.leave(given)
    assert doors.out == [b.holder]


def test_giving_up_twice_counts_once() -> None:
    doors = Doors(1)
    doors.enter("first")
    waiter = doors.queue("a")

    doors.gate.give_up(waiter)
    doors.gate.give_up(waiter)

    assert doors.gate.counters.timed_out == 1


def test_who_gives_up_from_within_a_waker_finds_the_ticket() -> None:
    """Waking is not under the lock: a waker that asks the gate does not hang."""
    gate = Gate("doors", 1, None)
    first = gate.enter("first", nobody, 0.0, refuse_to_wait)
    seen: list[Ticket | None] = []
    waiters: list[Any] = []

    def wake() -> bool:
        seen.append(gate.give_up(waiters[0]))
        return True

    waiters.append(gate.enter("a", nobody, 0.0, lambda: wake))
    assert isinstance(first, Ticket)
    gate.leave(first, 1.0)

    assert seen == [waiters[0].ticket]


# ---------------------------------------------------------------- somebody who is gone


def test_a_place_is_not_lost_on_somebody_who_is_gone() -> None:
    doors = Doors(1)
    ticket = doors.enter("first")
    for name in ("gone", "gone too", "there"):
        doors.queue(name)
    doors.wakes.gone = {"gone", "gone too"}

    doors.leave(ticket)

    assert doors.wakes.woken == ["gone", "gone too", "there"]
    assert doors.out == ["there"]


def test_a_place_comes_back_when_everybody_is_gone() -> None:
    doors = Doors(2)
    tickets = [doors.enter("a"), doors.enter("b")]
    for name in ("x", "y", "z"):
        doors.queue(name)
    doors.wakes.gone = {"x", "y", "z"}

    for ticket in tickets:
        doors.leave(ticket)

    assert (doors.gate.lent, doors.gate.waiting) == (0, 0)
    assert isinstance(doors.ask("new"), Ticket)


def test_a_long_line_of_the_gone_is_passed_over() -> None:
    """A loop that was closed takes its whole line with it; passing it on must not recurse."""
    doors = Doors(1)
    ticket = doors.enter("first")
    names = [f"gone {number}" for number in range(5000)]
    for name in names:
        doors.queue(name)
    doors.queue("there")
    doors.wakes.gone = set(names)

    doors.leave(ticket)

    assert doors.out == ["there"]


# ---------------------------------------------------------------- another limit


def test_a_larger_limit_admits_those_who_wait_in_order() -> None:
    doors = Doors(1)
    doors.enter("first")
    for name in "abc":
        doors.queue(name)

    doors.gate.resize(3, doors.now)

    assert doors.wakes.woken == ["a", "b"]
    assert (doors.out, doors.waiting) == (["first", "a", "b"], ["c"])


def test_a_smaller_limit_takes_nothing_away_and_settles() -> None:
    doors = Doors(3)
    tickets = [doors.enter(name) for name in "abc"]
    doors.queue("late")

    doors.gate.resize(1, doors.now)
    assert doors.gate.lent == 3

    doors.leave(tickets[0])
    doors.leave(tickets[1])
    assert (doors.out, doors.waiting) == (["c"], ["late"])

    doors.leave(tickets[2])
    assert doors.out == ["late"]


# ---------------------------------------------------------------- waiting for oneself


def test_who_holds_the_only_place_cannot_wait_for_another() -> None:
    doors = Doors(1)
    doors.enter("a")

    assert doors.ask("a") == Refused(self_deadlock=True)
    assert doors.gate.waiting == 0
    assert doors.gate.counters.refused == 1


def test_a_circle_is_refused_to_the_one_who_would_close_it() -> None:
    doors = Doors(2)
    doors.enter("a")
    doors.enter("b")

    doors.queue("a")

    assert doors.ask("b") == Refused(self_deadlock=True)


def test_a_wait_that_an_outsider_can_end_is_allowed() -> None:
    doors = Doors(2)
    doors.enter("a")
    ticket = doors.enter("free")

    waiter = doors.queue("a")
    doors.leave(ticket)

    assert waiter.ticket is not None
    assert doors.out == ["a", "a"]


def test_who_holds_nothing_may_wait_behind_a_circle() -> None:
    doors = Doors(1)
    doors.enter("a")

    doors.queue("outsider")

    assert doors.waiting == ["outsider"]


def test_a_self_deadlock_is_said_before_the_overload() -> None:
    doors = Doors(1, max_waiting=0)
    doors.enter("a")

    assert doors.ask("a") == Refused(self_deadlock=True)
    assert doors.ask("b") == Refused(self_deadlock=False)


# ---------------------------------------------------------------- what is counted and said


def test_a_gate_counts_what_it_did() -> None:
    doors = Doors(1, max_waiting=2)
    ticket = doors.enter("first")
    doors.now = 1.0
    a = doors.queue("a")
    doors.now = 2.0
    b = doors.queue("b")
    doors.ask("c")
    doors.now = 4.0
    doors.gate.give_up(b)
    doors.leave(ticket)

    counters = doors.gate.counters
    assert a.ticket is not None
    assert (counters.admitted, counters.waited) == (2, 1)
    assert (counters.refused, counters.timed_out) == (1, 1)
    assert counters.wait_seconds == pytest.approx(3.0)


# ---------------------------------------------------------------- nobody keeps it


def test_the_place_of_a_ticket_that_nobody_keeps_goes_to_the_first_in_line() -> None:
    doors = Doors(1)
    doors.enter("lost")
    a = doors.queue("a")
    doors.queue("b")

    doors.kept.pop(0)

    assert (doors.out, doors.waiting) == (["a"], ["b"])
    assert doors.wakes.woken == ["a"]
    assert a.ticket is not None


def test_a_waiter_that_nobody_keeps_waits_no_more() -> None:
    doors = Doors(1, max_waiting=2)
    first = doors.enter("first")
    doors.queue("lost")
    b = doors.queue("b")

    doors.kept.pop(1)

    assert doors.waiting == ["b"]
    doors.queue("c")
    doors.leave(first)
    assert b.ticket is not None
    assert doors.wakes.woken == ["b"]


def test_a_place_is_not_lost_on_a_waiter_that_is_forgotten_when_it_is_woken() -> None:
    doors = Doors(1)
    first = doors.enter("first")
    doors.queue("lost")
    doors.queue("b")

    doors.leave(first)
    assert doors.out == ["lost"]
    doors.kept.pop(1)

    assert doors.out == ["b"]
    assert doors.wakes.woken == ["lost", "b"]


def test_the_end_of_a_ticket_that_was_given_back_is_no_news() -> None:
    doors = Doors(1)
    doors.leave(doors.enter("first"))
    doors.enter("second")

    doors.kept.pop(0)

    assert doors.out == ["second"]


def test_the_end_of_a_ticket_that_was_refused_is_no_news() -> None:
    doors = Doors(1, max_waiting=0)
    doors.enter("first")

    assert doors.ask("second") == Refused(self_deadlock=False)

    assert doors.out == ["first"]


def test_a_place_whose_loss_went_unheard_is_found_by_who_would_wait() -> None:
    doors = Doors(1, gate=Deaf)
    doors.enter("lost")
    doors.kept.clear()
    assert doors.gate.lent == 1

    assert isinstance(doors.ask("next"), Ticket)

    assert doors.out == ["next"]


def test_a_loss_in_line_that_went_unheard_is_found_by_who_passes_on() -> None:
    doors = Doors(1, gate=Deaf)
    first = doors.enter("first")
    doors.queue("lost")
    b = doors.queue("b")
    doors.kept.pop(1)

    doors.leave(first)

    assert b.ticket is not None
    assert (doors.out, doors.waiting) == (["b"], [])


def test_a_ticket_says_who_holds_it_since_when() -> None:
    doors = Doors(1)
    first = doors.enter("first")
    waiter = doors.queue("a")
    doors.now = 7.0
    doors.leave(first)

    ticket = waiter.ticket
    assert ticket is not None
    assert (ticket.holder, ticket.label(), ticket.since) == ("a", "label of a", 7.0)
