"""SQLite: every contender has the same file, and the transactions and pragmas of hermetic.

The pragmas are WAL, ``synchronous = full`` and foreign keys. A scope begins with a real ``BEGIN
IMMEDIATE``: hermetic sends it by itself, SQLAlchemy by the listeners that its documentation gives
for sqlite3. Read-only scopes are enforced by ``query_only``, on connections that have it from their
start, in SQLAlchemy's engine as in hermetic's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing, contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from bench import peers, raw_asyncio, raw_bulk, raw_threads, sessions
from bench.contenders import HERMETIC, RAW, SQLALCHEMY, AsyncWorks, SyncWorks
from bench.entity import Sizes, fill
from hermetic import Database

PRAGMAS = (
    "PRAGMA journal_mode = wal",
    "PRAGMA synchronous = full",
    "PRAGMA foreign_keys = on",
)


def _like_hermetic(engine: Engine, *, readonly: bool = False) -> None:
    """SQLAlchemy's documented way to real transactions on SQLite, and the same pragmas."""

    @event.listens_for(engine, "connect")
    def connect(dbapi: Any, _record: Any) -> None:
        dbapi.isolation_level = None
        cursor = dbapi.cursor()
        for pragma in (*PRAGMAS, f"PRAGMA query_only = {'on' if readonly else 'off'}"):
            cursor.execute(pragma)
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if readonly else "BEGIN IMMEDIATE")


@contextmanager
def threads(url: URL, sizes: Sizes) -> Iterator[dict[str, SyncWorks]]:
    """sqlite3."""
    with ExitStack() as stack:
        engine, reader = (_engine(stack, url, readonly=readonly) for readonly in (False, True))
        fill(engine, sizes)
        connection = stack.enter_context(closing(_connect(url)))
        db = stack.enter_context(Database(url))

        def empty() -> None:
            connection.execute("DELETE FROM bench_people")

        yield {
            RAW: _raw(connection, sizes, empty),
            SQLALCHEMY: sessions.sqlalchemy_threads(engine, reader, sizes, empty),
            HERMETIC: sessions.hermetic_threads(db, sizes, empty),
            **stack.enter_context(peers.threads(url, sizes, empty)),
        }


def _raw(connection: sqlite3.Connection, sizes: Sizes, empty: sessions.Empty) -> SyncWorks:
    begin = "BEGIN IMMEDIATE"
    return {
        **raw_threads.sqlite_reads(connection, sizes),
        **raw_threads.sqlite_writes(connection, sizes),
        **raw_bulk.load_turns(connection, begin),
        **raw_bulk.write_turns(connection, begin, "?", sizes, empty),
        **raw_bulk.relation_turns(connection, begin, "?", sizes),
    }


def _engine(stack: ExitStack, url: URL, *, readonly: bool) -> Engine:
    engine = create_engine(url)
    stack.callback(engine.dispose)
    _like_hermetic(engine, readonly=readonly)
    return engine


def _connect(url: URL) -> sqlite3.Connection:
    connection = sqlite3.connect(str(url.database), isolation_level=None)
    for pragma in PRAGMAS:
        connection.execute(pragma)
    return connection


@asynccontextmanager
async def asyncio(url: URL, sizes: Sizes) -> AsyncIterator[dict[str, AsyncWorks]]:
    """aiosqlite."""
    import aiosqlite

    with ExitStack() as filling:
        fill(_engine(filling, url, readonly=False), sizes)
    url = url.set(drivername="sqlite+aiosqlite")
    async with AsyncExitStack() as stack:
        engine, reader = (_async_engine(stack, url, readonly=no) for no in (False, True))
        connection = await stack.enter_async_context(
            aiosqlite.connect(str(url.database), isolation_level=None)
        )
        for pragma in PRAGMAS:
            await connection.execute_fetchall(pragma)
        db = await stack.enter_async_context(Database(url))
        yield {
            RAW: {
                **raw_asyncio.aiosqlite_reads(connection, sizes),
                **raw_asyncio.aiosqlite_writes(connection, sizes),
            },
            SQLALCHEMY: sessions.sqlalchemy_asyncio(engine, reader, sizes),
            HERMETIC: sessions.hermetic_asyncio(db, sizes),
            **await stack.enter_async_context(peers.asyncio(url, sizes)),
        }


def _async_engine(stack: AsyncExitStack, url: URL, *, readonly: bool) -> AsyncEngine:
    engine = create_async_engine(url)
    stack.push_async_callback(engine.dispose)
    _like_hermetic(engine.sync_engine, readonly=readonly)
    return engine
