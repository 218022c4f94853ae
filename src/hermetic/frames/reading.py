"""Reading, as work on the sync session: a statement into a table of Arrow's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigurationError
from . import forms
from .asking import connection_for, refuse_write, statement_of
from .by_pandas import read_by_pandas
from .substitution import substituted
from .ways import reading_cursor

Mixed = dict[int, list[Any]]


def read_frame(
    session: Any, what: Any, params: Mapping[str, Any] | None, as_: str, options: Mapping[str, Any]
) -> Any:
    forms.check(as_, options)
    if not forms.OPTIONS.issuperset(options):
        return read_by_pandas(session, what, params, options)
    mixed: Mixed | None = {} if as_ == "pandas" else None
    table = read_table(session, what, params, mixed)
    return forms.shaped(table, as_, {**options, "mixed": mixed} if mixed else options)


def read_table(
    session: Any, what: Any, params: Mapping[str, Any] | None, mixed: Mixed | None = None
) -> Any:
    """A table of Arrow's.

    :param mixed: takes, by its number, the values of a column that Arrow has no type for: SQLite
        keeps values of several types in one column, and pandas holds them as objects.
    :raises UnfitValue: a value that Arrow's type cannot hold.
    """
    statement: Any = statement_of(what)
    if getattr(statement, "is_dml", False):
        refuse_write(session, f"the statement {str(statement).strip()!r}")
    connection = connection_for(session, what)
    cursor = reading_cursor(connection, statement)
    with substituted(connection, cursor):
        result = connection.execute(statement, dict(params or {}))
    table = None if cursor is None else cursor.table
    if table is not None:
        result.close()
        return table
    if not result.returns_rows:
        raise ConfigurationError(
            "The statement has returned no rows.", hint="Use session.execute() for such ones."
        )
    return _from_rows(result, mixed)


# rows that are made into arrays at once
_CHUNK = 16_384


def _from_rows(result: Any, mixed: Mixed | None) -> Any:
    import pyarrow as pa

    from .columns import columns_of
    from .fields import settled
    from .rows import transposed

    columns = columns_of(result)
    strategy, cursor = result.cursor_strategy, result.cursor
    chunks: list[list[Any]] = []
    first = 0
    known = all(column.arrow is not None for column in columns)
    if not known:
        # of what type a column is its values tell, all of them
        chunks.append(transposed(strategy.fetchall(result, cursor), columns, 0, mixed))
    while known and (rows := strategy.fetchmany(result, cursor, _CHUNK)):
        chunks.append(transposed(rows, columns, first))
        first += len(rows)
    result.close()
    names = [column.name for column in columns]
    if not chunks:
        chunks = [transposed([], columns, 0)]
    arrays = [
        settled([each for each in chunk if len(each)], column.arrow or chunk[0].type)
        for column, chunk in zip(columns, zip(*chunks, strict=True), strict=True)
    ]
    return pa.Table.from_arrays(arrays, names=names)
