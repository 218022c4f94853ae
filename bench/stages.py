"""The stages on which contenders meet: one driver on one database, set up alike for all of them.

Each engine keeps the pool class and size it has by default. PostgreSQL is reached over its unix
socket. On SQLite every contender has the same file, WAL, ``synchronous = full`` and foreign keys
on, and begins with a real ``BEGIN IMMEDIATE``: hermetic sends it by itself, SQLAlchemy by the
listeners that its documentation gives for sqlite3.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.ext.asyncio import create_async_engine

from bench import raw, work
from bench.entity import fill
from bench.measure import AsyncTurn, SyncTurn
from hermetic import Database

RAW, SQLALCHEMY, HERMETIC = "raw driver", "SQLAlchemy", "hermetic"
SyncTurns = dict[str, dict[str, SyncTurn]]
AsyncTurns = dict[str, dict[str, AsyncTurn]]

_PRAGMAS = (
    "PRAGMA journal_mode = wal",
    "PRAGMA synchronous = full",
    "PRAGMA foreign_keys = on",
)


@dataclass(frozen=True, slots=True)
class SyncStage:
    """A driver of the world of threads; ``open`` gives the turns by contender and work."""

    name: str
    database: str
    open: Callable[[URL], AbstractContextManager[SyncTurns]]


@dataclass(frozen=True, slots=True)
class AsyncStage:
    """A driver of the world of asyncio."""

    name: str
    database: str
    open: Callable[[URL], AbstractAsyncContextManager[AsyncTurns]]


# ---------------------------------------------------------------- SQLite


def _like_hermetic(engine: Engine) -> None:
    """SQLAlchemy's documented way to real transactions on SQLite, and the same pragmas."""

    @event.listens_for(engine, "connect")
    def connect(dbapi: Any, _record: Any) -> None:
        dbapi.isolation_level = None
        cursor = dbapi.cursor()
        for pragma in _PRAGMAS:
            cursor.execute(pragma)
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextmanager
def _sqlite(url: URL) -> Iterator[SyncTurns]:
    engine = create_engine(url)
    _like_hermetic(engine)
    fill(engine)
    connection = sqlite3.connect(str(url.database), isolation_level=None)
    for pragma in _PRAGMAS:
        connection.execute(pragma)
    try:
        with Database(url) as db:
            yield {
                RAW: raw.sqlite_turns(connection),
                SQLALCHEMY: work.sqlalchemy_turns(engine),
                HERMETIC: work.hermetic_turns(db),
            }
    finally:
        connection.close()
        engine.dispose()


@asynccontextmanager
async def _aiosqlite(url: URL) -> AsyncIterator[AsyncTurns]:
    import aiosqlite

    url = url.set(drivername="sqlite+aiosqlite")
    filler = create_engine(url.set(drivername="sqlite"))
    fill(filler)
    filler.dispose()
    engine = create_async_engine(url)
    _like_hermetic(engine.sync_engine)
    connection = await aiosqlite.connect(str(url.database), isolation_level=None)
    try:
        for pragma in _PRAGMAS:
            await connection.execute_fetchall(pragma)
        async with Database(url) as db:
            yield {
                RAW: raw.aiosqlite_turns(connection),
                SQLALCHEMY: work.async_sqlalchemy_turns(engine),
                HERMETIC: work.async_hermetic_turns(db),
            }
    finally:
        await connection.close()
        await engine.dispose()


# ---------------------------------------------------------------- PostgreSQL


def _libpq(url: URL) -> dict[str, Any]:
    """What psycopg's and asyncpg's connect take, from a SQLAlchemy URL."""
    arguments = {
        "user": url.username,
        "password": url.password,
        "host": url.query.get("host", url.host),
        "port": url.query.get("port", url.port),
    }
    return {name: value for name, value in arguments.items() if value is not None}


@contextmanager
def _psycopg(url: URL) -> Iterator[SyncTurns]:
    import psycopg

    url = url.set(drivername="postgresql+psycopg")
    engine = create_engine(url)
    fill(engine)
    connection = psycopg.connect(dbname=url.database, **_libpq(url))
    try:
        with Database(url) as db:
            yield {
                RAW: raw.psycopg_turns(connection),
                SQLALCHEMY: work.sqlalchemy_turns(engine),
                HERMETIC: work.hermetic_turns(db),
            }
    finally:
        connection.close()
        engine.dispose()


@asynccontextmanager
async def _psycopg_async(url: URL) -> AsyncIterator[AsyncTurns]:
    import psycopg

    connection = await psycopg.AsyncConnection.connect(dbname=url.database, **_libpq(url))
    try:
        turns = raw.async_psycopg_turns(connection)
        async with _async_postgresql(url.set(drivername="postgresql+psycopg"), turns) as found:
            yield found
    finally:
        await connection.close()


@asynccontextmanager
async def _asyncpg(url: URL) -> AsyncIterator[AsyncTurns]:
    import asyncpg

    arguments = _libpq(url)
    if "port" in arguments:
        arguments["port"] = int(arguments["port"])
    connection: Any = await asyncpg.connect(database=url.database, **arguments)
    try:
        turns = raw.asyncpg_turns(connection)
        async with _async_postgresql(url.set(drivername="postgresql+asyncpg"), turns) as found:
            yield found
    finally:
        await connection.close()


@asynccontextmanager
async def _async_postgresql(url: URL, raw_turns: dict[str, AsyncTurn]) -> AsyncIterator[AsyncTurns]:
    filler = create_engine(url.set(drivername="postgresql+psycopg"))
    fill(filler)
    filler.dispose()
    engine = create_async_engine(url)
    try:
        async with Database(url) as db:
            yield {
                RAW: raw_turns,
                SQLALCHEMY: work.async_sqlalchemy_turns(engine),
                HERMETIC: work.async_hermetic_turns(db),
            }
    finally:
        await engine.dispose()


STAGES: tuple[SyncStage | AsyncStage, ...] = (
    SyncStage("sqlite", "sqlite", _sqlite),
    AsyncStage("aiosqlite", "sqlite", _aiosqlite),
    SyncStage("psycopg", "postgresql", _psycopg),
    AsyncStage("psycopg_async", "postgresql", _psycopg_async),
    AsyncStage("asyncpg", "postgresql", _asyncpg),
)
