# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Arrow's columns as the parameters of statements that MariaDB and MySQL have prepared.

As in ``binary_writing``: every column first adds the length of its values to those of the rows;
then the rows are laid out, and every column puts its values where each row has come to. A value
that is not there is a bit, and no bytes.
"""

from __future__ import annotations

from typing import Any

try:
    import cython  # type: ignore[import-untyped]
except ImportError:
    from ..fast import shadow as cython

# the compiled form has these from parameter_bytes.pxd
if not cython.compiled:

    def is_there(bits: Any, row: int) -> bool:
        return bool(bits[row >> 3] >> (row & 7) & 1)

    def head_of(length: int) -> int:
        return 1 if length < 251 else 3 if length < 0x1_0000 else 4 if length < 0x100_0000 else 9

    def put_head(out: Any, at: int, length: int) -> int:
        size = head_of(length)
        if size == 1:
            out[at] = length
            return 1
        out[at] = {3: 252, 4: 253, 9: 254}[size]
        out[at + 1 : at + size] = length.to_bytes(size - 1, "little")
        return size

    def put_bytes(out: Any, at: int, data: Any, start: int, length: int) -> None:
        out[at : at + length] = data[start : start + length]


def add_fixed(valid: Any, offset: int, rows: int, size: int, places: Any) -> None:
    """:param valid: Arrow's bitmap; empty where every row has a value."""
    for row in range(rows):
        if len(valid) == 0 or is_there(valid, offset + row):
            places[row] += size


def add_strings(valid: Any, offset: int, rows: int, offsets: Any, places: Any) -> None:
    for row in range(rows):
        if len(valid) == 0 or is_there(valid, offset + row):
            length = offsets[offset + row + 1] - offsets[offset + row]
            places[row] += length + head_of(length)


def put_absent(valid: Any, offset: int, rows: int, width: int, column: int, bits: Any) -> None:
    """Set the bit of each value that is not there; the parameters are those of rows one by one.

    :param width: how many columns there are.
    """
    for row in range(rows):
        if not is_there(valid, offset + row):
            at = row * width + column
            bits[at >> 3] |= 1 << (at & 7)


def begin_rows(places: Any, rows: int) -> int:
    """Turn the lengths of rows into where each of them begins; how long they are together."""
    at = 0
    for row in range(rows):
        length = places[row]
        places[row] = at
        at += length
    return at


def put_fixed(
    valid: Any, offset: int, rows: int, size: int, data: Any, out: Any, places: Any
) -> None:
    for row in range(rows):
        if len(valid) > 0 and not is_there(valid, offset + row):
            continue
        put_bytes(out, places[row], data, (offset + row) * size, size)
        places[row] += size


def put_strings(
    valid: Any, offset: int, rows: int, offsets: Any, data: Any, out: Any, places: Any
) -> None:
    for row in range(rows):
        if len(valid) > 0 and not is_there(valid, offset + row):
            continue
        length = offsets[offset + row + 1] - offsets[offset + row]
        at = places[row]
        at += put_head(out, at, length)
        put_bytes(out, at, data, offsets[offset + row], length)
        places[row] = at + length
