"""A table of Arrow's in the form that was asked for: pandas, polars, or as it is."""

from __future__ import annotations

import importlib
import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ConfigurationError
from ..frame_errors import UnfitValue

_DAY_MICROSECONDS = 86_400_000_000


def library(name: str) -> Any:
    """:raises ConfigurationError: it is not installed; the extra is named."""
    extra = "arrow" if name == "pyarrow" else name
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigurationError(
            f"hermetic.frames needs {name}.",
            hint=f"Install it with: pip install 'hermetic[{extra}]'",
        ) from error


def check(as_: str, options: Mapping[str, Any]) -> None:
    """:raises ConfigurationError: there is no such form, or its library is not installed."""
    if as_ not in FORMS:
        raise ConfigurationError(
            f"as_={as_!r} is no form of a frame.", hint=f"There are: {', '.join(map(repr, FORMS))}."
        )
    if options and as_ != "pandas":
        raise ConfigurationError(
            f"{', '.join(options)}: options of pandas, and as_={as_!r} was asked for.",
            hint="Leave them out, or read with as_='pandas'.",
        )
    library("pandas" if as_ == "pandas" else "pyarrow")
    library("pyarrow")
    if as_ == "polars":
        library("polars")


def shaped(table: Any, as_: str, options: Mapping[str, Any]) -> Any:
    return FORMS[as_](table, options)


def _as_arrow(table: Any, options: Mapping[str, Any]) -> Any:
    return table


def _as_polars(table: Any, options: Mapping[str, Any]) -> Any:
    polars = library("polars")
    return polars.from_arrow(_plain(table, uuids=_texts), rechunk=False)


def _plain(table: Any, *, uuids: Callable[[Any], Any] | None) -> Any:
    """Without types that are Arrow's alone.

    :param uuids: what becomes of a column of them; ``None`` leaves them.
    """
    import pyarrow as pa

    for number, field in enumerate(table.schema):
        column = table.column(number)
        if field.type == pa.json_():
            made = _stored(column)
        elif field.type == pa.uuid() and uuids is not None:
            made = uuids(column)
        elif field.type == pa.month_day_nano_interval():
            made = _durations(field.name, column)
        else:
            continue
        table = table.set_column(number, field.name, made)
    return table


def _stored(column: Any) -> Any:
    """What is underneath a type that extends another one."""
    import pyarrow as pa

    return pa.chunked_array([c.storage for c in column.chunks], column.type.storage_type)


def _texts(column: Any) -> Any:
    import pyarrow as pa

    texts = [None if value is None else str(value) for value in column.to_pylist()]
    return pa.array(texts, pa.string())


def _durations(name: str, column: Any) -> Any:
    """A day as 24 hours, as with Python's timedelta; a month is no number of them."""
    import pyarrow as pa

    found: list[int | None] = []
    for row, value in enumerate(column.to_pylist()):
        if value is not None and value.months:
            raise UnfitValue(
                name,
                row,
                "has months, which are of no one length",
                value=value,
                hint="Read it with as_='arrow', or cast the column in the statement.",
            )
        found.append(
            None if value is None else value.days * _DAY_MICROSECONDS + value.nanoseconds // 1000
        )
    return pa.array(found, pa.duration("us"))


# ---------------------------------------------------------------- pandas


def _as_pandas(table: Any, options: Mapping[str, Any]) -> Any:
    pandas = library("pandas")
    backend = options.get("dtype_backend")
    frame = _frame(pandas, table, backend, options.get("mixed") or {})
    if options.get("coerce_float", False):
        _coerce(frame)
    _parse_dates(pandas, frame, options.get("parse_dates"))
    if options.get("dtype") is not None:
        frame = frame.astype(options["dtype"])
    if options.get("index_col") is not None:
        frame = frame.set_index(options["index_col"])
    return frame


OPTIONS = frozenset({"index_col", "parse_dates", "dtype", "coerce_float", "dtype_backend"})


def _frame(pandas: Any, given: Any, backend: str | None, mixed: Mapping[int, list[Any]]) -> Any:
    import pyarrow as pa

    # they are made objects below; older releases of pyarrow make no blocks of a type that extends
    table = _plain(given, uuids=None if backend == "pyarrow" else _stored)
    names = table.column_names
    table = table.rename_columns([str(number) for number in range(len(names))])
    mapper = None
    if backend == "pyarrow":
        mapper = pandas.ArrowDtype
    else:
        whole = _nullable(pandas)
        nulls = {
            field.type
            for number, field in enumerate(table.schema)
            if backend == "numpy_nullable" or table.column(number).null_count
        }
        mapper = {t: d for t, d in whole.items() if t in nulls}.get
    objects = {
        number: _OBJECTS[kind]
        for number, field in enumerate(given.schema)
        if (kind := _object_kind(pa, field.type)) and backend != "pyarrow"
    }
    frame = table.to_pandas(types_mapper=mapper, split_blocks=True)
    for number, make in objects.items():
        values = make(table.column(number))
        frame[str(number)] = pandas.Series(values, dtype=object, index=frame.index)
    for number, values in mixed.items():
        frame[str(number)] = pandas.Series(values, dtype=object, index=frame.index)
    frame.columns = names
    return frame


def _nullable(pandas: Any) -> dict[Any, Any]:
    """pandas' own types for whole numbers that may be missing: a float would not be exact."""
    import pyarrow as pa

    return {
        getattr(pa, name.lower())(): getattr(pandas, f"{name}Dtype")()
        for name in ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64")
    }


def _object_kind(pa: Any, arrow: Any) -> str | None:
    if arrow == pa.uuid():
        return "uuid"
    if arrow == pa.json_():
        return "json"
    return "list" if pa.types.is_list(arrow) else None


def _uuids(column: Any) -> list[Any]:
    return [
        value if value is None or isinstance(value, uuid.UUID) else uuid.UUID(bytes=value)
        for value in column.to_pylist()
    ]


_OBJECTS: dict[str, Callable[[Any], list[Any]]] = {
    "uuid": _uuids,
    "json": lambda column: [
        None if value is None else json.loads(value) for value in column.to_pylist()
    ],
    "list": lambda column: column.to_pylist(),
}


def _coerce(frame: Any) -> None:
    """Decimals as floats, as pandas does unless it is told not to."""
    from decimal import Decimal

    kinds = (Decimal, type(None))
    for name in frame.columns:
        values = frame[name]
        if values.dtype.kind == "O" and values.map(lambda each: isinstance(each, kinds)).all():
            frame[name] = values.astype("float64")


def _parse_dates(pandas: Any, frame: Any, asked: Any) -> None:
    if not asked or asked is True:
        return
    how = (
        asked
        if isinstance(asked, Mapping)
        else dict.fromkeys([asked] if isinstance(asked, str) else asked)
    )
    for name, given in how.items():
        if isinstance(given, Mapping):
            frame[name] = pandas.to_datetime(frame[name], **given)
        elif given in _UNITS:
            frame[name] = pandas.to_datetime(frame[name], errors="coerce", unit=given)
        elif given is None and frame[name].dtype.kind in "iuf":
            frame[name] = pandas.to_datetime(frame[name], errors="coerce", unit="s")
        else:
            frame[name] = pandas.to_datetime(frame[name], errors="coerce", format=given)


_UNITS = frozenset({"D", "d", "h", "m", "s", "ms", "us", "ns"})

FORMS: dict[str, Callable[[Any, Mapping[str, Any]], Any]] = {
    "pandas": _as_pandas,
    "polars": _as_polars,
    "arrow": _as_arrow,
}
