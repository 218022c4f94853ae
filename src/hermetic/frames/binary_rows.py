# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Rows in PostgreSQL's binary COPY format, cut into fields and filled into Arrow's buffers.

The format is told in PostgreSQL's documentation of COPY ("Binary Format"), that of each type by its
``…_send`` function; read in 15. A function that fills returns the number of the first row whose
value does not fit, or -1.
"""

from __future__ import annotations

from typing import Any

try:
    import cython  # type: ignore[import-untyped]
except ImportError:
    from ..fast import shadow as cython

# microseconds and days from 1970-01-01 to 2000-01-01, from where PostgreSQL counts
EPOCH = 946_684_800_000_000
EPOCH_DAYS = 10_957
# what `infinity` and `-infinity` are sent as
_DATE_LAST, _DATE_FIRST = 2**31 - 1, -(2**31)
_TIME_LAST, _TIME_FIRST = 2**63 - 1, -(2**63)
_DAY = 86_400_000_000
_NANO_LAST = (2**63 - 1) // 1000
_NEGATIVE, _SPECIAL = 0x4000, 0xC000

# the compiled form has these from binary_rows.pxd
if not cython.compiled:

    def int16_at(data: Any, at: int) -> int:
        return int.from_bytes(data[at : at + 2], "big", signed=True)

    def int32_at(data: Any, at: int) -> int:
        return int.from_bytes(data[at : at + 4], "big", signed=True)

    def int64_at(data: Any, at: int) -> int:
        return int.from_bytes(data[at : at + 8], "big", signed=True)

    def put_bytes(out: Any, at: int, data: Any, start: int, length: int) -> None:
        out[at : at + length] = data[start : start + length]

    def put_int16(out: Any, at: int, data: Any, start: int) -> None:
        out[at : at + 2] = bytes(data[start : start + 2])[::-1]

    def put_int32(out: Any, at: int, data: Any, start: int) -> None:
        out[at : at + 4] = bytes(data[start : start + 4])[::-1]

    def put_int64(out: Any, at: int, data: Any, start: int) -> None:
        out[at : at + 8] = bytes(data[start : start + 8])[::-1]

    def put_long(out: Any, at: int, value: int) -> None:
        out[at : at + 8] = value.to_bytes(8, "little", signed=True)


def cut(
    data: Any, at: int, end: int, width: int, starts: Any, lengths: Any, room: int
) -> tuple[int, int, bool]:
    """Where each field of each whole row begins, column by column, and how long it is.

    :param room: how many rows there is room for in ``starts`` and ``lengths``.
    :return: how many rows there are, where the next one begins, and whether the last has been.
    """
    rows = 0
    while rows < room and at + 2 <= end:
        count = int16_at(data, at)
        if count == -1:
            return rows, at + 2, True
        if count != width:
            raise ValueError(f"a row of {count} fields where {width} were announced")
        row_at = at
        at += 2
        for column in range(width):
            if at + 4 > end:
                return rows, row_at, False
            length = int32_at(data, at)
            at += 4
            starts[column * room + rows] = at
            lengths[column * room + rows] = length
            if length > 0:
                at += length
        if at > end:
            return rows, row_at, False
        rows += 1
    return rows, at, False


def validity(lengths: Any, first: int, rows: int, bits: Any) -> int:
    """Set the bit of every row that has a value; how many have none."""
    missing = 0
    for row in range(rows):
        if lengths[first + row] < 0:
            missing += 1
        else:
            bits[row >> 3] |= 1 << (row & 7)
    return missing


def fixed(data: Any, starts: Any, lengths: Any, first: int, rows: int, size: int, out: Any) -> int:
    """Numbers of 2, 4 or 8 bytes, turned into this machine's order."""
    for row in range(rows):
        length = lengths[first + row]
        if length < 0:
            continue
        if length != size:
            return row
        if size == 4:
            put_int32(out, row * 4, data, starts[first + row])
        elif size == 8:
            put_int64(out, row * 8, data, starts[first + row])
        else:
            put_int16(out, row * 2, data, starts[first + row])
    return -1


def same(data: Any, starts: Any, lengths: Any, first: int, rows: int, size: int, out: Any) -> int:
    """Values of one length that stay as they are: UUIDs."""
    for row in range(rows):
        if lengths[first + row] >= 0:
            put_bytes(out, row * size, data, starts[first + row], size)
    return -1


def truths(data: Any, starts: Any, lengths: Any, first: int, rows: int, out: Any) -> int:
    for row in range(rows):
        if lengths[first + row] > 0 and data[starts[first + row]]:
            out[row >> 3] |= 1 << (row & 7)
    return -1


def extent(lengths: Any, first: int, rows: int, skip: int) -> int:
    """How many bytes the values of a column have together.

    :param skip: bytes in front of each that are no part of it.
    """
    total = 0
    for row in range(rows):
        length = lengths[first + row]
        if length > 0:
            total += length - skip
    return total


def strings(
    data: Any,
    starts: Any,
    lengths: Any,
    first: int,
    rows: int,
    skip: int,
    offsets: Any,
    out: Any,
) -> int:
    total = 0
    offsets[0] = 0
    for row in range(rows):
        length = lengths[first + row] - skip
        if length > 0:
            put_bytes(out, total, data, starts[first + row] + skip, length)
            total += length
        offsets[row + 1] = total
    return -1


def dates(data: Any, starts: Any, lengths: Any, first: int, rows: int, out: Any) -> int:
    for row in range(rows):
        if lengths[first + row] < 0:
            continue
        value = int32_at(data, starts[first + row])
        if value == _DATE_LAST or value == _DATE_FIRST:  # noqa: SIM109 - a tuple in C is made
            return row
        out[row] = value + EPOCH_DAYS
    return -1


