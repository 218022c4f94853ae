"""Servers behind a counting proxy: how many round trips a unit of work takes, once it is warm."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import replace
from typing import Any

from sqlalchemy import URL

from bench import mysql_stages, postgresql_stages
from bench.contenders import AsyncCounter, AsyncWorks, Counter, SyncWorks
from bench.entity import Sizes
from bench.wire import CountingProxy
from bench.works import INSERT, READONLY, TRIPS_READ, TRIPS_WRITE

# psycopg prepares a statement when it comes for the sixth time, with a trip of its own
_WARM, _UNITS = 10, 10
_COUNTED = {TRIPS_READ: READONLY, TRIPS_WRITE: INSERT}


@contextmanager
def _threads(
    stage: Callable[[URL, Sizes], AbstractContextManager[dict[str, SyncWorks]]],
    url: URL,
    sizes: Sizes,
) -> Iterator[dict[str, SyncWorks]]:
    with CountingProxy(url) as proxy, stage(proxy.url, _few(sizes)) as contenders:
        yield {
            name: {work: _counter(proxy, works[of]) for work, of in _COUNTED.items()}
            for name, works in contenders.items()
        }


@asynccontextmanager
async def _asyncio(
    stage: Callable[[URL, Sizes], AbstractAsyncContextManager[dict[str, AsyncWorks]]],
    url: URL,
    sizes: Sizes,
) -> AsyncIterator[dict[str, AsyncWorks]]:
    with CountingProxy(url) as proxy:
        async with stage(proxy.url, _few(sizes)) as contenders:
            yield {
                name: {work: _async_counter(proxy, works[of]) for work, of in _COUNTED.items()}
                for name, works in contenders.items()
            }


def psycopg(url: URL, sizes: Sizes) -> AbstractContextManager[dict[str, SyncWorks]]:
    return _threads(postgresql_stages.threads, url, sizes)


def asyncpg(url: URL, sizes: Sizes) -> AbstractAsyncContextManager[dict[str, AsyncWorks]]:
    return _asyncio(postgresql_stages.asyncio_asyncpg, url, sizes)


def pymysql(url: URL, sizes: Sizes) -> AbstractContextManager[dict[str, SyncWorks]]:
    return _threads(mysql_stages.threads, url, sizes)


def _few(sizes: Sizes) -> Sizes:
    return replace(sizes, rows=sizes.small, changed=1, parents=1)


def _counter(proxy: CountingProxy, turn: Any) -> Counter:
    def count() -> float:
        # the first units open connections, and prepare what is prepared
        turn(_WARM)
        before = proxy.trips
        turn(_UNITS)
        return (proxy.trips - before) / _UNITS

    return count


def _async_counter(proxy: CountingProxy, turn: Any) -> AsyncCounter:
    async def count() -> float:
        await turn(_WARM)
        before = proxy.trips
        await turn(_UNITS)
        return (proxy.trips - before) / _UNITS

    return count
