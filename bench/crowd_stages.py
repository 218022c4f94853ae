"""PostgreSQL with more workers than connections: everyone's pool has ten, and none to spare."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from typing import Any

from sqlalchemy import URL, create_engine
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import sessionmaker

from bench import peers
from bench.contenders import HERMETIC, RAW, SQLALCHEMY, AsyncWorks, SyncWorks
from bench.crowds import POOL, tasks
from bench.crowds import THREADS as WORKERS
from bench.crowds import threads as crowd
from bench.entity import COLUMNS, Sizes, declare, fill
from bench.libpq import arguments, asyncpg_arguments
from bench.works import TASKS, THREADS
from hermetic import Database

_LIMITS = {"pool_size": POOL, "max_overflow": 0}
_SELECT = f"SELECT id, {COLUMNS} FROM bench_users WHERE id = "


@contextmanager
def threads(url: URL, sizes: Sizes) -> Iterator[dict[str, SyncWorks]]:
    """psycopg; the raw driver's pool is psycopg_pool."""
    url = url.set(drivername="postgresql+psycopg")
    with ExitStack() as stack:
        engine = create_engine(url, **_LIMITS)
        stack.callback(engine.dispose)
        fill(engine, sizes)
        executor = stack.enter_context(ThreadPoolExecutor(WORKERS))
        db = stack.enter_context(Database(url, pool_size=POOL))
        maker = sessionmaker(engine, expire_on_commit=False)
        found = {
            RAW: crowd(_raw_unit(stack, url, sizes), executor),
            SQLALCHEMY: crowd(_unit(maker.begin, sizes), executor),
            HERMETIC: crowd(_unit(db.session, sizes), executor),
            **stack.enter_context(peers.crowds(url, sizes, executor)),
        }
        yield {name: {THREADS: turn} for name, turn in found.items()}


def _unit(begin: Any, sizes: Sizes) -> Callable[[int], None]:
    user = declare().user

    def unit(number: int) -> None:
        with begin() as session:
            session.get(user, 1 + number % sizes.small)

    return unit


def _raw_unit(stack: ExitStack, url: URL, sizes: Sizes) -> Callable[[int], None]:
    from psycopg_pool import ConnectionPool

    pool = stack.enter_context(
        ConnectionPool(kwargs=arguments(url), min_size=POOL, max_size=POOL, open=True)
    )

    def unit(number: int) -> None:
        with pool.connection() as connection:
            connection.execute(_SELECT + "%s", (1 + number % sizes.small,)).fetchone()

    return unit


@asynccontextmanager
async def asyncio(url: URL, sizes: Sizes) -> AsyncIterator[dict[str, AsyncWorks]]:
    """asyncpg; the raw driver's pool is its own."""
    with ExitStack() as filling:
        filler = create_engine(url.set(drivername="postgresql+psycopg"))
        filling.callback(filler.dispose)
        fill(filler, sizes)
    url = url.set(drivername="postgresql+asyncpg")
    async with AsyncExitStack() as stack:
        engine = create_async_engine(url, **_LIMITS)
        stack.push_async_callback(engine.dispose)
        db = await stack.enter_async_context(Database(url, pool_size=POOL))
        maker = async_sessionmaker(engine, expire_on_commit=False)
        found = {
            RAW: tasks(await _async_raw_unit(stack, url, sizes)),
            SQLALCHEMY: tasks(_async_unit(maker.begin, sizes)),
            HERMETIC: tasks(_async_unit(db.session, sizes)),
            **await stack.enter_async_context(peers.async_crowds(url, sizes)),
        }
        yield {name: {TASKS: turn} for name, turn in found.items()}


def _async_unit(begin: Any, sizes: Sizes) -> Callable[[int], Awaitable[None]]:
    user = declare().user

    async def unit(number: int) -> None:
        async with begin() as session:
            await session.get(user, 1 + number % sizes.small)

    return unit


async def _async_raw_unit(
    stack: AsyncExitStack, url: URL, sizes: Sizes
) -> Callable[[int], Awaitable[None]]:
    import asyncpg

    made: Any = asyncpg.create_pool(min_size=POOL, max_size=POOL, **asyncpg_arguments(url))
    pool: Any = await stack.enter_async_context(made)

    async def unit(number: int) -> None:
        async with pool.acquire() as connection, connection.transaction():
            await connection.fetchrow(_SELECT + "$1", 1 + number % sizes.small)

    return unit
