"""Ten thousand scopes, well and failing and cancelled: what they leave in this process.

    python -m tests.fire.flat 10000

For each driver: how many more objects the collector knows of at the end than before, and by how
many megabytes the resident memory has grown after each fifth of the scopes. It starts its own
servers.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sqlalchemy import create_engine, make_url, text

from hermetic import Database
from tests.behaviour.aftermath import lent
from tests.fast import test_no_garbage as works
from tests.fire.leaks import resident
from tests.models import Base
from tests.servers import MariaDBServer, PostgreSQLServer

_WARM: Final = 500
_PARTS: Final = 5
_IN_THREADS: Final = (works.read, works.read_only, works.write, works.fail, works.joined)
_IN_TASKS: Final = (
    works.read_there,
    works.write_there,
    works.fail_there,
    works.cancelled_there,
)


class Growth:
    """What there is more of than there was."""

    def __init__(self) -> None:
        gc.collect()
        self._before, self._megabytes = works.kinds().total(), resident()
        self.megabytes: list[float] = []

    def look(self) -> None:
        gc.collect()
        self.megabytes.append(round(resident() - self._megabytes, 2))

    def told(self, name: str, db: Database) -> str:
        objects = works.kinds().total() - self._before
        return f"{name}: {objects:+} objects, {self.megabytes} MB, {lent(db) or 'nothing'} lent"


def in_threads(name: str, url: str, scopes: int) -> str:
    db = Database(url, pool_size=2)
    for number in range(_WARM):
        _IN_THREADS[number % len(_IN_THREADS)](db)
    growth = Growth()
    for number in range(scopes):
        _IN_THREADS[number % len(_IN_THREADS)](db)
        if not (number + 1) % (scopes // _PARTS):
            growth.look()
    told = growth.told(name, db)
    db.close()
    return told


async def in_tasks(name: str, url: str, scopes: int) -> str:
    db = Database(url, pool_size=2)
    for number in range(_WARM):
        await _IN_TASKS[number % len(_IN_TASKS)](db)
    growth = Growth()
    for number in range(scopes):
        await _IN_TASKS[number % len(_IN_TASKS)](db)
        if not (number + 1) % (scopes // _PARTS):
            growth.look()
    told = growth.told(name, db)
    await db.aclose()
    return told


def _prepared(url: str) -> str:
    engine = create_engine(url)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO users (id, username, balance) VALUES (1, 'ann', 0)"))
    engine.dispose()
    return url


def _told(folder: Path, scopes: int) -> Iterator[str]:
    file = _prepared(f"sqlite:///{folder / 'flat.db'}")
    yield in_threads("sqlite", file, scopes)
    yield asyncio.run(in_tasks("aiosqlite", file, scopes))
    with PostgreSQLServer() as server:
        server.create_database("flat")
        url = _prepared(server.url("flat"))
        asyncpg = make_url(url).set(drivername="postgresql+asyncpg")
        yield in_threads("psycopg", url, scopes)
        yield asyncio.run(in_tasks("psycopg, asyncio", url, scopes))
        yield asyncio.run(in_tasks("asyncpg", asyncpg.render_as_string(False), scopes))
    with MariaDBServer() as server:
        server.create_database("flat")
        url = _prepared(server.url("flat"))
        yield in_threads("pymysql", url, scopes)
        yield asyncio.run(in_tasks("asyncmy", url, scopes))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="hermetic-flat-") as made:
        for line in _told(Path(made), int(sys.argv[1]) if len(sys.argv) > 1 else 10_000):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
