"""A gate that many threads go through at once loses nobody and nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from hermetic.gate import Gate, Refused, Ticket, Waiter


def nobody() -> str:
    return "nobody"


def enter(gate: Gate, holder: object) -> tuple[Ticket | Waiter | Refused, threading.Event]:
    """Ask for a place, with an event as waker."""
    event = threading.Event()

    def make_wake() -> Callable[[], bool]:
        def wake() -> bool:
            event.set()
            return True

        return wake

    return gate.enter(holder, nobody, 0.0, make_wake), event


def run(threads: int, visit: Callable[[int], None]) -> None:
    """Run visitors at once."""
    together = threading.Barrier(threads, timeout=10)

    def begin(number: int) -> None:
        together.wait()
        visit(number)

    started = [threading.Thread(target=begin, args=(number,)) for number in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join(20)


@pytest.mark.parametrize("limit", [1, 3])
def test_never_more_threads_are_inside_than_the_limit(limit: int) -> None:
    gate = Gate("doors", limit, None)
    inside: list[int] = []
    most: list[int] = []

    def visit(number: int) -> None:
        for _ in range(50):
            admitted, woken = enter(gate, number)
            if isinstance(admitted, Waiter):
                assert woken.wait(10)
                assert admitted.ticket is not None
                admitted = admitted.ticket
            assert isinstance(admitted, Ticket)
            inside.append(number)
            most.append(len(inside))
            inside.remove(number)
            gate.leave(admitted, 0.0)

    run(12, visit)

    assert (gate.lent, gate.waiting) == (0, 0)
    assert gate.counters.admitted == 12 * 50
    assert max(most) <= limit


def test_a_ticket_is_never_lost_between_a_wake_and_a_give_up() -> None:
    """Half of the waiters give up at any moment; every place is there in the end."""
    gate = Gate("doors", 2, None)

    def visit(number: int) -> None:
        for turn in range(100):
            admitted, woken = enter(gate, (number, turn))
            if isinstance(admitted, Waiter):
                if turn % 2:
                    woken.wait(10)
                ticket = gate.give_up(admitted)
            else:
                assert isinstance(admitted, Ticket)
                ticket = admitted
            if ticket is not None:
                gate.leave(ticket, 0.0)

    run(8, visit)

    counters = gate.counters
    assert (gate.lent, gate.waiting) == (0, 0)
    assert counters.admitted + counters.timed_out == 8 * 100
