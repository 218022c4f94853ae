"""Rows of a call by rows and by columns."""

from __future__ import annotations

from typing import Any

import pytest

from hermetic.bulk.given import Run

NAMES = ("a", "b")
ROWS = [(1, "x"), (2, "y"), (3, "z"), (4, "w")]
COLUMNS: list[list[Any]] = [[1, 2, 3, 4], ["x", "y", "z", "w"]]
GIVEN = ["first", "second", "third", "fourth"]


@pytest.fixture(params=["rows", "columns"])
def run(request: pytest.FixtureRequest) -> Run:
    if request.param == "rows":
        return Run(NAMES, ROWS, 10, GIVEN)
    return Run(NAMES, None, 10, GIVEN, COLUMNS)


def test_values_are_the_same_either_way(run: Run) -> None:
    assert list(run.values(1)) == ["x", "y", "z", "w"]
    assert run.rows == ROWS
    assert run.columns == COLUMNS
    assert list(run.values(0)) == [1, 2, 3, 4]
    assert len(run) == 4


def test_a_part_knows_where_it_was(run: Run) -> None:
    part = run.part(1, 3)

    assert part.rows == [(2, "y"), (3, "z")]
    assert part.given == ["second", "third"]
    assert [part.position(number) for number in range(len(part))] == [11, 12]


def test_some_rows_know_where_they_were(run: Run) -> None:
    some = run.those([0, 2, 3])

    assert some.columns == [[1, 3, 4], ["x", "z", "w"]]
    assert some.given == ["first", "third", "fourth"]
    assert [some.position(number) for number in range(3)] == [10, 12, 13]
    assert [some.part(1, 3).position(number) for number in range(2)] == [12, 13]
    assert some.only([1]).position(1) == 12


def test_some_columns_are_left(run: Run) -> None:
    assert run.only([1]).rows == [("x",), ("y",), ("z",), ("w",)]
    assert run.only([1]).names == ("b",)
    assert run.only([1, 0]).columns == [COLUMNS[1], COLUMNS[0]]


def test_rows_without_columns_are_as_many(run: Run) -> None:
    empty = run.only([])

    assert empty.rows == [()] * 4
    assert empty.columns == []
