"""Reading batch by batch on a connection of psycopg's: FETCH of binary values, into Arrow."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from psycopg import AsyncServerCursor, ServerCursor, errors
from psycopg.generators import execute
from psycopg.pq import ExecStatus
from sqlalchemy.engine.cursor import BufferedRowCursorFetchStrategy

from ..dialects.exchanges import add
from . import libpq
from .assembly import HEADER, Assembly
from .copied import kinds_of, unknown
from .fields import AnyKind
from .psycopg_reading import is_utf8, own_kinds, waited

_Steps = Generator[Any, Any, Any]
_TUPLES_OK = int(ExecStatus.TUPLES_OK)
# rows that are looked at together
_SOME = 8192


class Fetching:
    """A cursor on the server, and how its values become Arrow's."""

    def __init__(
        self, result: Any, cursor: Any, library: Any, names: list[str], kinds: list[AnyKind]
    ) -> None:
        self._result = result
        self._conn = cursor.connection
        self._library = library
        self._names, self._kinds = names, kinds
        quoted = cursor.name.replace('"', '""')
        self._from = f'FROM "{quoted}"'

    def taken(self) -> list[Any]:
        """Rows that SQLAlchemy has fetched before, and now lets go of."""
        buffered: Any = self._result.cursor_strategy._rowbuffer
        rows = list(buffered)
        buffered.clear()
        return rows

    def table(self, size: int, first: int) -> Any:
        """The next rows; ``None`` after the last.

        :param first: the number of the first of them.
        :raises UnfitValue: a value could not be taken.
        """
        assembly = Assembly(self._names, self._kinds)
        assembly.rows = first
        query = f"FETCH FORWARD {size} {self._from}".encode()
        result = self._result
        try:
            waited(self._conn, self._fetch(query, assembly))
        except BaseException as error:
            # as of rows that SQLAlchemy fetches
            result.cursor_strategy.handle_exception(result, result.cursor, error)
        return assembly.table() if assembly.rows > first or assembly.failure else None

    def _fetch(self, query: bytes, assembly: Assembly) -> _Steps:
        conn = self._conn
        pgconn = conn.pgconn
        yield from conn._start_query()
        add(conn, 1)
        pgconn.send_query_params(query, None, result_format=1)
        (result,) = yield from execute(pgconn)
        if result.status != _TUPLES_OK:
            raise errors.error_from_result(result, encoding=pgconn._encoding)
        assembly.feed(HEADER, len(HEADER))
        for start in range(0, result.ntuples, _SOME):
            rows = libpq.rows_of(result, self._library, start, min(start + _SOME, result.ntuples))
            assembly.feed(rows, len(rows))


def fetching(result: Any) -> Fetching | None:
    """For a result of SQLAlchemy's that has a cursor on the server; ``None`` where some values
    come as text, or libpq is not within reach.
    """
    cursor = getattr(result.cursor, "_cursor", result.cursor)
    library = libpq.of_rows()
    if library is None or not isinstance(cursor, (ServerCursor, AsyncServerCursor)):
        return None
    conn: Any = cursor.connection
    told: Any = cursor.pgresult
    if told is None or not hasattr(told, "pgresult_ptr") or not is_utf8(conn.pgconn):
        return None
    if type(result.cursor_strategy) is not BufferedRowCursorFetchStrategy:
        return None
    encoding = conn.pgconn._encoding
    columns = [
        (told.fname(at).decode(encoding), told.ftype(at), told.fmod(at))
        for at in range(told.nfields)
    ]
    kinds = kinds_of(columns, waited(conn, own_kinds(conn, unknown(columns))))
    known = [kind for kind in kinds if kind is not None]
    if not known or len(known) < len(kinds):
        return None
    return Fetching(result, cursor, library, [name for name, *_ in columns], known)
