"""Fields of PostgreSQL's binary rows as Arrow arrays: one kind for each type of column."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pyarrow as pa

from . import binary_rows as rows

UTC = "UTC"
# a numeric without precision says nothing of its digits: it has as many as its values need
LOOSE = pa.decimal256(76, 38)


class Unfit(Exception):
    """A value that its column's type cannot hold; ``row`` counts from 0 in its chunk."""

    def __init__(self, row: int) -> None:
        super().__init__(row)
        self.row = row


class Fields(NamedTuple):
    """The fields of one column in a chunk: those from ``first`` on."""

    data: Any
    starts: Any
    lengths: Any
    first: int
    rows: int


# buffers after the validity bitmap; children
Filled = tuple[list[Any], list[Any]]


class Kind(NamedTuple):
    """How a type of column becomes an array: its Arrow type, and what fills the buffers."""

    arrow: Any
    fill: Callable[[Fields], Filled]

    def array(self, fields: Fields) -> Any:
        """:raises Unfit: a value cannot be represented."""
        count = fields.rows
        bits = bytearray((count + 7) // 8)
        missing = rows.validity(fields.lengths, fields.first, count, bits)
        bitmap = pa.py_buffer(bits) if missing else None
        buffers, children = self.fill(fields)
        storage = getattr(self.arrow, "storage_type", self.arrow)
        made = pa.Array.from_buffers(
            storage,
            count,
            [bitmap, *(pa.py_buffer(each) for each in buffers)],
            missing,
            children=children,
        )
        if storage is not self.arrow:
            return pa.ExtensionArray.from_storage(self.arrow, made)
        return made


def _checked(row: int) -> None:
    if row >= 0:
        raise Unfit(row)


def fixed(arrow: Any, size: int) -> Kind:
    def fill(fields: Fields) -> Filled:
        out = bytearray(fields.rows * size)
        _checked(rows.fixed(*fields, size, out))
        return [out], []

    return Kind(arrow, fill)


def same(arrow: Any, size: int) -> Kind:
    def fill(fields: Fields) -> Filled:
        out = bytearray(fields.rows * size)
        _checked(rows.same(*fields, size, out))
        return [out], []

    return Kind(arrow, fill)


def _truths(fields: Fields) -> Filled:
    out = bytearray((fields.rows + 7) // 8)
    _checked(rows.truths(*fields, out))
    return [out], []


def strings(arrow: Any, skip: int = 0) -> Kind:
    def fill(fields: Fields) -> Filled:
        offsets = bytearray(4 * (fields.rows + 1))
        size = rows.extent(fields.lengths, fields.first, fields.rows, skip)
        out = bytearray(max(1, size))
        rows.strings(*fields, skip, memoryview(offsets).cast("i"), out)
        return [offsets, out], []

    return Kind(arrow, fill)


def cast(arrow: Any, size: int, code: Any, function: Callable[..., int]) -> Kind:
    """Values of one size that are not sent as Arrow keeps them."""

    def fill(fields: Fields) -> Filled:
        out = bytearray(max(1, fields.rows) * size)
        _checked(function(*fields, memoryview(out).cast("B").cast(code)))
        return [out], []

    return Kind(arrow, fill)


def decimals(arrow: Any) -> Kind:
    size = arrow.bit_width // 8
    limit = 10**arrow.precision

    def fill(fields: Fields) -> Filled:
        out = bytearray(max(1, fields.rows) * size)
        whole = memoryview(out).cast("q")
        _checked(rows.decimals(*fields, arrow.scale, size, limit, whole))
        return [out], []

    return Kind(arrow, fill)


class Loose:
    """Numbers with as many digits as those of a chunk need."""

    arrow = LOOSE

    def array(self, fields: Fields) -> Any:
        scale = rows.most_places(*fields)
        if scale > LOOSE.precision:
            raise Unfit(rows.first_with(*fields, scale))
        try:
            return decimals(pa.decimal128(38, scale)).array(fields)
        except Unfit:
            return decimals(pa.decimal256(76, scale)).array(fields)


class Listed:
    """Arrays of one dimension."""

    def __init__(self, inner: Kind | Loose | Listed) -> None:
        self.inner = inner
        self.arrow: Any = pa.list_(inner.arrow)

    def array(self, fields: Fields) -> Any:
        offsets = bytearray(4 * (fields.rows + 1))
        total = rows.elements(*fields, memoryview(offsets).cast("i"))
        if total < 0:
            raise Unfit(-1 - total)
        starts = memoryview(bytearray(4 * (total + 1))).cast("i")
        lengths = memoryview(bytearray(4 * (total + 1))).cast("i")
        rows.cut_elements(*fields, starts, lengths)
        try:
            child = self.inner.array(Fields(fields.data, starts, lengths, 0, total))
        except Unfit as unfit:
            ends = memoryview(offsets).cast("i")
            raise Unfit(next(n for n in range(fields.rows) if ends[n + 1] > unfit.row)) from None
        return Kind(pa.list_(child.type), lambda _: ([offsets], [child])).array(fields)


AnyKind = Kind | Loose | Listed


_INT16, _INT32, _INT64 = fixed(pa.int16(), 2), fixed(pa.int32(), 4), fixed(pa.int64(), 8)
_TEXT = strings(pa.string())
_TIMESTAMP = cast(pa.timestamp("us"), 8, "q", rows.timestamps)
_TIMESTAMPTZ = cast(pa.timestamp("us", tz=UTC), 8, "q", rows.timestamps)
TEXT = _TEXT

# by the oid of PostgreSQL's pg_type, which never changes for a type of its own
KINDS: dict[int, Kind] = {
    16: Kind(pa.bool_(), _truths),
    17: strings(pa.binary()),
    18: _TEXT,  # "char"
    19: _TEXT,  # name
    20: _INT64,
    21: _INT16,
    23: _INT32,
    25: _TEXT,
    26: fixed(pa.uint32(), 4),  # oid
    114: strings(pa.json_()),
    700: fixed(pa.float32(), 4),
    701: fixed(pa.float64(), 8),
    1042: _TEXT,  # char(n)
    1043: _TEXT,  # varchar(n)
    1082: cast(pa.date32(), 4, "i", rows.dates),
    1083: cast(pa.time64("us"), 8, "q", rows.times),
    1114: _TIMESTAMP,
    1184: _TIMESTAMPTZ,
    1186: cast(pa.month_day_nano_interval(), 16, "B", rows.intervals),
    2950: same(pa.uuid(), 16),
    3802: strings(pa.json_(), skip=1),  # jsonb, after the number of its version
}
NUMERIC = 1700
# arrays of them
ELEMENTS: dict[int, int] = {
    1000: 16, 1001: 17, 1002: 18, 1003: 19, 1016: 20, 1005: 21, 1007: 23, 1009: 25, 1028: 26,
    199: 114, 1021: 700, 1022: 701, 1014: 1042, 1015: 1043, 1182: 1082, 1183: 1083, 1115: 1114,
    1185: 1184, 1187: 1186, 2951: 2950, 3807: 3802, 1231: NUMERIC,
}  # fmt: skip


def numeric(modifier: int) -> Any:
    """The Arrow type of a numeric whose modifier has precision and scale."""
    precision = ((modifier - 4) >> 16) & 0xFFFF
    # eleven bits with a sign, since PostgreSQL 15
    scale = (((modifier - 4) & 0x7FF) ^ 1024) - 1024
    if scale < 0:
        precision, scale = precision - scale, 0
    precision = max(precision, scale)
    if precision <= 38:
        return pa.decimal128(precision, scale)
    return pa.decimal256(precision, scale) if precision <= 76 else None


def kind_of(oid: int, modifier: int) -> AnyKind | None:
    """``None`` for a type that is read by its text."""
    if oid == NUMERIC:
        if modifier < 4:
            return Loose()
        arrow = numeric(modifier)
        return None if arrow is None else decimals(arrow)
    if oid in ELEMENTS:
        inner = kind_of(ELEMENTS[oid], modifier)
        return None if inner is None else Listed(inner)
    return KINDS.get(oid)


def settled(chunks: list[Any], arrow: Any) -> Any:
    """The arrays of a column as one: loose numbers with as many digits as all of them need."""
    found = {each.type for each in chunks}
    if found == {arrow}:
        return pa.chunked_array(chunks, arrow)
    if not chunks:
        return pa.chunked_array([], _tight(arrow))
    if len(found) > 1:
        widest = _widest(found)
        chunks = [each if each.type == widest else each.cast(widest) for each in chunks]
    return pa.chunked_array(chunks)


def _tight(arrow: Any) -> Any:
    """The type of loose numbers of which there are none."""
    if pa.types.is_list(arrow):
        return pa.list_(_tight(arrow.value_type))
    return pa.decimal128(38, 0) if arrow == LOOSE else arrow


def _widest(found: set[Any]) -> Any:
    some = next(iter(found))
    if pa.types.is_list(some):
        return pa.list_(_widest({each.value_type for each in found}))
    scale = max(each.scale for each in found)
    whole = max(each.precision - each.scale for each in found)
    if whole + scale <= 38:
        return pa.decimal128(38, scale)
    return pa.decimal256(76, scale)


def fixed_type(arrow: Any, *, narrow: bool) -> Any:
    """The one type of a column whose later values are not known yet.

    :param narrow: for polars, whose decimals have 38 digits at most.
    """
    if pa.types.is_list(arrow):
        return pa.list_(fixed_type(arrow.value_type, narrow=narrow))
    return pa.decimal128(38, 18) if narrow and arrow == LOOSE else arrow
