"""Rows in PostgreSQL's binary COPY format, chunk by chunk, as Arrow's arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from ..frame_errors import UnfitValue
from . import binary_rows
from .fields import AnyKind, Fields, Unfit, settled

SIGNATURE = b"PGCOPY\n\xff\r\n\0"
HEADER = SIGNATURE + bytes(8)
# rows that are cut at once
_ROOM = 16_384


class Assembly:
    """What one COPY has sent so far, as arrays."""

    def __init__(self, names: Sequence[str], kinds: Sequence[AnyKind]) -> None:
        self.names = list(names)
        self.kinds = list(kinds)
        self.chunks: list[list[Any]] = []
        self.rows = 0
        # a value that could not be taken: the rest is only looked through
        self.failure: UnfitValue | None = None
        self._begun = False
        size = 4 * _ROOM * max(1, len(kinds))
        self._starts = memoryview(bytearray(size)).cast("i")
        self._lengths = memoryview(bytearray(size)).cast("i")

    def feed(self, chunk: Any, used: int) -> int:
        """Take the whole rows of a chunk; how many bytes those were."""
        if self.failure is not None:
            return used
        at = 0
        if not self._begun:
            if used < len(HEADER):
                return 0
            extra = int.from_bytes(chunk[15:19], "big")
            self._begun = True
            at = len(HEADER) + extra
        over = False
        while not over:
            count, at, over = binary_rows.cut(
                chunk, at, used, len(self.kinds), self._starts, self._lengths, _ROOM
            )
            if count:
                self._take(chunk, count)
            if count < _ROOM or self.failure is not None:
                break
        return at

    def _take(self, chunk: Any, count: int) -> None:
        arrays = []
        for number, kind in enumerate(self.kinds):
            fields = Fields(chunk, self._starts, self._lengths, number * _ROOM, count)
            try:
                arrays.append(kind.array(fields))
            except Unfit as unfit:
                self.failure = unfit_value(self.names[number], self.rows + unfit.row, kind.arrow)
                return
        self.chunks.append(arrays)
        self.rows += count

    def table(self) -> Any:
        """:raises UnfitValue: a value could not be taken."""
        if self.failure is not None:
            raise self.failure
        columns = [
            settled([chunk[number] for chunk in self.chunks], kind.arrow)
            for number, kind in enumerate(self.kinds)
        ]
        # of columns that have one name, too
        return pa.Table.from_arrays(columns, names=self.names)


def unfit_value(column: str, row: int, arrow: Any, value: object = ...) -> UnfitValue:
    return UnfitValue(
        column,
        row,
        f"is nothing that a column of {arrow} can hold",
        value=value,
        hint="Cast the column in the statement, to text if nothing else will do.",
    )
