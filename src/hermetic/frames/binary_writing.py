# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Arrow's columns as rows in PostgreSQL's binary COPY format.

Every column first adds the length of its fields to those of the rows; then the rows are laid out,
and every column puts its fields where each row has come to.
"""

from __future__ import annotations

from typing import Any

try:
    import cython  # type: ignore[import-untyped]
except ImportError:
    from ..fast import shadow as cython

_NEGATIVE = 0x4000

# the compiled form has these from binary_writing.pxd
if not cython.compiled:

    def is_there(bits: Any, row: int) -> bool:
        return bool(bits[row >> 3] >> (row & 7) & 1)

    def put_int16(out: Any, at: int, value: int) -> None:
        out[at : at + 2] = (value & 0xFFFF).to_bytes(2, "big")

    def put_int32(out: Any, at: int, value: int) -> None:
        out[at : at + 4] = value.to_bytes(4, "big", signed=True)

    def put_bytes(out: Any, at: int, data: Any, start: int, length: int) -> None:
        out[at : at + length] = data[start : start + length]

    def put_turned(out: Any, at: int, data: Any, start: int, size: int) -> None:
        out[at : at + size] = bytes(data[start : start + size])[::-1]


def add_fixed(valid: Any, offset: int, rows: int, size: int, places: Any) -> None:
    """:param valid: Arrow's bitmap; empty where every row has a value."""
    for row in range(rows):
        places[row] += 4
        if len(valid) == 0 or is_there(valid, offset + row):
            places[row] += size


def add_strings(valid: Any, offset: int, rows: int, offsets: Any, extra: int, places: Any) -> None:
    """:param extra: bytes in front of each value."""
    for row in range(rows):
        places[row] += 4
        if len(valid) == 0 or is_there(valid, offset + row):
            places[row] += offsets[offset + row + 1] - offsets[offset + row] + extra


def total_of(places: Any, rows: int) -> int:
    total = 0
    for row in range(rows):
        total += places[row]
    return total


def begin_rows(places: Any, rows: int, width: int, start: int, out: Any) -> None:
    """Turn the lengths of rows into where each of them begins."""
    at = start
    for row in range(rows):
        length = places[row]
        put_int16(out, at, width)
        places[row] = at + 2
        at += length + 2


def put_fixed(
    valid: Any, offset: int, rows: int, size: int, turned: bool, data: Any, out: Any, places: Any
) -> None:
    """:param turned: whether the bytes are to be put in the order of the net."""
    for row in range(rows):
        at = places[row]
        if len(valid) > 0 and not is_there(valid, offset + row):
            put_int32(out, at, -1)
            places[row] = at + 4
            continue
        put_int32(out, at, size)
        if turned:
            put_turned(out, at + 4, data, (offset + row) * size, size)
        else:
            put_bytes(out, at + 4, data, (offset + row) * size, size)
        places[row] = at + 4 + size


def put_strings(
    valid: Any,
    offset: int,
    rows: int,
    offsets: Any,
    extra: int,
    data: Any,
    out: Any,
    places: Any,
) -> None:
    for row in range(rows):
        at = places[row]
        if len(valid) > 0 and not is_there(valid, offset + row):
            put_int32(out, at, -1)
            places[row] = at + 4
            continue
        length = offsets[offset + row + 1] - offsets[offset + row]
        put_int32(out, at, length + extra)
        at += 4
        if extra:
            out[at] = 1  # the version of jsonb
            at += 1
        put_bytes(out, at, data, offsets[offset + row], length)
        places[row] = at + length


def digits_of(
    valid: Any,
    offset: int,
    rows: int,
    words: Any,
    width: int,
    places: int,
    unit: int,
    offsets: Any,
    out: Any,
) -> int:
    """Decimals, as integers of ``width`` words, in PostgreSQL's groups of four digits.

    :param places: decimal places, which are filled up to whole groups by a factor of ``unit``.
    :return: the first row with a number of more than 18 digits, which this is not made for; or -1.
    """
    limit = 1_000_000_000_000_000_000 // unit
    scale = (places + 3) // 4
    at = 0
    offsets[0] = 0
    for row in range(rows):
        if len(valid) == 0 or is_there(valid, offset + row):
            low = words[(offset + row) * width]
            negative = low < 0
            if width == 2 and words[(offset + row) * 2 + 1] != (-1 if negative else 0):
                return row
            value = -low if negative else low
            if value < 0 or value >= limit:
                return row
            value *= unit
            groups = 0
            last = 0
            while value:
                group = value % 10_000
                value //= 10_000
                # from the last to the first, into the end of the room that each has
                put_int16(out, at + 8 + 2 * (7 - groups), group)
                groups += 1
            digits = groups
            weight = groups - 1 - scale
            while (
                digits
                and out[at + 8 + 2 * (7 - last)] == 0
                and (out[at + 8 + 2 * (7 - last) + 1] == 0)
            ):
                last += 1
                digits -= 1
            for group in range(digits):
                out[at + 8 + 2 * group] = out[at + 8 + 2 * (8 - groups + group)]
                out[at + 9 + 2 * group] = out[at + 9 + 2 * (8 - groups + group)]
            put_int16(out, at, digits)
            put_int16(out, at + 2, weight if digits else 0)
            put_int16(out, at + 4, _NEGATIVE if negative and digits else 0)
            put_int16(out, at + 6, places)
            at += 8 + 2 * digits
        offsets[row + 1] = at
    return -1
