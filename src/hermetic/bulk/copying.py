"""COPY by the drivers of PostgreSQL, as a cursor that ``do_execute`` is given.

Of the user's code nothing runs while a COPY is under way: its rows are there before. Whatever ends
it early, the driver has the server told, or the connection is destroyed with the statement.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import length_hint
from typing import Any

from sqlalchemy import Column, Table
from sqlalchemy.util import await_only


class Copying:
    """COPY into some columns of a table.

    :ivar sql: the statement.
    """

    def __init__(self, table: Table, columns: Sequence[Column[Any]], dialect: Any) -> None:
        quoted = dialect.identifier_preparer
        listed = ", ".join(quoted.format_column(column) for column in columns)
        self.sql = f"COPY {quoted.format_table(table)} ({listed}) FROM STDIN"
        self._table = table
        self._columns = [column.name for column in columns]
        self._dialect = dialect

    def copier(self, dbapi: Any, rows: list[Any]) -> Copier:
        """:param dbapi: the connection as SQLAlchemy's dialect is given it."""
        remaining = iter(rows)
        send: Callable[[], Any]
        if not self._dialect.is_async:
            send = lambda: _by_psycopg(dbapi, self.sql, remaining)  # noqa: E731
        elif hasattr(dbapi.driver_connection, "copy_records_to_table"):
            send = lambda: await_only(self._by_asyncpg(dbapi, remaining))  # noqa: E731
        else:
            send = lambda: await_only(_by_async_psycopg(dbapi, self.sql, remaining))  # noqa: E731
        return Copier(send, remaining, len(rows))

    async def _by_asyncpg(self, adapter: Any, rows: Any) -> None:
        raw = adapter.driver_connection
        async with adapter._execute_mutex:
            if adapter._transaction is None:
                await adapter._start_transaction()
            try:
                await raw.copy_records_to_table(
                    self._table.name,
                    records=rows,
                    columns=self._columns,
                    schema_name=self._table.schema,
                )
            except (TypeError, ValueError, OverflowError) as error:
                # what it raises as a DataError where it is no COPY
                adapter._handle_exception(_unfit(error))
            except Exception as error:
                adapter._handle_exception(error)


def _unfit(error: Exception) -> Exception:
    from asyncpg import exceptions

    unfit: Exception = exceptions.DataError(f"a value does not fit its column: {error}")
    unfit.__cause__ = error
    return unfit


class Copier:
    """As much of a cursor as is asked for."""

    description = None
    rowcount = -1

    def __init__(self, send: Callable[[], Any], remaining: Any, count: int) -> None:
        self._send = send
        self._remaining = remaining
        self._count = count

    def execute(self, statement: str, parameters: Any = None) -> None:
        self._send()
        self.rowcount = self._count

    def at(self) -> int | None:
        """The row that was being sent; ``None`` once all were."""
        left = length_hint(self._remaining)
        return self._count - left - 1 if left else None

    def close(self) -> None:
        """There is nothing to be closed."""


def _by_psycopg(connection: Any, sql: str, rows: Any) -> None:
    with connection.cursor() as cursor, cursor.copy(sql) as copy:
        write = copy.write_row
        for row in rows:
            write(row)


async def _by_async_psycopg(adapter: Any, sql: str, rows: Any) -> None:
    async with adapter.driver_connection.cursor() as cursor, cursor.copy(sql) as copy:
        write = copy.write_row
        for row in rows:
            await write(row)
