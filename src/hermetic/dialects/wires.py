"""The drivers of asyncio that the fast paths speak to directly.

Private parts of SQLAlchemy 2.1.7 to 2.1.9: the adapters' ``_connection``, ``_handle_exception``,
and of asyncpg's ``_transaction``, ``_start_transaction``, ``_prepare`` and
``_check_type_cache_invalidation``.
"""

from __future__ import annotations

from typing import Any

from .wire import NotBegun, Wire, Written


class AsyncpgWire(Wire):
    """asyncpg, with the adapter's own transaction object and cache of prepared statements."""

    async def run(self, adapter: Any, sql: str, parameters: Any, begin: tuple[str, ...] | None,
                  dialect: Any, last: Any, apart: bool) -> tuple[list[Any], Any]:  # fmt: skip
        if adapter._transaction is None and not apart:
            await adapter._start_transaction()
        statement, attributes = await adapter._prepare(sql, dialect._invalidate_schema_cache_asof)
        return await statement.fetch(*parameters), attributes

    async def write(self, adapter: Any, sql: str, parameters: Any, begin: tuple[str, ...] | None,
                    dialect: Any, last: Any, returns: bool, many: bool) -> Written:  # fmt: skip
        asof = dialect._invalidate_schema_cache_asof
        if many:
            await adapter._check_type_cache_invalidation(asof)
        if adapter._transaction is None:
            await adapter._start_transaction()
        if many:
            await adapter._connection.executemany(sql, parameters)
            return None, -1, None, last
        statement, attributes = await adapter._prepare(sql, asof)
        rows = await statement.fetch(*parameters)
        number = (statement.get_statusmsg() or "").rpartition(" ")[2]
        return rows[0] if rows else None, int(number) if number.isdigit() else -1, None, attributes

    def description(self, source: Any) -> Any:
        return [(each.name, each.type.oid, None, None, None, None, None) for each in source]

    async def commit(self, adapter: Any) -> None:
        # whether it succeeds or not, there is no transaction any more that could be ended
        transaction, adapter._transaction = adapter._transaction, None
        if transaction is not None:
            await transaction.commit()

    def translated(self, adapter: Any, error: Exception, dialect: Any) -> Exception:
        found = super().translated(adapter, error, dialect)
        module = dialect.dbapi
        if isinstance(found, (module.InvalidCachedStatementError, module.InternalServerError)):
            # as the dialect's own execution context does
            dialect._invalidate_schema_cache()
        return found


class PsycopgWire(Wire):
    """psycopg, whose own transactions begin with the first statement."""

    async def run(self, adapter: Any, sql: str, parameters: Any, begin: tuple[str, ...] | None,
                  dialect: Any, last: Any, apart: bool) -> tuple[list[Any], Any]:  # fmt: skip
        # a cursor that executes the same text again knows how to convert its parameters
        if hasattr(last, "apart"):
            last.apart = apart  # a cursor of ours
        await last.execute(sql, parameters)
        return await last.fetchall(), last

    def cursor(self, adapter: Any) -> Any:
        return adapter._connection.cursor()

    async def tell(self, cursor: Any, statement: str) -> None:
        await cursor.execute(statement)

    async def write(self, adapter: Any, sql: str, parameters: Any, begin: tuple[str, ...] | None,
                    dialect: Any, last: Any, returns: bool, many: bool) -> Written:  # fmt: skip
        if hasattr(last, "apart"):
            last.apart = False
        if many:
            await last.executemany(sql, parameters)
        else:
            await last.execute(sql, parameters)
        row = await last.fetchone() if returns else None
        return row, last.rowcount, None, last

    def description(self, source: Any) -> Any:
        return source.description

    async def commit(self, adapter: Any) -> None:
        await adapter._connection.commit()


class AiosqliteWire(Wire):
    """aiosqlite. Each way to its thread and back costs more than SQLite's work there: one has to
    do for everything.
    """

    async def run(self, adapter: Any, sql: str, parameters: Any, begin: tuple[str, ...] | None,
                  dialect: Any, last: Any, apart: bool) -> tuple[list[Any], Any]:  # fmt: skip
        raw = adapter._connection
        begun, found, description = await raw._execute(
            _begun_and_fetched, raw._conn, begin, sql, parameters
        )
        if not begun:
            raise NotBegun from found
        if description is None:
            raise found
        return found, description

    async def write(self, adapter: Any, sql: str, parameters: Any, begin: tuple[str, ...] | None,
                    dialect: Any, last: Any, returns: bool, many: bool) -> Written:  # fmt: skip
        raw = adapter._connection
        begun, error, written = await raw._execute(
            _begun_and_written, raw._conn, begin, sql, parameters, many
        )
        if not begun:
            raise NotBegun from error
        if error is not None:
            raise error
        found: Written = written
        return found

    async def commit(self, adapter: Any) -> None:
        await adapter._connection.commit()


def _begun_and_fetched(
    connection: Any, begin: tuple[str, ...] | None, sql: str, parameters: Any
) -> tuple[bool, Any, Any]:
    """Whether a transaction is open, the rows or the error, and the description or ``None``."""
    begun = begin is None
    try:
        if begin is not None:
            _begin(connection, begin)
            begun = True
        cursor = connection.execute(sql, parameters)
        rows = cursor.fetchall()
        description = cursor.description
    except Exception as error:
        return begun, error, None
    return True, rows, description


def _begun_and_written(
    connection: Any, begin: tuple[str, ...] | None, sql: str, parameters: Any, many: bool
) -> tuple[bool, Exception | None, Written | None]:
    """Whether a transaction is open, the error if there was one, or else what came of it."""
    begun = begin is None
    try:
        if begin is not None:
            _begin(connection, begin)
            begun = True
        execute = connection.executemany if many else connection.execute
        cursor = execute(sql, parameters)
        row = cursor.fetchone()
        written = (row, cursor.rowcount, cursor.lastrowid, cursor.description)
        cursor.close()
    except Exception as error:
        return begun, error, None
    return True, None, written


def _begin(connection: Any, begin: tuple[str, ...]) -> None:
    for statement in begin:
        connection.execute(statement).close()
