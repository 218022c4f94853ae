# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""One column of the driver's rows, gathered into Arrow's buffers: plain values of one type.

Each gives the number of values that are missing, or -1 where a value is of another type.
"""

from __future__ import annotations

from typing import Any

try:
    import cython  # type: ignore[import-untyped]
except ImportError:
    from ..fast import shadow as cython

_LAST, _FIRST = 2**63 - 1, -(2**63)
_MOST = 2**31 - 1

# the compiled form has these from gathering.pxd
if not cython.compiled:

    def size_of(value: str) -> int:
        return len(value.encode())

    def put_text(out: Any, at: int, value: str) -> int:
        data = value.encode()
        out[at : at + len(data)] = data
        return len(data)


def wholes(rows: list[Any], column: int, bits: Any, out: Any) -> int:
    missing = 0
    for row in range(len(rows)):
        each = rows[row]
        value = each[column]
        if value is None:
            missing += 1
            continue
        if type(value) is not int or value > _LAST or value < _FIRST:
            return -1
        out[row] = value
        bits[row >> 3] |= 1 << (row & 7)
    return missing


def floats(rows: list[Any], column: int, bits: Any, out: Any) -> int:
    missing = 0
    for row in range(len(rows)):
        each = rows[row]
        value = each[column]
        if value is None:
            missing += 1
            continue
        if type(value) is not float:
            return -1
        out[row] = value
        bits[row >> 3] |= 1 << (row & 7)
    return missing


def measure(rows: list[Any], column: int, bits: Any, offsets: Any) -> int:
    """Where each text ends among all of them."""
    missing = 0
    total = 0
    for row in range(len(rows)):
        each = rows[row]
        value = each[column]
        if value is None:
            missing += 1
        elif type(value) is not str:
            return -1
        else:
            total += size_of(value)
            if total > _MOST:
                return -1
            bits[row >> 3] |= 1 << (row & 7)
        offsets[row + 1] = total
    return missing


def texts(rows: list[Any], column: int, out: Any) -> None:
    at = 0
    for row in range(len(rows)):
        each = rows[row]
        value = each[column]
        if value is not None:
            at += put_text(out, at, value)
