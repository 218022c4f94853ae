"""Many rows inserted by statements that list them, with their keys back."""

from __future__ import annotations

from itertools import chain
from typing import Any

from .given import Run
from .sending import Said, Sender

# rows of one list: the server takes a packet of 16 MB, unless it was told otherwise
_ROWS = 1000


class Lists:
    """An INSERT for one row, made one for many that returns their keys.

    :ivar is_known: whether that could be made of it.
    """

    def __init__(self, sql: str, width: int, key: str) -> None:
        """:param sql: the INSERT, with a mark for each of the row's values.
        :param key: what is returned.
        """
        self._row = f"({', '.join(['%s'] * width)})"
        self._key = key
        self._before, found, behind = sql.rpartition(f"VALUES {self._row}")
        self.is_known = bool(found) and not behind
        self._whole = self._said(_ROWS)

    def _said(self, count: int) -> Said:
        listed = ", ".join([self._row] * count)
        return Said(f"{self._before}VALUES {listed} RETURNING {self._key}")

    def send(self, sender: Sender, rows: list[Any], run: Run) -> list[Any]:
        """The keys, which count up in the order of the rows."""

        def send(start: int, end: int) -> list[Any]:
            keys: list[Any] = []
            for first in range(start, end, _ROWS):
                part = rows[first : min(end, first + _ROWS)]
                said = self._whole if len(part) == _ROWS else self._said(len(part))
                returned = sender.asked(said, tuple(chain.from_iterable(part)))
                keys += sorted([key for (key,) in returned])
            return keys

        found: list[Any] = sender.parts(send, run)
        return found
