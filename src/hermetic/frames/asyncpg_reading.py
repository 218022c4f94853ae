"""Reading on a connection of asyncpg's: a binary COPY of the query, into Arrow."""

from __future__ import annotations

from typing import Any

from sqlalchemy import types
from sqlalchemy.util import await_only

from .assembly import Assembly
from .copied import copied, copy_of, kinds_of, looked_up, lookup, unknown
from .fields import NUMERIC, TEXT
from .substitution import OwnCursor

_COPY, _OPTIONS = "COPY (", ") TO STDOUT (FORMAT binary)"
_ROOM = 1 << 20


class AsyncpgReading(OwnCursor):
    """Reads one statement into a table of Arrow's."""

    table: Any = None

    def __init__(self, connection: Any, hints: list[Any]) -> None:
        """:param hints: SQLAlchemy's types of the columns; asyncpg does not tell of a numeric how
        many digits it has.
        """
        super().__init__(connection)
        self._hints = hints

    def own(self, operation: str, parameters: Any) -> bool:
        query = copied(operation)
        adapted = self.connection.dbapi_connection
        settings = adapted.driver_connection.get_settings()
        if query is None or settings.server_encoding == "SQL_ASCII":
            return False
        self.table = await_only(in_transaction(adapted, self._read, query, parameters or ()))
        self.rowcount = -1 if self.table is None else self.table.num_rows
        return self.table is not None

    async def _read(self, conn: Any, query: str, parameters: Any) -> Any:
        # without a name it is the connection's for no longer than until the next one
        prepared = await conn.prepare(query, name="")
        columns = [
            (column.name, column.type.oid, self._modifier(number, column.type.oid))
            for number, column in enumerate(prepared.get_attributes())
        ]
        if not columns:
            return None
        oids = unknown(columns)
        own = looked_up([tuple(row) for row in await conn.fetch(lookup(oids))] if oids else [])
        kinds = kinds_of(columns, own)
        copy = copy_of(query, kinds)
        if copy is None:
            return None
        assembly = Assembly([name for name, *_ in columns], [kind or TEXT for kind in kinds])
        taking = _Taking(assembly)
        inner = copy.removeprefix(_COPY).removesuffix(_OPTIONS)
        await conn.copy_from_query(inner, *parameters, output=taking, format="binary")
        taking.finish()
        return assembly.table()

    def _modifier(self, number: int, oid: int) -> int:
        hint = self._hints[number] if number < len(self._hints) else None
        if oid != NUMERIC or not isinstance(hint, types.Numeric) or hint.precision is None:
            return -1
        return (hint.precision << 16 | (hint.scale or 0) & 0x7FF) + 4


def reading(connection: Any, statement: Any) -> AsyncpgReading:
    """For a statement on a Connection of SQLAlchemy's."""
    compiled = statement.compile(dialect=connection.dialect)
    hints = [entry.type for entry in getattr(compiled, "_result_columns", ())]
    return AsyncpgReading(connection._dbapi_connection, hints)


async def in_transaction(adapted: Any, function: Any, *arguments: Any) -> Any:
    """Call with asyncpg's connection, as SQLAlchemy has it execute a statement."""
    async with adapted._execute_mutex:
        if adapted._transaction is None:
            await adapted._start_transaction()
        try:
            return await function(adapted.driver_connection, *arguments)
        except Exception as error:
            adapted._handle_exception(error)


class _Taking:
    """Where asyncpg puts what has come."""

    def __init__(self, assembly: Assembly) -> None:
        self._assembly = assembly
        self._chunk = bytearray()

    async def __call__(self, data: bytes) -> None:
        self._chunk += data
        if len(self._chunk) >= _ROOM:
            self.finish()

    def finish(self) -> None:
        taken = self._assembly.feed(self._chunk, len(self._chunk))
        del self._chunk[:taken]
