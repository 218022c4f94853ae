"""asyncpg's connections: the server's answer to a COMMIT is looked at, and requests are counted."""

from __future__ import annotations

import contextlib
from functools import lru_cache
from typing import Any

from ..errors import RolledBack
from .exchanges import Protocol


@lru_cache
def checked(cleanup_timeout: float, following: str) -> Any:
    """asyncpg's Connection, which drops the server's answer to a COMMIT, with a look at it.

    PostgreSQL answers the COMMIT of an aborted transaction with ROLLBACK, and with no error. Where
    a task was cancelled, SQLAlchemy gives the close 2 s.

    :param following: what goes with each BEGIN.
    """
    import asyncpg

    class CheckedConnection(asyncpg.Connection):
        def __init__(self, protocol: Any, *args: Any, **kwargs: Any) -> None:
            counting: Any = Protocol(protocol)
            super().__init__(counting, *args, **kwargs)

        async def close(self, *, timeout: float | None = None) -> None:
            bound = cleanup_timeout if timeout is None else min(timeout, cleanup_timeout)
            # the server was gone already, and asyncpg has let go of the socket
            with contextlib.suppress(ConnectionError):
                await super().close(timeout=bound)

        async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
            if following and query.startswith("BEGIN"):
                query = query.rstrip(";") + following
            tag: str = await super().execute(query, *args, timeout=timeout)
            if tag == "ROLLBACK" and query.startswith("COMMIT"):
                raise RolledBack("Nothing was committed: the server answered COMMIT with ROLLBACK.")
            return tag

    return CheckedConnection
