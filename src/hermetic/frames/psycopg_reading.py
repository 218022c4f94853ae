"""Reading on a connection of psycopg's: a binary COPY of the query, into Arrow."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import psycopg
from psycopg.generators import execute
from sqlalchemy.util import await_only

from ..dialects.exchanges import add
from . import psycopg_copy
from .assembly import Assembly
from .copied import copied, copy_of, kinds_of, looked_up, lookup, unknown
from .fields import TEXT, AnyKind
from .substitution import OwnCursor

_Steps = Generator[Any, Any, Any]


class PsycopgReading(OwnCursor):
    """Reads one statement into a table of Arrow's."""

    table: Any = None

    def own(self, operation: str, parameters: Any) -> bool:
        query = copied(operation)
        conn = self.connection.driver_connection
        if query is None or not is_utf8(conn.pgconn):
            return False
        if parameters is not None:
            query = _client_cursor(conn).mogrify(query, parameters)
        self.table = waited(conn, _read(conn, query))
        self.rowcount = -1 if self.table is None else self.table.num_rows
        return self.table is not None


def reading(connection: Any, statement: Any) -> PsycopgReading:
    """For a statement on a Connection of SQLAlchemy's."""
    return PsycopgReading(connection._dbapi_connection)


def _client_cursor(conn: Any) -> Any:
    if isinstance(conn, psycopg.AsyncConnection):
        return psycopg.AsyncClientCursor(conn)
    return psycopg.ClientCursor(conn)


def waited(conn: Any, steps: _Steps) -> Any:
    """Go through steps in the way of the connection's world."""
    if isinstance(conn, psycopg.AsyncConnection):
        return await_only(_awaited(conn, steps))
    with conn.lock:
        return conn.wait(steps)


async def _awaited(conn: Any, steps: _Steps) -> Any:
    async with conn.lock:
        return await conn.wait(steps)


def is_utf8(pgconn: Any) -> bool:
    """Whether text comes in Arrow's encoding; SQL_ASCII would be anything."""
    client, server = b"client_encoding", b"server_encoding"
    is_client: bool = pgconn.parameter_status(client) == b"UTF8"
    return is_client and bool(pgconn.parameter_status(server) != b"SQL_ASCII")


def _read(conn: Any, query: str) -> _Steps:
    columns = yield from psycopg_copy.described(conn, query.encode())
    if not columns:
        return None
    own = yield from own_kinds(conn, unknown(columns))
    kinds = kinds_of(columns, own)
    copy = copy_of(query, kinds)
    if copy is None:
        return None
    assembly = Assembly([name for name, *_ in columns], [kind or TEXT for kind in kinds])
    yield from psycopg_copy.read(conn, copy.encode(), assembly)
    return assembly.table()


def own_kinds(conn: Any, oids: set[int]) -> _Steps:
    """The kinds of a database's own types."""
    found: dict[int, AnyKind] = {}
    if oids:
        add(conn, 1)
        conn.pgconn.send_query_params(lookup(oids).encode(), None)
        (result,) = yield from execute(conn.pgconn)
        rows = [
            [result.get_value(row, column) for column in range(3)] for row in range(result.ntuples)
        ]
        found = looked_up((int(oid), one == b"t", many == b"t") for oid, one, many in rows)
    return found
