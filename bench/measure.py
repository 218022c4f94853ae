"""Taking turns, and what the turns tell.

The contenders of one case do their work by turns in one process, A B C, B C A and so on, so that
whatever slows the machine down slows all of them. A round is one turn of each, begun by another
contender than the round before. Ratios are made inside a round, and their median over all rounds is
what is reported.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Prepared:
    """A turn with something to do before its clock starts; the turn is given what that gave."""

    prepare: Callable[[int], Any]
    turn: Callable[[int, Any], None]


class Crowd:
    """A turn of many workers at once, which notes how long each unit took, in microseconds."""

    def __init__(self, turn: Callable[[int, list[float]], Any]) -> None:
        self._turn = turn
        self.latencies: list[float] = []

    def __call__(self, count: int) -> Any:
        self.latencies = []
        return self._turn(count, self.latencies)


SyncTurn = Callable[[int], None] | Prepared | Crowd
AsyncTurn = Callable[[int], Awaitable[None]] | Crowd


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to measure.

    :param turn_seconds: how long one turn should last; ``least`` units are done in any case.
    :param warm_up: units that each contender does before the first round.
    """

    turn_seconds: float
    rounds: int
    warm_up: int
    least: int = 5


@dataclass(slots=True)
class Series:
    """Microseconds for one unit of work, one figure for each turn; ``p99`` of crowds alone.

    What is counted has its ``count`` instead, and nothing else.
    """

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    count: list[float] = field(default_factory=list)

    def add(self, other: Series) -> None:
        self.wall += other.wall
        self.cpu += other.cpu
        self.p99 += other.p99

    def divided(self, rows: int) -> Series:
        """The times of one row of a unit's many."""
        wall, cpu = ([each / rows for each in times] for times in (self.wall, self.cpu))
        return Series(wall, cpu, self.p99, self.count)

    def kinds(self) -> dict[str, list[float]]:
        """The figures there are, by what they measure."""
        found = {"wall": self.wall, "cpu": self.cpu, "p99": self.p99, "count": self.count}
        return {name: figures for name, figures in found.items() if figures}


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of pairwise ratios, and the quartiles around it."""

    median: float
    low: float
    high: float


def ratio(of: list[float], to: list[float]) -> Ratio:
    """How ``of`` compares with ``to``, round by round."""
    pairs = [mine / theirs for mine, theirs in zip(of, to, strict=True)]
    if len(pairs) == 1:
        return Ratio(pairs[0], pairs[0], pairs[0])
    low, median, high = statistics.quantiles(pairs, n=4)
    return Ratio(median, low, high)


def measure(turns: dict[str, SyncTurn], plan: Plan) -> dict[str, Series]:
    """Measure contenders of the world of threads; a turn does its work so many times."""
    counts = {}
    for name, turn in turns.items():
        _timed(turn, plan.warm_up)
        counts[name] = _count(_timed(turn, plan.warm_up), plan)
    found = {name: Series() for name in turns}
    _settle()
    try:
        for number in range(plan.rounds):
            for name in _order(turns, number):
                found[name].add(_timed(turns[name], counts[name]))
    finally:
        gc.unfreeze()
    return found


async def measure_async(turns: dict[str, AsyncTurn], plan: Plan) -> dict[str, Series]:
    """As ``measure``, in the running loop. The time that the loop takes is part of the work."""
    counts = {}
    for name, turn in turns.items():
        await _timed_async(turn, plan.warm_up)
        counts[name] = _count(await _timed_async(turn, plan.warm_up), plan)
    found = {name: Series() for name in turns}
    _settle()
    try:
        for number in range(plan.rounds):
            for name in _order(turns, number):
                found[name].add(await _timed_async(turns[name], counts[name]))
    finally:
        gc.unfreeze()
    return found


def _order(turns: Iterable[str], number: int) -> list[str]:
    """Who comes when in a round: nobody is always the first."""
    names = list(turns)
    first = number % len(names)
    return names[first:] + names[:first]


def _count(warm: Series, plan: Plan) -> int:
    """How often a turn does its work, so that the turns of all contenders last equally long."""
    return max(plan.least, round(plan.turn_seconds * 1e6 / warm.wall[0]))


def _settle() -> None:
    """Have the collection before each turn walk only what the turns themselves left."""
    gc.collect()
    gc.freeze()


def _timed(turn: SyncTurn, count: int) -> Series:
    if isinstance(turn, Prepared):
        made = turn.prepare(count)
        gc.collect()
        cpu, wall = time.process_time(), time.perf_counter()
        turn.turn(count, made)
        return _per_unit(wall, cpu, count)
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    turn(count)
    return _noted(turn, _per_unit(wall, cpu, count))


async def _timed_async(turn: AsyncTurn, count: int) -> Series:
    gc.collect()
    # whatever was left to do for the contender before is done before the clock starts
    await asyncio.sleep(0)
    cpu, wall = time.process_time(), time.perf_counter()
    await turn(count)
    return _noted(turn, _per_unit(wall, cpu, count))


def _per_unit(wall: float, cpu: float, count: int) -> Series:
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    # the clock of the CPU is coarser than the other
    return Series([wall / count * 1e6], [max(cpu, 1e-6) / count * 1e6])


def _noted(turn: SyncTurn | AsyncTurn, series: Series) -> Series:
    if isinstance(turn, Crowd):
        series.p99 = [statistics.quantiles(turn.latencies, n=100)[98]]
    return series
