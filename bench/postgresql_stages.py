"""PostgreSQL over its unix socket, with the transactions of the drivers.

Each engine keeps the pool class and size that it has by default. Read-only scopes are enforced by
``default_transaction_read_only``, on connections that have it from their start, in SQLAlchemy's
engine as in hermetic's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    closing,
    contextmanager,
)
from typing import Any

from sqlalchemy import URL, create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from bench import peers, raw_asyncio, raw_bulk, raw_threads, sessions
from bench.contenders import HERMETIC, RAW, SQLALCHEMY, AsyncWorks, SyncWorks
from bench.entity import Sizes, fill
from bench.libpq import arguments, asyncpg_arguments
from hermetic import Database

_READONLY = "default_transaction_read_only"


def libpq(url: URL) -> dict[str, Any]:
    """What psycopg's connect takes, from a SQLAlchemy URL."""
    arguments = {
        "dbname": url.database,
        "user": url.username,
        "password": url.password,
        "host": url.query.get("host", url.host),
        "port": url.query.get("port", url.port),
    }
    return {name: value for name, value in arguments.items() if value is not None}


@contextmanager
def threads(url: URL, sizes: Sizes) -> Iterator[dict[str, SyncWorks]]:
    """psycopg."""
    import psycopg

    url = url.set(drivername="postgresql+psycopg")
    with ExitStack() as stack:
        engine = create_engine(url)
        reader = create_engine(url, connect_args={"options": f"-c {_READONLY}=on"})
        for each in (engine, reader):
            stack.callback(each.dispose)
        fill(engine, sizes)
        connection = stack.enter_context(closing(psycopg.connect(**arguments(url))))
        alone = stack.enter_context(closing(psycopg.connect(**arguments(url), autocommit=True)))
        db = stack.enter_context(Database(url))

        def empty() -> None:
            alone.execute("TRUNCATE bench_people")

        yield {
            RAW: _raw(connection, alone, sizes, empty),
            SQLALCHEMY: sessions.sqlalchemy_threads(engine, reader, sizes, empty),
            HERMETIC: sessions.hermetic_threads(db, sizes, empty),
            **stack.enter_context(peers.threads(url, sizes, empty)),
        }


def _raw(connection: Any, alone: Any, sizes: Sizes, empty: sessions.Empty) -> SyncWorks:
    return {
        **raw_threads.psycopg_reads(connection, alone, sizes),
        **raw_threads.psycopg_writes(connection, sizes),
        **raw_bulk.load_turns(connection, ""),
        **raw_bulk.write_turns(connection, "", "%s", sizes, empty),
        **raw_bulk.relation_turns(connection, "", "%s", sizes),
    }


@asynccontextmanager
async def asyncio_psycopg(url: URL, sizes: Sizes) -> AsyncIterator[dict[str, AsyncWorks]]:
    """psycopg's asyncio side."""
    import psycopg

    url = url.set(drivername="postgresql+psycopg")
    connect = psycopg.AsyncConnection.connect
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(await connect(**arguments(url)))
        alone = await stack.enter_async_context(await connect(**arguments(url), autocommit=True))
        raw = {
            **raw_asyncio.psycopg_reads(connection, alone, sizes),
            **raw_asyncio.psycopg_writes(connection, sizes),
        }
        readonly = {"options": f"-c {_READONLY}=on"}
        yield await _asyncio(stack, url, sizes, raw, readonly)


@asynccontextmanager
async def asyncio_asyncpg(url: URL, sizes: Sizes) -> AsyncIterator[dict[str, AsyncWorks]]:
    """asyncpg."""
    import asyncpg

    url = url.set(drivername="postgresql+asyncpg")
    async with AsyncExitStack() as stack:
        connection: Any = await asyncpg.connect(**asyncpg_arguments(url))
        stack.push_async_callback(connection.close)
        raw = {
            **raw_asyncio.asyncpg_reads(connection, sizes),
            **raw_asyncio.asyncpg_writes(connection, sizes),
        }
        readonly = {"server_settings": {_READONLY: "on"}}
        yield await _asyncio(stack, url, sizes, raw, readonly)


async def _asyncio(
    stack: AsyncExitStack,
    url: URL,
    sizes: Sizes,
    raw: AsyncWorks,
    readonly: dict[str, Any],
) -> dict[str, AsyncWorks]:
    with ExitStack() as filling:
        filler = create_engine(url.set(drivername="postgresql+psycopg"))
        filling.callback(filler.dispose)
        fill(filler, sizes)
    engine = create_async_engine(url)
    reader = create_async_engine(url, connect_args=readonly)
    for each in (engine, reader):
        stack.push_async_callback(each.dispose)
    db = await stack.enter_async_context(Database(url))
    return {
        RAW: raw,
        SQLALCHEMY: sessions.sqlalchemy_asyncio(engine, reader, sizes),
        HERMETIC: sessions.hermetic_asyncio(db, sizes),
        **await stack.enter_async_context(peers.asyncio(url, sizes)),
    }
