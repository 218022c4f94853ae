"""A frame's columns, made to fit the columns that they are written to; what does not is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..frame_errors import UnfitValue
from .fields import LOOSE
from .rows import Column

_CAST = "Cast the column of the frame, in the way that is meant."
_DAY = 86_400_000_000
_ERRORS = (pa.ArrowException, TypeError, ValueError, OverflowError, ArithmeticError)


def fitted(array: Any, arrow: Any, name: str, first: int) -> Any:
    """:param first: the number of the first row, for an error.
    :raises UnfitValue: a value cannot be kept as it is.
    """
    if isinstance(array, pa.ChunkedArray):
        chunks = []
        for chunk in array.chunks:
            chunks.append(fitted(chunk, arrow, name, first))
            first += len(chunk)
        return pa.chunked_array(chunks, None if chunks else arrow)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if array.type == arrow:
        return array
    problem = _refused(array.type, arrow)
    if problem is not None and array.null_count < len(array):
        raise UnfitValue(name, None, problem, hint=_CAST)
    try:
        return _made(array, arrow)
    except _ERRORS as error:
        raise _unfit(array, arrow, name, first) from error


def _unfit(array: Any, arrow: Any, name: str, first: int) -> UnfitValue:
    low, high = 0, len(array)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            _made(array.slice(low, middle - low), arrow)
        except _ERRORS:
            high = middle
        else:
            low = middle
    return UnfitValue(
        name,
        first + low,
        f"cannot be kept as it is by a column of {arrow}",
        value=array[low].as_py(),
        hint=_CAST,
    )


def family_of(arrow: Any) -> str:
    for kind, test in _FAMILIES:
        if test(arrow):
            return kind
    return "other"


def _is_text(arrow: Any) -> bool:
    kinds = pa.types
    return bool(kinds.is_string(arrow) or kinds.is_large_string(arrow) or _is_view(arrow, "string"))


def _is_bytes(arrow: Any) -> bool:
    kinds = pa.types
    return bool(
        kinds.is_binary(arrow)
        or kinds.is_large_binary(arrow)
        or kinds.is_fixed_size_binary(arrow)
        or _is_view(arrow, "binary")
    )


def _is_view(arrow: Any, kind: str) -> bool:
    return bool(str(arrow) == f"{kind}_view")


def _is_nested(arrow: Any) -> bool:
    kinds = pa.types
    return bool(
        kinds.is_list(arrow)
        or kinds.is_large_list(arrow)
        or kinds.is_fixed_size_list(arrow)
        or str(arrow).startswith("list_view")
    )


_FAMILIES: list[tuple[str, Callable[[Any], Any]]] = [
    ("null", pa.types.is_null),
    ("uuid", lambda arrow: arrow == pa.uuid()),
    ("json", lambda arrow: arrow == pa.json_()),
    ("bool", pa.types.is_boolean),
    ("whole", pa.types.is_integer),
    ("float", pa.types.is_floating),
    ("decimal", pa.types.is_decimal),
    ("text", _is_text),
    ("bytes", _is_bytes),
    ("date", pa.types.is_date),
    ("zoned", lambda arrow: pa.types.is_timestamp(arrow) and arrow.tz is not None),
    ("moment", pa.types.is_timestamp),
    ("time", pa.types.is_time),
    ("duration", pa.types.is_duration),
    ("interval", lambda arrow: arrow == pa.month_day_nano_interval()),
    ("list", _is_nested),
    ("struct", lambda arrow: pa.types.is_struct(arrow) or pa.types.is_map(arrow)),
]

# what may be written to what; the same to the same besides
_TAKEN: dict[str, frozenset[str]] = {
    "whole": frozenset({"float", "decimal", "null"}),
    "float": frozenset({"whole", "null"}),
    "decimal": frozenset({"whole", "float", "null"}),
    "date": frozenset({"moment", "null"}),
    "moment": frozenset({"date", "null"}),
    "uuid": frozenset({"text", "bytes", "null"}),
    "json": frozenset({"text", "list", "struct", "null"}),
    "interval": frozenset({"duration", "null"}),
    "time": frozenset({"duration", "null"}),
}


def _refused(given: Any, arrow: Any) -> str | None:
    """Why one type is never written to another; ``None`` where its values have the say."""
    source, target = family_of(given), family_of(arrow)
    if source == target or source in _TAKEN.get(target, {"null"}):
        return None
    if {source, target} == {"zoned", "moment"}:
        has, lacks = ("a", "none") if source == "zoned" else ("no", "one")
        return f"has {has} time zone, and the column has {lacks}"
    return f"is of {given}, which is never written to a column of {arrow}"


def _made(array: Any, arrow: Any) -> Any:
    source, target = family_of(array.type), family_of(arrow)
    maker = _MAKERS.get((source, target)) or _MAKERS.get((target,))
    return array.cast(arrow) if maker is None else maker(array, arrow)


def _decimal(array: Any, arrow: Any) -> Any:
    if family_of(array.type) == "float":
        # the shortest number that is this float, as it is shown
        values = [None if v is None else Decimal(repr(v)) for v in array.to_pylist()]
        array = pa.array(values) if arrow == LOOSE else pa.array(values, arrow)
    if family_of(array.type) == "whole":
        array = array.cast(pa.decimal128(20, 0))
    if arrow == LOOSE or array.type == arrow:
        return array
    return array.cast(arrow)


def _uuids(array: Any, arrow: Any) -> Any:
    return Column("", arrow).array(array.to_pylist(), 0)


def _uuids_of_bytes(array: Any, arrow: Any) -> Any:
    return pa.ExtensionArray.from_storage(arrow, array.cast(pa.binary(16)))


def _json(array: Any, arrow: Any) -> Any:
    if family_of(array.type) == "text":
        made = array.cast(pa.string())
    else:
        dumped = [None if value is None else json.dumps(value) for value in array.to_pylist()]
        made = pa.array(dumped, pa.string())
    return pa.ExtensionArray.from_storage(arrow, made)


def _date(array: Any, arrow: Any) -> Any:
    made = array.cast(arrow)
    same = pc.all(pc.equal(made.cast(array.type), array)).as_py()
    if same is False:
        raise ValueError("a time of day is not kept")
    return made


def _interval(array: Any, arrow: Any) -> Any:
    micros = array.cast(pa.duration("us")).cast(pa.int64()).to_pylist()
    return pa.array(
        [None if value is None else pa.MonthDayNano([0, 0, value * 1000]) for value in micros],
        arrow,
    )


def _time(array: Any, arrow: Any) -> Any:
    micros = array.cast(pa.duration("us")).cast(pa.int64())
    if any(value is not None and not 0 <= value < _DAY for value in micros.to_pylist()):
        raise ValueError("no time of a day")
    return micros.cast(arrow)


def _whole_microseconds(array: Any, arrow: Any) -> Any:
    if any(value is not None and value.nanoseconds % 1000 for value in array.to_pylist()):
        raise ValueError("nanoseconds are not kept")
    return array


def _list(array: Any, arrow: Any) -> Any:
    lists = array.cast(pa.list_(array.type.value_type))
    inner = fitted(lists.flatten(), arrow.value_type, "", 0)
    offsets = [0]
    for length in pc.list_value_length(lists).to_pylist():
        offsets.append(offsets[-1] + (length or 0))
    made = pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), inner, mask=lists.is_null() if lists.null_count else None
    )
    return made.cast(pa.list_(inner.type))


_MAKERS: dict[tuple[str, ...], Callable[[Any, Any], Any]] = {
    ("decimal",): _decimal,
    ("text", "uuid"): _uuids,
    ("bytes", "uuid"): _uuids_of_bytes,
    ("json",): _json,
    ("moment", "date"): _date,
    ("duration", "interval"): _interval,
    ("interval", "interval"): _whole_microseconds,
    ("list", "list"): _list,
    ("duration", "time"): _time,
}
