"""What goes wrong with frames."""

from __future__ import annotations

from .errors import HermeticError


class UnfitValue(HermeticError, ValueError):
    """A value that cannot be read into a frame, or written from one, as it is.

    ``column`` is the column's name, ``row`` the number of the row among those that were read or
    written, from 0, or ``None`` where it is the whole column. The message does not have the value;
    ``value`` is it, where it is known, and ``...`` otherwise.
    """

    def __init__(
        self, column: str, row: int | None, problem: str, *, value: object = ..., hint: str = ""
    ) -> None:
        where = "" if row is None else f", row {row}"
        super().__init__(f"Column {column!r}{where}: the value {problem}.", hint=hint)
        self.column = column
        self.row = row
        self.value = value
