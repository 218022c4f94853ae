"""aiosqlite's connections: one that its thread opens for a task that was cancelled is closed.

aiosqlite (0.22.1) lets go of it, open as it is: the file stays open until the collector comes to
it, which Python 3.13 and later warn of.
"""

from __future__ import annotations

import sqlite3
from typing import Any


async def connect(database: Any, *, iter_chunk_size: int = 64, **kwargs: Any) -> Any:
    """As ``aiosqlite.connect``, awaited."""
    from aiosqlite import Connection

    opened: list[sqlite3.Connection] = []
    unwanted = False
    # it is used by its own thread alone, but for the end of one that nobody wants any more
    given = {**kwargs, "check_same_thread": False}

    def connector() -> sqlite3.Connection:
        file: sqlite3.Connection = sqlite3.connect(database, **given)
        opened.append(file)
        # looked at after it was noted, as below the other way round: one of both closes it
        if unwanted:
            file.close()
        return file

    connection = Connection(connector, iter_chunk_size)
    # as SQLAlchemy has it, so that one that nobody closes does not keep the process
    connection._thread.daemon = True
    try:
        made = await connection
    except BaseException:
        unwanted = True
        for file in opened:
            file.close()
        raise
    opened.clear()
    return made
