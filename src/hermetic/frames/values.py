# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""Arrow's values as Python's: the plain ones in a compiled loop, which Arrow's own is not."""

from __future__ import annotations

from typing import Any

try:
    import cython  # type: ignore[import-untyped]
except ImportError:
    from ..fast import shadow as cython

# the compiled form has these from values.pxd
if not cython.compiled:

    def is_there(bits: Any, row: int) -> bool:
        return bool(bits[row >> 3] >> (row & 7) & 1)

    def text_at(data: Any, start: int, length: int) -> str:
        return bytes(data[start : start + length]).decode()


def texts(valid: Any, offset: int, rows: int, offsets: Any, data: Any) -> list[Any]:
    """:param valid: Arrow's bitmap; empty where every row has a value."""
    found: list[Any] = []
    for row in range(offset, offset + rows):
        if len(valid) == 0 or is_there(valid, row):
            found.append(text_at(data, offsets[row], offsets[row + 1] - offsets[row]))
        else:
            found.append(None)
    return found


def wholes(valid: Any, offset: int, rows: int, data: Any) -> list[Any]:
    found: list[Any] = []
    for row in range(offset, offset + rows):
        there = len(valid) == 0 or is_there(valid, row)
        found.append(data[row] if there else None)
    return found


def floats(valid: Any, offset: int, rows: int, data: Any) -> list[Any]:
    found: list[Any] = []
    for row in range(offset, offset + rows):
        there = len(valid) == 0 or is_there(valid, row)
        found.append(data[row] if there else None)
    return found
