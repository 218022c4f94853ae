"""Frames into PostgreSQL: a binary COPY into the table, or into one that stands in front of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Column, MetaData, Table, select, text, types

from ..conflicts import Conflict, insert_into
from .assembly import HEADER
from .defaults import with_defaults
from .fields import TEXT, kind_of
from .substitution import OwnCursor, substituted
from .wire import rows_of, wiring

TRAILER = b"\xff\xff"
_STAGE = "hermetic_frame"


class _Place(NamedTuple):
    """A column as COPY meets it: its Arrow type, what turns arrays of it into bytes, whether it is
    of a type that is given as text.
    """

    arrow: Any
    wire: Callable[[Any], Any]
    by_text: bool


def write(
    connection: Any,
    given: Any,
    target: Any,
    conflict: Conflict | None,
    cursor: Callable[[Any, Table, Iterator[Any], Sequence[str]], OwnCursor],
) -> int:
    """:param cursor: makes the cursor that sends chunks of bytes, for a table and its columns."""
    places = _places(connection, target.written)
    types_of = dict(zip(given.names, (place.arrow for place in places), strict=False))
    fit = with_defaults(target, [place.arrow for place in places], connection.dialect)
    groups = given.groups(types_of, fit)
    if conflict is None and not any(place.by_text for place in places):
        names = [column.name for column in target.written]
        return _copied(connection, cursor, groups, target.table, names, places)
    return _by_stage(connection, cursor, groups, target, conflict, places)


def _places(connection: Any, columns: Sequence[Column[Any]]) -> list[_Place]:
    preparer = connection.dialect.identifier_preparer
    listed = ", ".join(preparer.quote(column.name) for column in columns)
    result = connection.exec_driver_sql(
        f"SELECT {listed} FROM {preparer.format_table(columns[0].table)} LIMIT 0",
        execution_options={"no_parameters": True},
    )
    described = result.cursor.description
    result.close()
    return [_place(one, column) for one, column in zip(described, columns, strict=True)]


def _place(described: Any, column: Column[Any]) -> _Place:
    oid, precision, scale = described[1], described[4], described[5]
    if precision is None and isinstance(column.type, types.Numeric):
        precision, scale = column.type.precision, column.type.scale
    modifier = -1 if precision is None else (precision << 16 | (scale or 0) & 0x7FF) + 4
    kind, wire = kind_of(oid, modifier), wiring(oid)
    if kind is None or wire is None:
        return _Place(TEXT.arrow, wiring(25), True)  # type: ignore[arg-type]
    return _Place(kind.arrow, wire, False)


def _chunks(batches: Sequence[Any], places: Sequence[_Place]) -> Iterator[Any]:
    yield HEADER
    for batch in batches:
        wires = [place.wire(batch.column(n)) for n, place in enumerate(places)]
        yield rows_of(wires, batch.num_rows)
    yield TRAILER


def _copied(
    connection: Any,
    cursor: Any,
    groups: Iterator[list[Any]],
    table: Table,
    names: Sequence[str],
    places: Sequence[_Place],
) -> int:
    preparer = connection.dialect.identifier_preparer
    listed = ", ".join(preparer.quote(name) for name in names)
    statement = f"COPY {preparer.format_table(table)} ({listed}) FROM STDIN (FORMAT binary)"
    count = 0
    for group in groups:
        own = cursor(connection._dbapi_connection, table, _chunks(group, places), names)
        with substituted(connection, own):
            connection.exec_driver_sql(statement).close()
        count += int(own.rowcount)
    return count


def _by_stage(
    connection: Any,
    cursor: Any,
    groups: Iterator[list[Any]],
    target: Any,
    conflict: Conflict | None,
    places: Sequence[_Place],
) -> int:
    """Into a table of the transaction's own, and from there by an INSERT."""
    stage, created = _stage(connection, target, places)
    connection.execute(text(created))
    names = [column.name for column in stage.columns]
    _copied(connection, cursor, groups, stage, names, places)
    columns = target.written
    statement: Any = insert_into(target.table, connection.dialect, conflict, columns)
    given = [
        column.cast(_raw(real.type)) if place.by_text else column
        for column, real, place in zip(stage.columns, columns, places, strict=True)
    ]
    result = connection.execute(statement.from_select(columns, select(*given)))
    connection.execute(text(f"DROP TABLE {stage.name}"))
    return int(result.rowcount)


def _raw(kind: Any) -> Any:
    return kind.impl if isinstance(kind, types.TypeDecorator) else kind


def _stage(connection: Any, target: Any, places: Sequence[_Place]) -> tuple[Table, str]:
    preparer = connection.dialect.identifier_preparer
    listed = ", ".join(
        preparer.quote(column.name) + ("::text" if place.by_text else "")
        for column, place in zip(target.written, places, strict=True)
    )
    source = preparer.format_table(target.table)
    columns = [Column(column.name, types.NullType()) for column in target.written]
    stage = Table(_STAGE, MetaData(), *columns)
    return stage, (
        f"CREATE TEMPORARY TABLE {_STAGE} ON COMMIT DROP AS SELECT {listed} FROM {source} "
        "WITH NO DATA"
    )
