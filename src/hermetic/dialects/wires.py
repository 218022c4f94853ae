"""The drivers of asyncio that the fast paths speak to directly.

Private parts of SQLAlchemy 2.1.7 to 2.1.9: the adapters' ``_connection``, ``_handle_exception``,
and of asyncpg's ``_transaction``, ``_start_transaction``, ``_prepare`` and
``_check_type_cache_invalidation`` and ``_prepared_statement_cache``. Of asyncpg itself, as it was
from 0.30 to 0.32: a statement's ``_connection``, ``_state`` and ``_last_status``, and a
connection's ``_protocol``.
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
        asof = dialect._invalidate_schema_cache_asof
        if type(last) is not _Prepared or not last.serves(adapter, sql, asof):
            last = _Prepared(sql, asof, *await adapter._prepare(sql, asof))
        return await _fetched(last.statement, parameters, dialect), last

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
        if type(last) is not _Prepared or not last.serves(adapter, sql, asof):
            last = _Prepared(sql, asof, *await adapter._prepare(sql, asof))
        rows = await _fetched(last.statement, parameters, dialect)
        number = (last.statement.get_statusmsg() or "").rpartition(" ")[2]
        return rows[0] if rows else None, int(number) if number.isdigit() else -1, None, last

    def description(self, source: Any) -> Any:
        attributes = source.attributes
        return [(each.name, each.type.oid, None, None, None, None, None) for each in attributes]

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


class _Prepared:
    """A statement of asyncpg's, as the adapter prepared it."""

    __slots__ = ("asof", "attributes", "sql", "statement")

    def __init__(self, sql: str, asof: float, statement: Any, attributes: Any) -> None:
        self.sql = sql
        # when all that was prepared earlier became invalid
        self.asof = asof
        self.statement = statement
        self.attributes = attributes

    def serves(self, adapter: Any, sql: str, asof: float) -> bool:
        """Whether the adapter would give it for this text: without a cache it prepares anew."""
        return (
            self.sql is sql and self.asof == asof and adapter._prepared_statement_cache is not None
        )


async def _fetched(statement: Any, parameters: Any, dialect: Any) -> list[Any]:
    """``statement.fetch(*parameters)``, without the coroutines in between."""
    connection = statement._connection
    if statement._state.closed or connection.is_closed():
        found: list[Any] = await statement.fetch(*parameters)  # which says so
        return found
    try:
        found, statement._last_status, _ = await connection._protocol.bind_execute(
            statement._state, parameters, "", 0, True, None
        )
    except dialect.dbapi.asyncpg.exceptions.OutdatedSchemaCacheError:
        await connection.reload_schema_state()
        statement._state.mark_closed()
        raise
    return found


class PsycopgWire(Wire):
    """psycopg, whose own transactions begin with the first statement."""

    async def run(self, adapter: Any, sql: str, parameters: Any, begin: tuple[str, ...] | None,
                  dialect: Any, last: Any, apart: bool) -> tuple[list[Any], Any]:  # fmt: skip
        # a cursor that executes the same text again knows how to convert its parameters
        read = getattr(last, "read", None)  # a user's own cursors have none
        if read is not None:
            last.apart = apart
            return await read(sql, parameters), last
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
