"""Frames into MariaDB and MySQL: INSERT of many rows at once, their values as text.

The drivers' own ``executemany`` sends the same statements, and makes the text value by value in
Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..conflicts import Conflict, insert_into
from . import insertion
from .defaults import with_defaults
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


def write(
    connection: Any, given: Any, target: Any, conflict: Conflict | None, ahead: Any = None
) -> int:
    """:param ahead: makes what takes the first rows of a batch, where it can, in another way."""
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
    backslashes, packet = _limits(connection)
    sending = _Sending(connection, sql, parts, backslashes, min(_MOST, packet))
    if ahead is not None:
        sending.ahead = ahead(connection, sql, parts, len(order), packet)
    try:
        for group in given.groups(types_of, fit):
            for batch in group:
                sending.send(batch.select(order))
    except Exception:
        sending.close()
        raise
    # whatever else comes may have come between a word and its answer: nobody goes on with that
    sending.close()
    return sending.count


class _Sending:
    """Sends batches: what ``ahead`` does not take goes as text.

    :ivar count: how many rows the server says that it has written.
    """

    ahead: Any = None

    def __init__(
        self, connection: Any, sql: str, parts: tuple[str, str], backslashes: bool, most: int
    ) -> None:
        self._connection, self._sql, self._parts = connection, sql, parts
        self._backslashes, self._most = backslashes, most
        self.count = self._first = 0

    def send(self, batch: Any) -> None:
        rest, first = batch, self._first
        if self.ahead is not None:
            taken, count = self.ahead.send(batch, first)
            rest, first = batch.slice(taken), first + taken
            self.count += count
        if rest.num_rows:
            rows = tuples(rest, first, backslashes=self._backslashes)
            for some in lists(rows, self._most):
                self.count += _sent(self._connection, self._sql, self._parts, some)
        self._first += batch.num_rows

    def close(self) -> None:
        if self.ahead is not None:
            self.ahead.close()


def _limits(connection: Any) -> tuple[bool, int]:
    """Whether a backslash is an escape, and how many bytes are sent at once."""
    row = connection.exec_driver_sql("SELECT @@sql_mode, @@max_allowed_packet").one()
    return _NO_BACKSLASHES not in str(row[0]), int(row[1]) // 2


def _sent(connection: Any, sql: str, parts: Sequence[str], values: str) -> int:
    before, behind = parts
    cursor = _Literal(connection._dbapi_connection, f"{before}{values}{behind}")
    with substituted(connection, cursor):
        connection.exec_driver_sql(sql, execution_options={"no_parameters": True}).close()
    return max(0, int(cursor.rowcount))
