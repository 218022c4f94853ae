"""Writing on a connection of asyncpg's: a binary COPY from Arrow."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from sqlalchemy.util import await_only

from ..conflicts import Conflict
from . import copy_writing
from .asyncpg_reading import in_transaction
from .substitution import OwnCursor


class AsyncpgWriting(OwnCursor):
    """Sends chunks of bytes by one COPY."""

    def __init__(
        self, connection: Any, table: Any, chunks: Iterator[Any], names: Sequence[str]
    ) -> None:
        super().__init__(connection)
        self._table, self._chunks, self._names = table, chunks, names

    def own(self, operation: str, parameters: Any) -> bool:
        adapted = self.connection.dbapi_connection
        self.rowcount = await_only(in_transaction(adapted, self._write))
        return True

    async def _write(self, conn: Any) -> int:
        tag = await conn.copy_to_table(
            self._table.name,
            schema_name=self._table.schema,
            columns=list(self._names),
            source=self._source(),
            format="binary",
        )
        return int(tag.rpartition(" ")[2])

    async def _source(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield bytes(chunk)


def write(connection: Any, given: Any, target: Any, conflict: Conflict | None) -> int:
    return copy_writing.write(connection, given, target, conflict, AsyncpgWriting)
