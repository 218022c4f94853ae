"""Errors about one row of many say which one it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..dialects.refusals import line_of, row_of
from ..faults import FaultKind
from .given import Run

# what a row may be refused for, and not the statement or the server
_OF_ROWS = frozenset(
    {
        *(FaultKind.UNIQUE, FaultKind.FOREIGN_KEY, FaultKind.NOT_NULL, FaultKind.CHECK),
        *(FaultKind.INTEGRITY, FaultKind.DATA),
    }
)


def is_of_a_row(error: BaseException) -> bool:
    """Whether it may be a single row that the database does not take."""
    fault = getattr(error, "fault", None)
    if fault is not None:
        return fault.kind in _OF_ROWS
    # of an engine that is none of ours: SQLAlchemy's classes
    return type(error).__name__ in ("IntegrityError", "DataError")


def tell(error: BaseException, run: Run, number: int | None, what: str) -> None:
    """Put into an error which row of the call it is about.

    :param number: which one of the run; ``None`` if nobody knows.
    """
    if number is not None and 0 <= number < len(run):
        error.row = run.position(number)  # type: ignore[attr-defined]
        said = f"row {run.position(number)} of {what}"
    else:
        last = run.position(len(run) - 1)
        said = f"one of the rows {run.position(0)} to {last} of {what}"
    add_detail = getattr(error, "add_detail", None)
    if add_detail is None:
        error.add_note(said)
    else:
        add_detail(said)


def named_by_server(error: BaseException, names: Sequence[str], rows: Any) -> int | None:
    """The row that the server's own words lead to."""
    line = line_of(error)
    return row_of(error, names, rows) if line is None else line


def by_halves(count: int, send: Callable[[int, int], bool]) -> int | None:
    """The first of some rows that is refused, found by sending them again, half by half.

    :param send: sends the rows from one up to another; whether they were taken. Those that were
        stay, so that a row which is refused for one before it is found too.
    """
    start, end = 0, count
    while end - start > 1:
        middle = (start + end) // 2
        if send(start, middle):
            start = middle
        else:
            end = middle
    return start if count and not send(start, end) else None
