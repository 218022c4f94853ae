"""The drivers of asyncio that the fast paths speak to directly.

Private parts of SQLAlchemy 2.1.7 to 2.1.9: the adapters' ``_connection``, ``_handle_exception``,
and of asyncpg's ``_transaction``, ``_start_transaction`` and ``_prepare``.
"""

from __future__ import annotations

from typing import Any

from .wire import NotBegun, Wire


class AsyncpgWire(Wire):
    """asyncpg, with the adapter's own transaction object and cache of prepared statements."""

    async def run(self, adapter: Any, sql: str, parameters: Any, begin: tuple[str, ...] | None,
                  dialect: Any, last: Any, apart: bool) -> tuple[list[Any], Any]:  # fmt: skip
        if adapter._transaction is None and not apart:
            await adapter._start_transaction()
        statement, attributes = await adapter._prepare(sql, dialect._invalidate_schema_cache_asof)
        return await statement.fetch(*parameters), attributes

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
        cursor = last or adapter._connection.cursor()
        cursor.apart = apart
        await cursor.execute(sql, parameters)
        return await cursor.fetchall(), cursor

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

    async def commit(self, adapter: Any) -> None:
        await adapter._connection.commit()


def _begun_and_fetched(
    connection: Any, begin: tuple[str, ...] | None, sql: str, parameters: Any
) -> tuple[bool, Any, Any]:
    """Whether a transaction is open, the rows or the error, and the description or ``None``."""
    begun = begin is None
    try:
        if begin is not None:
            for statement in begin:
                connection.execute(statement).close()
            begun = True
        cursor = connection.execute(sql, parameters)
        rows = cursor.fetchall()
        description = cursor.description
    except Exception as error:
        return begun, error, None
    return True, rows, description
