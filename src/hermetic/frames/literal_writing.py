"""Frames into MariaDB and MySQL: INSERT of many rows at once, their values as text.

LOAD DATA LOCAL was not measured: server and driver both have to allow that files of the client's
are read, which neither does by default. The drivers' own ``executemany`` sends the same
statements, and makes the text value by value in Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..conflicts import Conflict, insert_into
from . import insertion
from .defaults import with_defaults
from .incoming import checked
from .literals import between, lists, tuples
from .substitution import OwnCursor, substituted

# SERVER_STATUS_NO_BACKSLASH_ESCAPES, of the protocol
_NO_BACKSLASHES = "NO_BACKSLASH_ESCAPES"
_MOST = 1 << 20


class _Literal(OwnCursor):
    """Executes a text in the place of the statement that everybody else sees."""

    def __init__(self, connection: Any, statement: str) -> None:
        super().__init__(connection)
        self._statement = statement

    def own(self, operation: str, parameters: Any) -> bool:
        self.real = self.connection.cursor()
        self.real.execute(self._statement)
        self.rowcount = self.real.rowcount
        return True


def write(connection: Any, given: Any, target: Any, conflict: Conflict | None) -> int:
    dialect, columns = connection.dialect, target.written
    statement = insert_into(target.table, dialect, conflict, columns)
    sql, names = insertion.compiled_for(statement, columns, dialect)
    parts = between(sql, names)
    if parts is None or insertion.is_processed(columns, dialect):
        return insertion.write(connection, given, target, conflict)
    arrows = [insertion.arrow_for(column.type, dialect) for column in columns]
    fit = with_defaults(target, arrows, dialect)
    types_of = dict(zip(given.names, arrows, strict=False))
    order = [columns.index(target.table.columns[name]) for name in names]
    backslashes, most = _limits(connection)
    count = first = 0
    for batch in checked(given.batches(types_of), fit, given.whole):
        rows = tuples(batch.select(order), first, backslashes=backslashes)
        for some in lists(rows, most):
            count += _sent(connection, sql, parts, some)
        first += batch.num_rows
    return count


def _limits(connection: Any) -> tuple[bool, int]:
    row = connection.exec_driver_sql("SELECT @@sql_mode, @@max_allowed_packet").one()
    return _NO_BACKSLASHES not in str(row[0]), min(_MOST, int(row[1]) // 2)


def _sent(connection: Any, sql: str, parts: Sequence[str], values: str) -> int:
    before, behind = parts
    cursor = _Literal(connection._dbapi_connection, f"{before}{values}{behind}")
    with substituted(connection, cursor):
        connection.exec_driver_sql(sql, execution_options={"no_parameters": True}).close()
    return max(0, int(cursor.rowcount))