def timestamps(data: Any, starts: Any, lengths: Any, first: int, rows: int, out: Any) -> int:
    for row in range(rows):
        if lengths[first + row] < 0:
            continue
        value = int64_at(data, starts[first + row])
        if value == _TIME_LAST or value == _TIME_FIRST:  # noqa: SIM109 - a tuple in C is made
            return row
        out[row] = value + EPOCH
    return -1


def times(data: Any, starts: Any, lengths: Any, first: int, rows: int, out: Any) -> int:
    for row in range(rows):
        if lengths[first + row] < 0:
            continue
        value = int64_at(data, starts[first + row])
        if value >= _DAY:
            return row  # 24:00:00 is a time to PostgreSQL
        out[row] = value
    return -1


def intervals(data: Any, starts: Any, lengths: Any, first: int, rows: int, out: Any) -> int:
    """Months, days and nanoseconds; PostgreSQL sends microseconds, days, months."""
    for row in range(rows):
        if lengths[first + row] < 0:
            continue
        start = starts[first + row]
        value = int64_at(data, start)
        if value > _NANO_LAST or value < -_NANO_LAST:
            return row
        put_int32(out, row * 16, data, start + 12)
        put_int32(out, row * 16 + 4, data, start + 8)
        put_long(out, row * 16 + 8, value * 1000)
    return -1


def decimals(
    data: Any,
    starts: Any,
    lengths: Any,
    first: int,
    rows: int,
    scale: int,
    size: int,
    limit: int,
    out: Any,
) -> int:
    """Numbers in groups of four decimal digits, as integers of ``size`` bytes times 10^-scale.

    :param limit: 10^precision, which is more than any of them may be.
    """
    words = size // 8
    groups = (scale + 3) // 4 if scale > 0 else 0
    unit = 1
    for _ in range(groups * 4 - scale if scale > 0 else 0):
        unit *= 10
    for row in range(rows):
        if lengths[first + row] < 0:
            continue
        start = starts[first + row]
        digits = int16_at(data, start)
        weight = int16_at(data, start + 2)
        sign = int16_at(data, start + 4) & 0xFFFF
        if sign >= _SPECIAL:
            return row
        places = weight + 1 + groups
        if places > 4 or scale < 0 or digits > places:
            if not _long_decimal(data, start, scale, size, limit, row, out):
                return row
            continue
        value = 0
        for step in range(places):
            value *= 10_000
            if step < digits:
                value += int16_at(data, start + 8 + 2 * step)
        if value % unit:
            return row
        value //= unit
        if sign == _NEGATIVE:
            value = -value
        out[row * words] = value
        for word in range(1, words):
            out[row * words + word] = -1 if value < 0 else 0
    return -1


def most_places(data: Any, starts: Any, lengths: Any, first: int, rows: int) -> int:
    """The most decimal places that a number is shown with."""
    most = 0
    for row in range(rows):
        if lengths[first + row] >= 0:
            places = int16_at(data, starts[first + row] + 6)
            if places > most:
                most = places
    return most


def first_with(data: Any, starts: Any, lengths: Any, first: int, rows: int, places: int) -> int:
    for row in range(rows):
        if lengths[first + row] >= 0 and int16_at(data, starts[first + row] + 6) == places:
            return row
    return -1


def _long_decimal(
    data: Any, start: int, scale: int, size: int, limit: int, row: int, out: Any
) -> bool:
    """Whether it could be put there; for numbers that may have more than 18 digits."""
    digits = int16_at(data, start)
    weight = int16_at(data, start + 2)
    value = 0
    for step in range(digits):
        value = value * 10_000 + int16_at(data, start + 8 + 2 * step)
    exponent = (weight - digits + 1) * 4 + scale
    if exponent >= 0:
        if exponent > 100 and value:
            return False
        value *= 10**exponent
    else:
        value, rest = divmod(value, 10**-exponent)
        if rest:
            return False
    if value >= limit:
        return False
    if int16_at(data, start + 4) & 0xFFFF == _NEGATIVE:
        value = -value
    memoryview(out).cast("B")[row * size : (row + 1) * size] = value.to_bytes(
        size, "little", signed=True
    )
    return True


def elements(data: Any, starts: Any, lengths: Any, first: int, rows: int, offsets: Any) -> int:
    """Where the elements of each array begin among those of all; -1 - row for one of several
    dimensions, or whose numbering does not begin with 1.
    """
    total = 0
    offsets[0] = 0
    for row in range(rows):
        if lengths[first + row] >= 0:
            start = starts[first + row]
            dimensions = int32_at(data, start)
            if dimensions > 1:
                return -1 - row
            if dimensions == 1:
                if int32_at(data, start + 16) != 1:
                    return -1 - row
                total += int32_at(data, start + 12)
        offsets[row + 1] = total
    return total


def cut_elements(
    data: Any,
    starts: Any,
    lengths: Any,
    first: int,
    rows: int,
    inner_starts: Any,
    inner_lengths: Any,
) -> None:
    """As ``cut``, of the elements of arrays."""
    total = 0
    for row in range(rows):
        start = starts[first + row]
        if lengths[first + row] < 0 or int32_at(data, start) == 0:
            continue
        count = int32_at(data, start + 12)
        start += 20
        for _ in range(count):
            length = int32_at(data, start)
            start += 4
            inner_starts[total] = start
            inner_lengths[total] = length
            total += 1
            if length > 0:
                start += length
