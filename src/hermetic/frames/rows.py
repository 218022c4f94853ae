"""Rows of any driver's as Arrow arrays, by what is known of their columns."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
from sqlalchemy import types

from ..frame_errors import UnfitValue
from . import gathering
from .assembly import unfit_value
from .fields import LOOSE

_Make = Callable[[list[Any]], Any]

_UUID_BYTES = pa.binary(16)


class Column:
    """One column of a result: its name, its Arrow type if that is known, and what makes it of the
    driver's values.
    """

    def __init__(self, name: str, arrow: Any, prepare: _Make | None = None) -> None:
        self.name = name
        self.arrow = arrow
        self.prepare = prepare

    def array(self, values: list[Any], first: int) -> Any:
        """:param first: the number of the first row, for an error.
        :raises UnfitValue: a value is nothing of the column's type.
        """
        try:
            return self._made(values)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            row = self._first_bad(values)
            raise unfit_value(
                self.name, first + row, self.arrow or "one type", values[row]
            ) from error

    def _made(self, values: list[Any]) -> Any:
        if self.prepare is not None:
            values = self.prepare(values)
        if isinstance(values, pa.Array):
            return values if self.arrow is None else _cast(values, self.arrow)
        if self.arrow is None or self.arrow == LOOSE:
            return _inferred(values, self.arrow)
        if self.arrow == pa.uuid():
            stored = pa.array([_uuid_bytes(value) for value in values], _UUID_BYTES)
            return pa.ExtensionArray.from_storage(self.arrow, stored)
        if self.arrow == pa.json_():
            stored = pa.array([_as_json(v) for v in values], pa.string())
            return pa.ExtensionArray.from_storage(self.arrow, stored)
        return pa.array(values, self.arrow)

    def _first_bad(self, values: list[Any]) -> int:
        """The first row without which those before it would do."""
        low, high = 0, len(values)
        while high - low > 1:
            middle = (low + high) // 2
            try:
                self._made(values[:middle])
            except (pa.ArrowException, TypeError, ValueError, OverflowError):
                high = middle
            else:
                low = middle
        return low


def _inferred(values: list[Any], arrow: Any) -> Any:
    made = pa.array(values)
    if not pa.types.is_decimal(made.type):
        return made.cast(pa.decimal128(38, 0)) if arrow == LOOSE else made
    precision, scale = made.type.precision, made.type.scale
    if scale < 0:
        precision, scale = precision - scale, 0
    wide = pa.decimal128(38, scale) if precision <= 38 else pa.decimal256(76, scale)
    return made.cast(wide)


def _cast(values: Any, arrow: Any) -> Any:
    return values if values.type == arrow else values.cast(arrow)


def _uuid_bytes(value: Any) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    return (value if isinstance(value, uuid.UUID) else uuid.UUID(str(value))).bytes


def _as_json(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def arrow_of(sql_type: Any) -> Any:
    """The Arrow type of a type of SQLAlchemy's; ``None`` where it does not tell."""
    for kind, arrow in _ARROWS:
        if isinstance(sql_type, kind):
            return arrow(sql_type) if callable(arrow) else arrow
    return None


def _decimal(sql_type: Any) -> Any:
    if not sql_type.asdecimal:
        return pa.float64()
    precision, scale = sql_type.precision, sql_type.scale
    if precision is None:
        return LOOSE
    return (pa.decimal128 if precision <= 38 else pa.decimal256)(precision, scale or 0)


def _moment(sql_type: Any) -> Any:
    return pa.timestamp("us", tz="UTC") if sql_type.timezone else pa.timestamp("us")


def _listed(sql_type: Any) -> Any:
    inner = arrow_of(sql_type.item_type)
    return None if inner is None else pa.list_(inner)


# the first that fits
_ARROWS: list[tuple[Any, Any]] = [
    (types.Interval, pa.duration("us")),
    (types.TypeDecorator, None),
    (types.Boolean, pa.bool_()),
    (types.Integer, pa.int64()),
    (types.Float, pa.float64()),
    (types.Numeric, _decimal),
    (types.Enum, pa.string()),
    (types.String, pa.string()),
    (types.LargeBinary, pa.binary()),
    (types.DateTime, _moment),
    (types.Date, pa.date32()),
    (types.Time, pa.time64("us")),
    (types.Uuid, pa.uuid()),
    (types.JSON, pa.json_()),
    (types.ARRAY, _listed),
]


def transposed(
    rows: Any,
    columns: Sequence[Column],
    first: int,
    mixed: dict[int, list[Any]] | None = None,
) -> list[Any]:
    """An array for each column; ``mixed`` takes the values of one that has no one type."""
    if not rows:
        return [pa.array([], column.arrow or pa.null()) for column in columns]
    found = []
    # PyMySQL has tuples of rows
    rows = rows if type(rows) is list else list(rows)
    for number, column in enumerate(columns):
        made = None
        if column.prepare is None:
            made = _gathered(rows, number, column.arrow or _seen(rows, number))
        if made is None:
            values = [row[number] for row in rows]
            try:
                made = column.array(values, first)
            except UnfitValue:
                if mixed is None or column.arrow is not None or column.prepare is not None:
                    raise
                made, mixed[number] = pa.nulls(len(values)), values
        found.append(made)
    return found


def _seen(rows: list[Any], number: int) -> Any:
    """The type of a column by its first value."""
    value = next((row[number] for row in rows if row[number] is not None), None)
    return _PLAIN.get(type(value))


_PLAIN: dict[type, Any] = {int: pa.int64(), float: pa.float64(), str: pa.string()}


def _gathered(rows: list[Any], number: int, arrow: Any) -> Any:
    """A column of plain values of one type; ``None`` for any other."""
    if type(rows[0]) is not tuple:
        return None
    count = len(rows)
    bits = bytearray((count + 7) // 8)
    buffers: list[Any]
    if arrow == pa.int64():
        buffers = [bytearray(8 * count)]
        missing = gathering.wholes(rows, number, bits, memoryview(buffers[0]).cast("q"))
    elif arrow == pa.float64():
        buffers = [bytearray(8 * count)]
        missing = gathering.floats(rows, number, bits, memoryview(buffers[0]).cast("d"))
    elif arrow == pa.string():
        offsets = bytearray(4 * (count + 1))
        ends = memoryview(offsets).cast("i")
        missing = gathering.measure(rows, number, bits, ends)
        if missing >= 0:
            buffers = [offsets, bytearray(max(1, ends[count]))]
            gathering.texts(rows, number, buffers[1])
    else:
        return None
    if missing < 0:
        return None
    bitmap = pa.py_buffer(bits) if missing else None
    return pa.Array.from_buffers(arrow, count, [bitmap, *map(pa.py_buffer, buffers)], missing)
