"""Taking turns, and what the turns tell.

The contenders of one case do their work by turns in one process, A B C A B C and so on, so that
whatever slows the machine down slows all of them. A round is one turn of each. Ratios are made
inside a round, and their median over all rounds is what is reported.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

SyncTurn = Callable[[int], None]
AsyncTurn = Callable[[int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to measure: seconds that one turn should last, and how many rounds."""

    turn_seconds: float
    rounds: int
    warm_up: int


@dataclass(slots=True)
class Series:
    """Microseconds for one unit of work, one figure for each turn."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of pairwise ratios, and the quartiles around it."""

    median: float
    low: float
    high: float


def ratio(of: list[float], to: list[float]) -> Ratio:
    """How ``of`` compares with ``to``, round by round."""
    low, median, high = statistics.quantiles(
        [mine / theirs for mine, theirs in zip(of, to, strict=True)], n=4
    )
    return Ratio(median, low, high)


def measure(turns: dict[str, SyncTurn], plan: Plan) -> dict[str, Series]:
    """Measure contenders of the world of threads; a turn does its work so many times."""
    for turn in turns.values():
        turn(plan.warm_up)
    counts = {
        name: _count(_timed(turn, plan.warm_up).wall[0], plan) for name, turn in turns.items()
    }
    found = {name: Series() for name in turns}
    _settle()
    try:
        for _ in range(plan.rounds):
            for name, turn in turns.items():
                gc.collect()
                _add(found[name], _timed(turn, counts[name]))
    finally:
        gc.unfreeze()
    return found


async def measure_async(turns: dict[str, AsyncTurn], plan: Plan) -> dict[str, Series]:
    """As ``measure``, in the running loop. The time that the loop takes is part of the work."""
    for turn in turns.values():
        await turn(plan.warm_up)
    counts = {
        name: _count((await _timed_async(turn, plan.warm_up)).wall[0], plan)
        for name, turn in turns.items()
    }
    found = {name: Series() for name in turns}
    _settle()
    try:
        for _ in range(plan.rounds):
            for name, turn in turns.items():
                gc.collect()
                # whatever was left to do for the contender before is done before the clock starts
                await asyncio.sleep(0)
                _add(found[name], await _timed_async(turn, counts[name]))
    finally:
        gc.unfreeze()
    return found


def _count(microseconds: float, plan: Plan) -> int:
    """How often a turn does its work, so that the turns of all contenders last equally long."""
    return max(5, round(plan.turn_seconds * 1e6 / microseconds))


def _settle() -> None:
    """Have the collection before each turn walk only what the turns themselves left."""
    gc.collect()
    gc.freeze()


def _timed(turn: SyncTurn, count: int) -> Series:
    cpu, wall = time.process_time(), time.perf_counter()
    turn(count)
    return _per_unit(wall, cpu, count)


async def _timed_async(turn: AsyncTurn, count: int) -> Series:
    cpu, wall = time.process_time(), time.perf_counter()
    await turn(count)
    return _per_unit(wall, cpu, count)


def _per_unit(wall: float, cpu: float, count: int) -> Series:
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Series([wall / count * 1e6], [cpu / count * 1e6])


def _add(series: Series, one: Series) -> None:
    series.wall += one.wall
    series.cpu += one.cpu
