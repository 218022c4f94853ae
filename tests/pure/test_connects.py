"""Who connects while a server is there, and while it is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hermetic.connects import AT_ONCE, Connects, Expectant, Permit, pause_after

A, B = object(), object()


class Asking:
    """The connects to a server, a clock, and whom they woke."""

    def __init__(self) -> None:
        self.connects = Connects()
        self.now = 0.0
        self.woken: list[str] = []
        # nobody else keeps them
        self.kept: list[object] = []

    def waker(self, name: str) -> Callable[[], Callable[[], bool]]:
        def wake() -> bool:
            self.woken.append(name)
            return True

        return lambda: wake

    def ask(self, name: str, line: object = A) -> Permit | Expectant:
        asked = self.connects.ask(line, self.now, self.waker(name))
        self.kept.append(asked)
        return asked

    def permit(self, name: str, line: object = A) -> Permit:
        asked = self.ask(name, line)
        assert isinstance(asked, Permit)
        return asked

    def wait(self, name: str, line: object = A) -> Expectant:
        asked = self.ask(name, line)
        assert isinstance(asked, Expectant)
        return asked

    def again(self, expectant: Expectant, name: str) -> Permit | Expectant:
        asked = self.connects.ask_again(expectant, self.now, self.waker(name))
        self.kept.append(asked)
        return asked

    def succeed(self, permit: Permit) -> None:
        self.connects.succeeded(permit, self.now)

    def fail(self, permit: Permit | None, chance: float = 1.0) -> OSError:
        error = OSError("nobody there")
        self.connects.failed(permit, error, self.now, chance)
        return error


# ---------------------------------------------------------------- a server that is there


def test_a_few_of_each_pool_connect_at_once() -> None:
    asking = Asking()

    for number in range(AT_ONCE):
        asking.permit(f"a{number}")
        asking.permit(f"b{number}", B)

    asking.wait("a late")
    asking.wait("b late", B)
    assert (asking.connects.under_way, asking.connects.waiting) == (2 * AT_ONCE, 2)


def test_who_waited_first_goes_first() -> None:
    asking = Asking()
    permits = [asking.permit(str(number)) for number in range(AT_ONCE)]
    first, second = asking.wait("first"), asking.wait("second")

    asking.succeed(permits[0])

    assert asking.woken == ["first"]
    assert asking.again(second, "second") is second
    assert isinstance(asking.again(first, "first"), Permit)


def test_nobody_passes_those_who_wait_in_the_same_line() -> None:
    asking = Asking()
    permits = [asking.permit(str(number)) for number in range(AT_ONCE)]
    asking.wait("first")

    asking.succeed(permits[0])

    asking.wait("late")
    asking.permit("other line", B)


def test_a_place_that_is_given_up_goes_to_the_next() -> None:
    asking = Asking()
    permits = [asking.permit(str(number)) for number in range(AT_ONCE)]
    first, second = asking.wait("first"), asking.wait("second")
    asking.succeed(permits[0])

    asking.connects.leave(first, asking.now)

    assert asking.woken == ["first", "second"]
    assert isinstance(asking.again(second, "second"), Permit)


def test_a_permit_that_nobody_keeps_is_given_back() -> None:
    asking = Asking()
    for number in range(AT_ONCE):
        asking.permit(str(number))
    waiting = asking.wait("first")

    del asking.kept[0]

    assert asking.woken == ["first"]
    assert isinstance(asking.again(waiting, "first"), Permit)


def test_a_waiter_that_nobody_keeps_holds_nobody_up() -> None:
    asking = Asking()
    permits = [asking.permit(str(number)) for number in range(AT_ONCE)]
    asking.wait("lost")
    second = asking.wait("second")

    del asking.kept[AT_ONCE]
    asking.succeed(permits[0])

    assert asking.woken == ["second"]
    assert isinstance(asking.again(second, "second"), Permit)


# ---------------------------------------------------------------- one that is not


def test_the_error_of_a_connect_is_told_to_everybody_who_waits() -> None:
    asking = Asking()
    permits = [asking.permit(str(number)) for number in range(AT_ONCE)]
    waiting = [asking.wait("a"), asking.wait("b")]

    error = asking.fail(permits[0])

    assert asking.woken == ["a", "b"]
    assert [each.error for each in waiting] == [error, error]
    assert asking.connects.waiting == 0


def test_nobody_connects_in_the_pause_after_a_failure() -> None:
    asking = Asking()
    asking.fail(asking.permit("first"))

    waiting = asking.wait("early")
    other = asking.wait("early too", B)

    assert waiting.until == other.until == pytest.approx(0.2)
    asking.now = 0.15
    assert asking.again(waiting, "early") is waiting
    asking.now = 0.2
    assert isinstance(asking.again(waiting, "early"), Permit)


def test_there_is_one_probe_for_the_whole_server() -> None:
    asking = Asking()
    asking.fail(asking.permit("first"))
    asking.now = 5.0
    probe = asking.permit("probe")

    same, other = asking.wait("same"), asking.wait("other", B)

    assert same.until == other.until == pytest.approx(6.0)
    asking.succeed(probe)
    assert asking.woken == ["same", "other"]
    assert isinstance(asking.again(same, "same"), Permit)
    assert isinstance(asking.again(other, "other"), Permit)


def test_a_probe_that_hangs_is_followed_by_another() -> None:
    asking = Asking()
    asking.fail(asking.permit("first"))
    asking.now = 5.0
    hanging = asking.permit("probe")
    waiting = asking.wait("waiting")
    asking.now = 5.9
    assert asking.again(waiting, "waiting") is waiting
    asking.now = 6.0

    second = asking.again(waiting, "waiting")

    assert isinstance(second, Permit)
    assert asking.wait("late").until == pytest.approx(7.0)
    asking.succeed(second)
    assert asking.connects.failures == 0
    asking.connects.gave_up(hanging, asking.now)


def test_the_first_success_ends_the_pauses() -> None:
    asking = Asking()
    for _ in range(6):
        asking.fail(asking.permit("probe"))
        asking.now += 10
    asking.succeed(asking.permit("probe"))

    assert (asking.connects.failures, asking.connects.error) == (0, None)
    asking.permit("at once")
    asking.permit("at once too")


def test_a_probe_that_is_given_up_says_nothing() -> None:
    asking = Asking()
    error = asking.fail(asking.permit("first"))
    asking.now = 1.0
    probe = asking.permit("probe")
    next_one, last = asking.wait("next"), asking.wait("last")

    asking.connects.gave_up(probe, asking.now)

    assert asking.woken == ["next", "last"]
    assert isinstance(asking.again(next_one, "next"), Permit)
    assert asking.again(last, "last") is last
    assert asking.connects.error is error


def test_a_probe_that_nobody_keeps_is_followed_by_another() -> None:
    asking = Asking()
    asking.fail(asking.permit("first"))
    asking.now = 1.0
    asking.permit("probe")
    waiting = asking.wait("next")

    asking.kept.pop(1)

    assert asking.woken == ["next"]
    assert isinstance(asking.again(waiting, "next"), Permit)


def test_a_server_that_went_away_after_a_connect_is_one_that_failed() -> None:
    asking = Asking()

    asking.fail(None)

    assert asking.wait("early").until == pytest.approx(0.2)


def test_pauses_grow_and_are_never_nothing() -> None:
    assert [pause_after(n, 1.0) for n in (1, 2, 3, 4, 1000)] == pytest.approx(
        [0.2, 0.4, 0.65, 0.65, 0.65]
    )
    assert pause_after(1000, 0.0) == pytest.approx(0.65 * 0.85)


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_ten_seconds_see_no_more_than_twenty_probes(chance: float) -> None:
    asking = Asking()
    probes = 0
    while asking.now < 10:
        asking.fail(asking.permit("probe"), chance)
        probes += 1
        asking.now = asking.connects.until

    assert probes <= 20


def test_a_child_process_begins_anew() -> None:
    asking = Asking()
    asking.fail(asking.permit("first"))
    asking.wait("early")

    asking.connects.start_anew()

    assert (asking.connects.waiting, asking.connects.failures) == (0, 0)
    asking.permit("child")
