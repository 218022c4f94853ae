"""Writing on a connection of psycopg's: a binary COPY from Arrow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..conflicts import Conflict
from . import copy_writing, psycopg_copy
from .psycopg_reading import waited
from .substitution import OwnCursor


class PsycopgWriting(OwnCursor):
    """Sends chunks of bytes by one COPY."""

    def __init__(
        self, connection: Any, table: Any, chunks: Iterator[Any], names: Sequence[str]
    ) -> None:
        super().__init__(connection)
        self._chunks = chunks

    def own(self, operation: str, parameters: Any) -> bool:
        conn = self.connection.driver_connection
        self.rowcount = waited(conn, psycopg_copy.write(conn, operation.encode(), self._chunks))
        return True


def write(connection: Any, given: Any, target: Any, conflict: Conflict | None) -> int:
    return copy_writing.write(connection, given, target, conflict, PsycopgWriting)
