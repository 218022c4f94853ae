"""psycopg's cursors on the server, by which rows are streamed, with their requests counted.

What they fetch, and their end, the connection sends, which counts by itself. Private parts:
``_execute_send`` and ``_describe_gen``.
"""

from __future__ import annotations

from typing import Any

import psycopg

from .exchanges import add


class _Counting:
    def _execute_send(self: Any, query: Any, **how: Any) -> None:
        add(self._conn, 1)
        super()._execute_send(query, **how)  # type: ignore[misc]

    def _describe_gen(self: Any) -> Any:
        add(self._conn, 1)
        return super()._describe_gen()  # type: ignore[misc]


class ServerCursor(_Counting, psycopg.ServerCursor[Any]):
    """psycopg's, for threads."""


class AsyncServerCursor(_Counting, psycopg.AsyncServerCursor[Any]):
    """psycopg's, for asyncio."""
