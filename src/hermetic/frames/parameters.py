"""Arrow's columns as MariaDB and MySQL take the parameters of a prepared statement."""

from __future__ import annotations

from typing import Any, NamedTuple

import pyarrow as pa

from . import parameter_bytes
from .fitting import family_of
from .insertion import bytes_of, valid_of
from .literals import check_numbers, text_of

# the protocol's numbers of types; the second byte of a type says that it has no sign
_TINY, _SHORT, _LONG, _FLOAT, _DOUBLE, _NULL, _LONGLONG = 1, 2, 3, 4, 5, 6, 8
_DECIMAL, _BLOB, _STRING = 246, 252, 253
_WHOLE = {8: _TINY, 16: _SHORT, 32: _LONG, 64: _LONGLONG}
_UNSIGNED = 0x80


class Values(NamedTuple):
    """The values of one column: of ``size`` bytes each, or those between ``offsets``."""

    kind: bytes
    valid: Any
    offset: int
    size: int
    offsets: Any
    data: Any


class Rows(NamedTuple):
    """The rows of a batch as parameters.

    :param kinds: the types of one row.
    :param absent: a bit for each parameter, set where there is no value.
    :param data: the values, row by row; ``starts`` is where each row begins.
    """

    kinds: bytes
    width: int
    absent: Any
    data: Any
    starts: list[int]

    def part(self, first: int, last: int) -> tuple[Any, Any]:
        """The bits and values of some rows, whose parameters are a whole number of bytes."""
        bits = self.absent[first * self.width // 8 : last * self.width // 8]
        return bits, self.data[self.starts[first] : self.starts[last]]


def rows_of(batch: Any, first: int) -> Rows:
    """:param first: the number of the first row, for an error.
    :raises UnfitValue: a float that the server has no number for.
    """
    rows, width = batch.num_rows, batch.num_columns
    columns = [_values(batch.column(at), batch.schema.names[at], first) for at in range(width)]
    places = memoryview(bytearray(8 * max(1, rows))).cast("q")
    absent = bytearray((rows * width + 7) // 8)
    for at, each in enumerate(columns):
        head = (each.valid, each.offset, rows)
        if each.offsets is None:
            parameter_bytes.add_fixed(*head, each.size, places)
        else:
            parameter_bytes.add_strings(*head, each.offsets, places)
        if len(each.valid):
            parameter_bytes.put_absent(*head, width, at, absent)
    data = bytearray(parameter_bytes.begin_rows(places, rows))
    starts = [*places.tolist()[:rows], len(data)]
    for each in columns:
        head = (each.valid, each.offset, rows)
        if each.offsets is None:
            parameter_bytes.put_fixed(*head, each.size, each.data, data, places)
        else:
            parameter_bytes.put_strings(*head, each.offsets, each.data, data, places)
    kinds = b"".join([each.kind for each in columns])
    return Rows(kinds, width, memoryview(absent), memoryview(data), starts)


def _values(array: Any, name: str, first: int) -> Values:
    array = getattr(array, "storage", array) if array.type != pa.uuid() else array
    family = family_of(array.type)
    if family == "bool":
        array, family = array.cast(pa.int8()), "whole"
    if family == "whole":
        unsigned = pa.types.is_unsigned_integer(array.type)
        return _fixed(array, _WHOLE[array.type.bit_width], _UNSIGNED if unsigned else 0)
    if family == "float":
        check_numbers(array, name, first)
        wide = array.type == pa.float64()
        return _fixed(array if wide else array.cast(pa.float32()), _DOUBLE if wide else _FLOAT)
    if family == "null":
        absent = bytes((len(array) + 7) // 8 or 1)
        return Values(bytes((_NULL, 0)), memoryview(absent), 0, 0, None, memoryview(b""))
    if family == "bytes":
        return _strings(array.cast(pa.binary()), _BLOB)
    return _strings(text_of(array), _DECIMAL if family == "decimal" else _STRING)


def _fixed(array: Any, kind: int, sign: int = 0) -> Values:
    data = bytes_of(array.buffers()[1])
    size = array.type.bit_width // 8
    return Values(bytes((kind, sign)), valid_of(array), array.offset, size, None, data)


def _strings(array: Any, kind: int) -> Values:
    _, offsets, data = array.buffers()
    ends = memoryview(bytes(8)).cast("i")
    if offsets is not None and offsets.size:
        ends = memoryview(offsets).cast("B").cast("i")
    return Values(bytes((kind, 0)), valid_of(array), array.offset, 0, ends, bytes_of(data))
