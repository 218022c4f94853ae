"""The peers that are installed: other libraries that do the same work, in the same run."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from typing import Any

from sqlalchemy import URL

from bench.contenders import AsyncWorks, SyncWorks
from bench.entity import Sizes
from bench.measure import Crowd

_THREADS = ("peewee", "django")
_ASYNCIO = ("tortoise",)
MISSING: set[str] = set()


def _installed(names: tuple[str, ...]) -> list[Any]:
    found = []
    for name in names:
        try:
            found.append(importlib.import_module(f"bench.peer_{name}"))
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("bench"):
                raise
            MISSING.add(name)
    return found


@contextmanager
def threads(url: URL, sizes: Sizes, empty: Callable[[], None]) -> Iterator[dict[str, SyncWorks]]:
    """All works of one thread, by peer."""
    with ExitStack() as stack:
        yield {
            peer.NAME: stack.enter_context(peer.threads(url, sizes, empty))
            for peer in _installed(_THREADS)
            if url.get_backend_name() in peer.FAMILIES
        }


@contextmanager
def crowds(url: URL, sizes: Sizes, executor: ThreadPoolExecutor) -> Iterator[dict[str, Crowd]]:
    """Many threads on the pool of each peer."""
    with ExitStack() as stack:
        yield {
            peer.NAME: stack.enter_context(peer.crowd(url, sizes, executor))
            for peer in _installed(_THREADS)
        }


@asynccontextmanager
async def asyncio(url: URL, sizes: Sizes) -> AsyncIterator[dict[str, AsyncWorks]]:
    """The works of asyncio, by peer."""
    async with AsyncExitStack() as stack:
        yield {
            peer.NAME: await stack.enter_async_context(peer.asyncio(url, sizes))
            for peer in _installed(_ASYNCIO)
        }


@asynccontextmanager
async def async_crowds(url: URL, sizes: Sizes) -> AsyncIterator[dict[str, Crowd]]:
    """Many tasks on the pool of each peer."""
    async with AsyncExitStack() as stack:
        yield {
            peer.NAME: await stack.enter_async_context(peer.crowd(url, sizes))
            for peer in _installed(_ASYNCIO)
        }
