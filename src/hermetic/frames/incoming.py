"""Frames of every kind as Arrow's record batches."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from ..clock import monotonic
from ..errors import ConfigurationError
from .rows import Column

# rows that are written at once
BATCH = 8192
# and of frames that are still being made, in memory at once
_ROWS, _BYTES = 8 * BATCH, 16 << 20

# the Arrow types that columns are written to, by the frame's names; None where it is not known
Types = Mapping[str, Any]


class Incoming:
    """A frame on its way: the names of its columns, and its batches."""

    # told how many rows more are written, where somebody wants to know
    told: Callable[[int], None] | None = None

    def __init__(
        self,
        names: list[str],
        batches: Callable[[Types], Iterator[Any]],
        rows: int | None,
        schema: Any,
    ) -> None:
        """:param batches: gives them, once.
        :param rows: how many the frame has, where it is in memory, so that it can be looked through
            first.
        :param schema: gives Arrow's schema of it.
        """
        self.names = names
        self.batches = batches
        self.rows = rows
        self.schema = schema

    def groups(self, types: Types, fit: Callable[[Any, int], Any]) -> Iterator[list[Any]]:
        """Batches that fit, so many as are sent at once; those of a frame in memory all before the
        first is sent.

        Whoever makes the others is asked for them between two statements, and so is told who wants
        to know how many there are: he may use the session meanwhile.
        """
        fitting = _fitting(self.batches(types), fit)
        if self.rows is not None:
            every = list(fitting)
            if self.told is None:
                yield every
                return
            fitting = iter(every)
        group: list[Any] = []
        rows = size = 0
        for batch in fitting:
            group.append(batch)
            rows, size = rows + batch.num_rows, size + batch.nbytes
            if rows >= _ROWS or size >= _BYTES:
                yield group
                self._tell(rows)
                group, rows, size = [], 0, 0
        yield group
        self._tell(rows)

    def _tell(self, rows: int) -> None:
        if self.told is not None and rows:
            self.told(rows)


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
        table.num_rows,
        lambda: table.schema,
    )


def _of_reader(reader: Any) -> Incoming:
    def batches(_: Types) -> Iterator[Any]:
        for batch in reader:
            yield from pa.Table.from_batches([batch]).to_batches(max_chunksize=BATCH)

    return Incoming(reader.schema.names, batches, None, lambda: reader.schema)


def _of_many(frames: Iterator[Any]) -> Incoming:
    first = next(frames, None)
    if first is None:
        return Incoming([], lambda _: iter(()), None, lambda: pa.schema([]))
    begun = incoming(first)

    def batches(types: Types) -> Iterator[Any]:
        yield from begun.batches(types)
        for frame in frames:
            following = incoming(frame)
            if following.names != begun.names:
                raise ConfigurationError(
                    f"A frame has the columns {following.names}, and the first had {begun.names}.",
                    hint="Give all of them the same, or write each by itself.",
                )
            yield from following.batches(types)

    return Incoming(begun.names, batches, None, begun.schema)


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

    return Incoming(names, batches, len(frame), lambda: table({}).schema)


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
            if scope.deadline is not None and monotonic() >= scope.deadline:
                raise scope.deadline_exceeded("while a frame was written")
            yield batch

    return batches if scope is None else within


def _fitting(batches: Iterator[Any], fit: Callable[[Any, int], Any]) -> Iterator[Any]:
    first = 0
    for batch in batches:
        if batch.num_rows:
            yield fit(batch, first)
        first += batch.num_rows
