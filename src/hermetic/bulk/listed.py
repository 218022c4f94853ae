"""Many rows in one statement of a database in this process: looked at once, it takes less time than
one for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from sqlalchemy import Column, Table, types

from ..dialects.writing import lists_numbers
from .given import Run
from .refused import is_of_a_row
from .sending import Said, Sender

# rows of one list of VALUES, and values of one statement
_ROWS, _VALUES = 250, 32_000
_WHOLE = (types.Integer, types.BigInteger, types.SmallInteger)


class Values:
    """Rows that an UPDATE is joined with.

    :param around: its text before the rows, the one row that it was compiled with, and what is
        behind it.
    """

    def __init__(self, around: tuple[str, str, str], width: int) -> None:
        self._around = around
        self._width = width
        self._most = max(1, min(_ROWS, _VALUES // width))
        self._whole = self._said(self._most)

    def send(self, sender: Sender, rows: list[Any]) -> int | None:
        """How many rows of the table were found; ``None`` where one is refused: then nothing is
        changed.
        """
        around = sender.connection.begin_nested()
        try:
            matched = sum(
                self._send(sender, rows[start : start + self._most])
                for start in range(0, len(rows), self._most)
            )
        except BaseException as error:
            if around.is_active:
                around.rollback()
            if isinstance(error, Exception) and is_of_a_row(error):
                return None
            raise
        around.commit()
        return matched

    def _send(self, sender: Sender, rows: list[Any]) -> int:
        said = self._whole if len(rows) == self._most else self._said(len(rows))
        return sender.one(said, tuple(chain.from_iterable(rows)))

    def _said(self, count: int) -> Said:
        before, _, after = self._around
        named = ", ".join(f"column{at + 1} AS c{at}" for at in range(self._width))
        row = f"({', '.join(['?'] * self._width)})"
        return Said(f"{before}SELECT {named} FROM (VALUES {', '.join([row] * count)}){after}")


class Numbers:
    """Whole numbers, the keys of rows that are deleted, as one value."""

    def __init__(self, sender: Sender, said: Said) -> None:
        self._sender = sender
        self._said = said

    def send(self, run: Run) -> int | None:
        """How many rows there were; ``None`` where a key is no such number."""
        numbers = run.columns[0]
        whole = {int}.issuperset(map(type, numbers))
        if not whole or max(numbers) >= 2**63 or min(numbers) < -(2**63):
            return None  # the driver knows what it takes

        def send(start: int, end: int) -> int:
            listed = f"[{','.join(map(str, numbers[start:end]))}]"
            return self._sender.one(self._said, (listed,))

        matched: int = self._sender.parts(send, run, whole=True)
        return matched


def numbers_of(sender: Sender, table: Table, keys: Sequence[Column[Any]]) -> Numbers | None:
    """How rows are deleted by their numbers; ``None`` where that cannot be."""
    if len(keys) != 1 or type(keys[0].type) not in _WHOLE or not lists_numbers(sender.driver):
        return None
    quoted = sender.dialect.identifier_preparer
    listed = "(SELECT value FROM json_each(?))"
    name, of = quoted.format_column(keys[0]), quoted.format_table(table)
    return Numbers(sender, Said(f"DELETE FROM {of} WHERE {name} IN {listed}"))
