"""Batches of a frame, made to fit, with the defaults of the columns that it lacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
from sqlalchemy import types

from .fitting import fitted
from .rows import Column


def with_defaults(target: Any, arrows: Sequence[Any], dialect: Any) -> Callable[[Any, int], Any]:
    """What makes a batch fit: each column its type, and those behind the frame's its default.

    :param arrows: the Arrow types of the columns that are written; ``None`` for one that stays.
    """
    processors = [_processor(column.type, dialect) for column in target.written]
    names = [column.name for column in target.written]

    def fit(batch: Any, first: int) -> Any:
        made = []
        for number, column in enumerate(target.columns):
            array, arrow, process = batch.column(number), arrows[number], processors[number]
            if process is not None:
                made.append(_processed(array.to_pylist(), process, names[number], arrow, first))
            elif arrow is None:
                made.append(array)
            else:
                made.append(fitted(array, arrow, column.name, first))
        for number, column in enumerate(target.defaults, len(made)):
            values = _default(column, batch.num_rows)
            process = processors[number] or _as_it_is
            made.append(_processed(values, process, names[number], arrows[number], first))
        return pa.RecordBatch.from_arrays(made, names=names)

    return fit


def _as_it_is(value: Any) -> Any:
    return value


def _processed(
    values: list[Any], process: Callable[[Any], Any], name: str, arrow: Any, first: int
) -> Any:
    return Column(name, arrow).array([process(value) for value in values], first)


def _default(column: Any, rows: int) -> list[Any]:
    if column.default.is_scalar:
        return [column.default.arg] * rows
    # SQLAlchemy has functions without an argument take the context that there is none of here
    return [column.default.arg(None) for _ in range(rows)]


def _processor(kind: Any, dialect: Any) -> Any:
    """What the application makes of values itself."""
    if not isinstance(kind, types.TypeDecorator) or isinstance(kind, types.Interval):
        return None
    return kind.bind_processor(dialect)
