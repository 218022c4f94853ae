"""Frames of every kind as Arrow's record batches."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from ..errors import ConfigurationError
from .rows import Column

# rows that are written at once
BATCH = 8192

# the Arrow types that columns are written to, by the frame's names; None where it is not known
Types = Mapping[str, Any]


class Incoming:
    """A frame on its way: the names of its columns, and its batches."""

    def __init__(
        self, names: list[str], batches: Callable[[Types], Iterator[Any]], whole: bool, schema: Any
    ) -> None:
        """:param batches: gives them, once.
        :param whole: whether the frame is in memory, so that it can be looked through first.
        :param schema: gives Arrow's schema of it.
        """
        self.names = names
        self.batches = batches
        self.whole = whole
        self.schema = schema


def incoming(frame: Any) -> Incoming:
    """:raises ConfigurationError: it is no frame."""
    if type(frame).__module__.partition(".")[0] == "pandas" and hasattr(frame, "columns"):
        return _of_pandas(frame)
    if isinstance(frame, (pa.Table, pa.RecordBatch)):
        return _of_table(pa.table(frame))
    if isinstance(frame, pa.RecordBatchReader):
        return _of_reader(frame)
    if hasattr(frame, "__arrow_c_stream__"):
        whole = hasattr(frame, "__len__") or hasattr(frame, "num_rows")
        if whole:
            return _of_table(pa.table(frame))
        return _of_reader(pa.RecordBatchReader.from_stream(frame))
    if hasattr(frame, "__arrow_c_array__"):
        return _of_table(pa.Table.from_batches([pa.record_batch(frame)]))
    if isinstance(frame, Iterable) and not isinstance(frame, (str, bytes, Mapping)):
        return _of_many(iter(frame))
    raise ConfigurationError(
        f"{type(frame).__name__} is no frame that can be written.",
        hint="Give a DataFrame of pandas or polars, a Table of Arrow, whatever has "
        "__arrow_c_stream__, or an iterable of such.",
    )


def _of_table(table: Any) -> Incoming:
    return Incoming(
        table.column_names,
        lambda _: iter(table.to_batches(max_chunksize=BATCH)),
        True,
        lambda: table.schema,
    )


def _of_reader(reader: Any) -> Incoming:
    def batches(_: Types) -> Iterator[Any]:
        for batch in reader:
            yield from pa.Table.from_batches([batch]).to_batches(max_chunksize=BATCH)

    return Incoming(reader.schema.names, batches, False, lambda: reader.schema)


def _of_many(frames: Iterator[Any]) -> Incoming:
    first = next(frames, None)
    if first is None:
        return Incoming([], lambda _: iter(()), False, lambda: pa.schema([]))
    begun = incoming(first)

    def batches(types: Types) -> Iterator[Any]:
        yield from begun.batches(types)
        for frame in frames:
            following = incoming(frame)
            if following.names != begun.names:
                raise ConfigurationError(
                    f"A frame has the columns {following.names}, and the first had {begun.names}."
                )
            yield from following.batches(types)

    return Incoming(begun.names, batches, False, begun.schema)


# ---------------------------------------------------------------- pandas


def _of_pandas(frame: Any) -> Incoming:
    named = [name for name in frame.index.names if name is not None]
    if named:
        frame = frame.reset_index(named)
    columns = [frame.iloc[:, number] for number in range(len(frame.columns))]
    names = [str(name) for name in frame.columns]

    def table(types: Types) -> Any:
        made = [
            _array(series, name, types.get(name))
            for name, series in zip(names, columns, strict=True)
        ]
        return pa.Table.from_arrays(made, names=names)

    def batches(types: Types) -> Iterator[Any]:
        return iter(table(types).to_batches(max_chunksize=BATCH))

    return Incoming(names, batches, True, lambda: table({}).schema)


def _array(series: Any, name: str, arrow: Any) -> Any:
    if series.dtype != object:
        return pa.Array.from_pandas(series)
    missing = series.isna().tolist()
    values = [None if gone else value for gone, value in zip(missing, series.tolist(), strict=True)]
    if arrow == pa.json_() and not all(value is None or isinstance(value, str) for value in values):
        values = [None if value is None else json.dumps(value) for value in values]
    return Column(name, arrow).array(values, 0)


def in_time(
    session: Any, batches: Callable[[Types], Iterator[Any]]
) -> Callable[[Types], Iterator[Any]]:
    """The same, until the deadline of the session's scope: whoever makes them may take his time."""
    scope: Any = getattr(session, "_scope", None)

    def within(types: Types) -> Iterator[Any]:
        for batch in batches(types):
            if scope.deadline is not None and time.monotonic() >= scope.deadline:
                raise scope.deadline_exceeded("while a frame was written")
            yield batch

    return batches if scope is None else within


def checked(batches: Iterator[Any], fit: Callable[[Any, int], Any], whole: bool) -> Iterator[Any]:
    """Batches that fit; those of a frame in memory all before the first is sent."""
    fitting = _fitting(batches, fit)
    return iter(list(fitting)) if whole else fitting


def _fitting(batches: Iterator[Any], fit: Callable[[Any, int], Any]) -> Iterator[Any]:
    first = 0
    for batch in batches:
        if batch.num_rows:
            yield fit(batch, first)
        first += batch.num_rows


def together(batches: Iterator[Any]) -> tuple[Any, Iterator[Any]]:
    """The first of some batches, and all of them."""
    first = next(batches, None)
    return first, iter(()) if first is None else itertools.chain([first], batches)
