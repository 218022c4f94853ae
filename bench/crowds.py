"""Many workers at once on one pool: how many units they finish, and how long the slowest wait.

A unit is timed from before its scope is opened until after it has ended: the wait for a connection
is in it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from bench.measure import Crowd

THREADS, TASKS, POOL = 32, 500, 10


def _shares(count: int, workers: int) -> list[range]:
    """The numbers of the units that each worker does."""
    return [range(first, count, workers) for first in range(workers)]


def threads(unit: Callable[[int], None], executor: ThreadPoolExecutor) -> Crowd:
    """So many threads do the units; ``unit`` does one, with the given number."""

    def work(numbers: range) -> list[float]:
        taken = []
        for number in numbers:
            start = time.perf_counter()
            unit(number)
            taken.append((time.perf_counter() - start) * 1e6)
        return taken

    def turn(count: int, latencies: list[float]) -> None:
        for taken in executor.map(work, _shares(count, THREADS)):
            latencies += taken

    return Crowd(turn)


def tasks(unit: Callable[[int], Awaitable[None]]) -> Crowd:
    """As ``threads``, by tasks of the running loop."""

    async def work(numbers: range, latencies: list[float]) -> None:
        for number in numbers:
            start = time.perf_counter()
            await unit(number)
            latencies.append((time.perf_counter() - start) * 1e6)

    async def turn(count: int, latencies: list[float]) -> None:
        await asyncio.gather(*(work(numbers, latencies) for numbers in _shares(count, TASKS)))

    return Crowd(turn)
