"""Arrow's arrays as PostgreSQL takes their values: bytes of one length, or of each its own."""

from __future__ import annotations

import struct
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from . import binary_rows, binary_writing
from .fields import KINDS

_EMPTY = memoryview(b"").cast("B")


class Wire(NamedTuple):
    """The values of one column: of ``size`` bytes each, or those between ``offsets``."""

    valid: Any
    offset: int
    rows: int
    size: int
    turned: bool
    offsets: Any
    extra: int
    data: Any

    def add(self, places: Any) -> None:
        if self.offsets is None:
            binary_writing.add_fixed(self.valid, self.offset, self.rows, self.size, places)
        else:
            binary_writing.add_strings(
                self.valid, self.offset, self.rows, self.offsets, self.extra, places
            )

    def put(self, out: Any, places: Any) -> None:
        head = (self.valid, self.offset, self.rows)
        if self.offsets is None:
            binary_writing.put_fixed(*head, self.size, self.turned, self.data, out, places)
        else:
            binary_writing.put_strings(*head, self.offsets, self.extra, self.data, out, places)


def rows_of(wires: list[Wire], rows: int) -> bytearray:
    """The rows of a batch."""
    places = memoryview(bytearray(8 * max(1, rows))).cast("q")
    for wire in wires:
        wire.add(places)
    out = bytearray(binary_writing.total_of(places, rows) + 2 * rows)
    binary_writing.begin_rows(places, rows, len(wires), 0, out)
    for wire in wires:
        wire.put(out, places)
    return out


def _bytes(buffer: Any) -> Any:
    return _EMPTY if buffer is None or buffer.size == 0 else memoryview(buffer).cast("B")


def _valid(array: Any) -> Any:
    return _EMPTY if array.null_count == 0 else _bytes(array.buffers()[0])


def fixed(array: Any, size: int, *, turned: bool = True) -> Wire:
    data = _bytes(array.buffers()[1])
    return Wire(_valid(array), array.offset, len(array), size, turned, None, 0, data)


def strings(array: Any, extra: int = 0) -> Wire:
    _, offsets, data = array.buffers()
    places = memoryview(bytes(8)).cast("i")
    if offsets is not None and offsets.size:
        places = memoryview(offsets).cast("B").cast("i")
    return Wire(_valid(array), array.offset, len(array), 0, False, places, extra, _bytes(data))


def _truths(array: Any) -> Wire:
    return fixed(array.cast(pa.uint8()), 1, turned=False)


def _dates(array: Any) -> Wire:
    days = pa.scalar(binary_rows.EPOCH_DAYS, pa.int32())
    return fixed(pc.subtract_checked(array.view(pa.int32()), days), 4)


def _timestamps(array: Any) -> Wire:
    return fixed(pc.subtract_checked(array.view(pa.int64()), binary_rows.EPOCH), 8)


def _intervals(array: Any) -> Wire:
    values = [
        None
        if value is None
        else struct.pack(">qii", value.nanoseconds // 1000, value.days, value.months)
        for value in array.to_pylist()
    ]
    return strings(pa.array(values, pa.binary()))


def _decimals(array: Any) -> Wire:
    width, scale, rows = array.type.bit_width // 64, array.type.scale, len(array)
    if width > 2:
        return _long_decimals(array)
    offsets = memoryview(bytearray(4 * (rows + 1))).cast("i")
    out = bytearray(24 * rows + 32)
    words = memoryview(array.buffers()[1]).cast("B").cast("q") if rows else _NO_WORDS
    unit = 10 ** (-scale % 4)
    if (
        binary_writing.digits_of(
            _valid(array), array.offset, rows, words, width, scale, unit, offsets, out
        )
        >= 0
    ):
        return _long_decimals(array)
    # the bytes are this column's own: they begin with its first row
    valid = pa.array(array.is_valid()).cast(pa.uint8()) if array.null_count else None
    bits = _EMPTY if valid is None else _bitmap(array)
    return Wire(bits, 0, rows, 0, False, offsets, 0, memoryview(out))


_NO_WORDS = memoryview(bytes(8)).cast("q")


def _bitmap(array: Any) -> Any:
    """The validity of an array that may be a slice, from its own first row on."""
    return _bytes(pa.array(array.is_valid()).buffers()[1])


def _long_decimals(array: Any) -> Wire:
    scale = array.type.scale
    values = [None if value is None else _digits(value, scale) for value in array.to_pylist()]
    return strings(pa.array(values, pa.binary()))


def _digits(value: Decimal, scale: int) -> bytes:
    places = scale + -scale % 4
    # not by Decimal's own functions, which round to the digits of a context
    _, digits, exponent = value.as_tuple()
    number = int("".join(map(str, digits))) * 10 ** (places + int(exponent))
    groups = []
    while number:
        number, group = divmod(number, 10_000)
        groups.append(group)
    weight = len(groups) - 1 - places // 4
    while groups and groups[0] == 0:
        del groups[0]
    head = (len(groups), weight if groups else 0, 0x4000 if value < 0 else 0, scale)
    return struct.pack(f">hhHH{len(groups)}h", *head, *reversed(groups))


def arrays(inner: Callable[[Any], Wire], oid: int) -> Callable[[Any], Wire]:
    """:param oid: of the elements' type."""

    def put(array: Any) -> Wire:
        found: list[bytes | None] = []
        child = inner(array.flatten())
        fields = _fields(child)
        for length in pc.list_value_length(array).to_pylist():
            if length is None:
                found.append(None)
                continue
            elements = [next(fields) for _ in range(length)]
            nulls = any(each is None for each in elements)
            parts = [struct.pack(">iiI", 1 if length else 0, nulls, oid)]
            if length:
                parts.append(struct.pack(">ii", length, 1))
            for each in elements:
                parts.append(struct.pack(">i", -1 if each is None else len(each)))
                parts.append(each or b"")
            found.append(b"".join(parts))
        return strings(pa.array(found, pa.binary()))

    return put


def _fields(wire: Wire) -> Any:
    """Each value as bytes, or ``None``."""
    rows = rows_of([wire], wire.rows)
    at = 0
    for _ in range(wire.rows):
        (length,) = struct.unpack_from(">i", rows, at + 2)
        at += 6
        yield None if length < 0 else bytes(rows[at : at + length])
        at += max(0, length)


def wiring(oid: int) -> Callable[[Any], Wire] | None:
    """What turns arrays of the Arrow type of a type of PostgreSQL's into its values."""
    from .fields import ELEMENTS

    if oid in ELEMENTS:
        inner = wiring(ELEMENTS[oid])
        return None if inner is None else arrays(inner, ELEMENTS[oid])
    return _WIRING.get(oid)


def _stored(array: Any) -> Any:
    return getattr(array, "storage", array)


_WIRING: dict[int, Callable[[Any], Wire]] = {
    16: _truths,
    20: lambda array: fixed(array, 8),
    21: lambda array: fixed(array, 2),
    23: lambda array: fixed(array, 4),
    26: lambda array: fixed(array, 4),
    700: lambda array: fixed(array, 4),
    701: lambda array: fixed(array, 8),
    1082: _dates,
    1083: lambda array: fixed(array, 8),
    1114: _timestamps,
    1184: _timestamps,
    1186: _intervals,
    1700: _decimals,
    2950: lambda array: fixed(_stored(array), 16, turned=False),
    3802: lambda array: strings(_stored(array), extra=1),
    **{
        oid: lambda array: strings(_stored(array))
        for oid, kind in KINDS.items()
        if kind.arrow in (pa.string(), pa.binary(), pa.json_()) and oid != 3802
    },
}
