"""How a long call tells how far it has come."""

from __future__ import annotations

import io
import sys

import pytest

from hermetic import ConfigurationError, InvalidOption, Progress
from hermetic.progress import following


def test_a_function_is_told_after_every_batch_and_at_the_end() -> None:
    told: list[Progress] = []
    with following(told.append, "insert into users", [0] * 5) as counted:
        counted.more(3)
        counted.more(2)
    assert [(each.done, each.total, each.finished) for each in told] == [
        (3, 5, False),
        (5, 5, False),
        (5, 5, True),
    ]
    assert {each.what for each in told} == {"insert into users"}


def test_without_a_length_no_time_is_left_to_be_told() -> None:
    told: list[Progress] = []
    with following(told.append, "insert into users", (each for each in "abc")) as counted:
        counted.more(3)
    assert [(each.total, each.left) for each in told] == [(None, None)] * 2


def test_the_time_left_is_that_of_the_rest_at_the_rate_so_far() -> None:
    told: list[Progress] = []
    with following(told.append, "insert into users", 100) as counted:
        counted.more(25)
    first = told[0]
    assert first.left is not None
    assert first.rate * first.seconds == pytest.approx(25)
    assert first.left == pytest.approx(3 * first.seconds)


def test_a_failure_is_not_told_as_an_end() -> None:
    told: list[Progress] = []

    def fail() -> None:
        with following(told.append, "insert", 2) as counted:
            counted.more(1)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [each.finished for each in told] == [False]


def test_a_bar_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    import rich

    shown = io.StringIO()
    monkeypatch.setattr(rich.get_console(), "file", shown)
    with following(True, "insert into users", [0] * 5) as counted:
        counted.more(5)
    assert "insert into users" in shown.getvalue()
    assert "5/5" in shown.getvalue()


def test_without_rich_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    with (
        pytest.raises(ConfigurationError, match=r"hermetic\[rich\]"),
        following(True, "insert", 1),
    ):
        pass


def test_what_can_show_nothing_is_refused() -> None:
    with (
        pytest.raises(InvalidOption, match="progress=7"),
        following(7, "insert", 1),  # type: ignore[arg-type]
    ):
        pass
