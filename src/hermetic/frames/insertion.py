"""Frames into any database: INSERT for many rows, of the driver's own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa
from sqlalchemy import bindparam, types

from ..conflicts import Conflict, insert_into
from ..dialects.framing import UNTYPED
from ..frame_errors import UnfitValue
from . import values
from .defaults import with_defaults
from .incoming import BATCH
from .rows import arrow_of
from .substitution import OwnCursor, substituted

_EMPTY = memoryview(b"").cast("B")


def write(connection: Any, given: Any, target: Any, conflict: Conflict | None) -> int:
    dialect = connection.dialect
    columns = target.written
    arrows = [arrow_for(column.type, dialect) for column in columns]
    fit = with_defaults(target, arrows, dialect)
    types_of = dict(zip(given.names, arrows, strict=False))
    statement = insert_into(target.table, dialect, conflict, columns)
    sql, names = compiled_for(statement, columns, dialect)
    order = [columns.index(target.table.columns[name]) for name in names]
    makers = [_maker(columns[at].type, dialect) for at in order]
    count = first = 0
    for group in given.groups(types_of, fit):
        rows = _rows(order, makers, group, first)
        if not dialect.positional:
            rows = (dict(zip(names, row, strict=True)) for row in rows)
        count += _by_driver(connection, sql, rows)
        first += sum(batch.num_rows for batch in group)
    return count


def compiled_for(statement: Any, columns: list[Any], dialect: Any) -> tuple[str, list[str]]:
    """The text of an INSERT, and the keys of the columns in the order of its parameters."""
    binds = {column: bindparam(column.key, type_=column.type) for column in columns}
    compiled = statement.values(binds).compile(dialect=dialect)
    return str(compiled), list(compiled.positiontup or compiled.bind_names.values())


def is_processed(columns: list[Any], dialect: Any) -> bool:
    """Whether SQLAlchemy makes something of the values that a literal of them would not be."""
    return any(isinstance(column.type, types.Interval) for column in columns)


class _Many(OwnCursor):
    """Gives an executemany all the rows there are, one by one."""

    def __init__(self, connection: Any, rows: Iterator[Any]) -> None:
        super().__init__(connection)
        self._rows = rows

    def executemany(self, operation: str, parameters: Any) -> Any:
        self.real = self.connection.cursor()
        result = self.real.executemany(operation, self._rows)
        self.rowcount = self.real.rowcount
        return result


def _by_driver(connection: Any, sql: str, rows: Iterator[Any]) -> int:
    if connection.dialect.name in UNTYPED:
        first = next(rows, None)
        if first is None:
            return 0
        many = _Many(connection._dbapi_connection, itertools.chain([first], rows))
        with substituted(connection, many):
            # two, so that it is for many
            connection.exec_driver_sql(sql, [first, first]).close()
        return int(many.rowcount)
    count = 0
    while some := list(itertools.islice(rows, BATCH)):
        count += max(0, connection.exec_driver_sql(sql, some).rowcount)
    return count


def _rows(order: list[int], makers: list[Any], batches: list[Any], first: int) -> Iterator[Any]:
    """:param first: the number of the first row."""
    for batch in batches:
        made = [
            maker(batch.column(at), batch.schema.names[at], first)
            for at, maker in zip(order, makers, strict=True)
        ]
        yield from zip(*made, strict=True)
        first += batch.num_rows


def arrow_for(kind: Any, dialect: Any) -> Any:
    """What a column takes; ``None`` for one of which SQLAlchemy does not tell."""
    if isinstance(kind, types.Integer) and dialect.name not in UNTYPED:
        return _whole(kind)
    return arrow_of(kind)


def _whole(kind: Any) -> Any:
    unsigned = bool(getattr(kind, "unsigned", False))
    bits = {"TINYINT": 8, "SMALLINT": 16, "BIGINT": 64}.get(kind.__visit_name__.upper(), 32)
    if isinstance(kind, types.BigInteger):
        bits = 64
    if isinstance(kind, types.SmallInteger):
        bits = min(bits, 16)
    return getattr(pa, f"{'u' if unsigned else ''}int{bits}")()


def plain(array: Any) -> list[Any]:
    """An array's values as Python's."""
    arrow = array.type
    if arrow == pa.string():
        _, offsets, data = array.buffers()
        if offsets is None or not offsets.size:
            return [None] * len(array)
        places = memoryview(offsets).cast("B").cast("i")
        return values.texts(valid_of(array), array.offset, len(array), places, bytes_of(data))
    if pa.types.is_signed_integer(arrow):
        return _numbers(array.cast(pa.int64()), "q", values.wholes)
    if arrow == pa.float64():
        return _numbers(array, "d", values.floats)
    stored = array if arrow == pa.uuid() else getattr(array, "storage", array)
    found: list[Any] = stored.to_pylist()
    return found


def _numbers(array: Any, code: Any, function: Callable[..., list[Any]]) -> list[Any]:
    if not len(array):
        return []
    data = memoryview(array.buffers()[1]).cast("B").cast(code)
    return function(valid_of(array), array.offset, len(array), data)


def valid_of(array: Any) -> Any:
    """Arrow's bitmap of what is there; empty where everything is."""
    return _EMPTY if array.null_count == 0 else bytes_of(array.buffers()[0])


def bytes_of(buffer: Any) -> Any:
    """A buffer of Arrow's, which may be none."""
    return _EMPTY if buffer is None or not buffer.size else memoryview(buffer).cast("B")


def _maker(kind: Any, dialect: Any) -> Callable[[Any, str, int], list[Any]]:
    """What makes the driver's values of an array, as SQLAlchemy would."""
    if isinstance(kind, types.Numeric) and not isinstance(kind, types.Float):
        return _numeric if dialect.name in UNTYPED else _plainly
    if isinstance(kind, (types.JSON, types.Enum)):
        return _plainly
    if isinstance(kind, types.TypeDecorator) and not isinstance(kind, types.Interval):
        return _plainly  # JSON is text here; what decorates has processed its values before
    process = kind.dialect_impl(dialect).bind_processor(dialect)
    if process is None or isinstance(kind, (types.Boolean, types.String)):
        return _plainly

    def processed(array: Any, name: str, first: int) -> list[Any]:
        return [None if value is None else process(value) for value in plain(array)]

    return processed


def _plainly(array: Any, name: str, first: int) -> list[Any]:
    return plain(array)


def _numeric(array: Any, name: str, first: int) -> list[Any]:
    """SQLite keeps no decimals: what a float shows as it is may be one."""
    found: list[Any] = []
    for row, value in enumerate(array.to_pylist(), first):
        number = None if value is None else float(value)
        if number is not None and Decimal(repr(number)) != value:
            raise UnfitValue(
                name, row, "has more digits than SQLite's numbers have", value=value,
                hint="Keep it as text.",
            )  # fmt: skip
        found.append(number)
    return found
