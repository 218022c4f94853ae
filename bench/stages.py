"""The stages on which contenders meet: one driver on one database, set up alike for all of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass

from sqlalchemy import URL

from bench import crowd_stages, postgresql_stages, sqlite_stages, wire_stages
from bench.contenders import AsyncWorks, SyncWorks
from bench.entity import Sizes
from bench.works import COUNTED_MEMORY, COUNTED_TRIPS, MANY, ONE, TASKS, THREADS

_THREADS = (*ONE, *MANY, *COUNTED_MEMORY)


@dataclass(frozen=True, slots=True)
class SyncStage:
    """A driver of the world of threads; ``open`` gives the turns by contender and work."""

    name: str
    database: str
    works: tuple[str, ...]
    open: Callable[[URL, Sizes], AbstractContextManager[dict[str, SyncWorks]]]


@dataclass(frozen=True, slots=True)
class AsyncStage:
    """A driver of the world of asyncio."""

    name: str
    database: str
    works: tuple[str, ...]
    open: Callable[[URL, Sizes], AbstractAsyncContextManager[dict[str, AsyncWorks]]]


STAGES: tuple[SyncStage | AsyncStage, ...] = (
    SyncStage("sqlite", "sqlite", _THREADS, sqlite_stages.threads),
    AsyncStage("aiosqlite", "sqlite", ONE, sqlite_stages.asyncio),
    SyncStage("psycopg", "postgresql", _THREADS, postgresql_stages.threads),
    AsyncStage("psycopg_async", "postgresql", ONE, postgresql_stages.asyncio_psycopg),
    AsyncStage("asyncpg", "postgresql", ONE, postgresql_stages.asyncio_asyncpg),
    SyncStage("psycopg_pool", "postgresql", (THREADS,), crowd_stages.threads),
    AsyncStage("asyncpg_pool", "postgresql", (TASKS,), crowd_stages.asyncio),
    SyncStage("psycopg_wire", "postgresql", COUNTED_TRIPS, wire_stages.psycopg),
    AsyncStage("asyncpg_wire", "postgresql", COUNTED_TRIPS, wire_stages.asyncpg),
    SyncStage("pymysql_wire", "mariadb", COUNTED_TRIPS, wire_stages.pymysql),
)
