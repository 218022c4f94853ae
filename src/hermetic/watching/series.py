"""How long scopes took and how they ended, by name and over time. Pure: time is an argument."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import Any

from ..errors import Outcome

_COMMITTED, _NOT_COMMITTED, _UNKNOWN = Outcome.COMMITTED, Outcome.NOT_COMMITTED, Outcome.UNKNOWN

# microseconds; below, each has a bucket of its own, and above, each doubling has half as many
_EXACT = 16


def bucket_of(seconds: float) -> int:
    """The number of the bucket of a duration: what is in one differs by an eighth at most."""
    rest: Any = int(min(seconds, 1e9) * 1e6)
    shift = 0
    while rest >= 16:
        rest >>= 1
        shift += 1
    return shift * 8 + int(rest)


def upper_end(bucket: int) -> float:
    """The longest duration of a bucket, in seconds."""
    if bucket < _EXACT:
        return (bucket + 1) / 1e6
    shift = (bucket - 8) // 8
    return float(((bucket - shift * 8 + 1) << shift) / 1e6)


class Series:
    """Some scopes: how many, how they ended, how long they took (``seconds``), at what."""

    __slots__ = (
        "buckets",
        "committed",
        "count",
        "failed",
        "longest",
        "not_committed",
        "retried",
        "round_trips",
        "rows",
        "seconds",
        "statements",
        "unknown",
        "waited",
    )

    def __init__(self) -> None:
        self.count = 0
        self.committed = 0
        self.not_committed = 0
        self.unknown = 0
        self.failed = 0
        self.retried = 0
        self.statements = 0
        self.rows = 0
        self.round_trips = 0
        self.seconds = 0.0
        self.waited = 0.0
        self.longest = 0.0
        self.buckets: dict[int, int] = {}

    def add(
        self,
        seconds: float,
        outcome: Outcome | None,
        failed: bool = False,
        retried: bool = False,
        statements: int = 0,
        waited: float = 0.0,
        rows: int = 0,
        round_trips: int = 0,
    ) -> None:
        """One more."""
        self.count += 1
        if outcome is _COMMITTED:
            self.committed += 1
        elif outcome is _NOT_COMMITTED:
            self.not_committed += 1
        elif outcome is _UNKNOWN:
            self.unknown += 1
        if failed:
            self.failed += 1
        if retried:
            self.retried += 1
        self.statements += statements
        self.rows += rows
        self.round_trips += round_trips
        self.seconds += seconds
        self.waited += waited
        if seconds > self.longest:
            self.longest = seconds
        bucket = bucket_of(seconds)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1

    def merge(self, other: Series) -> None:
        """All of another one."""
        self.count += other.count
        self.committed += other.committed
        self.not_committed += other.not_committed
        self.unknown += other.unknown
        self.failed += other.failed
        self.retried += other.retried
        self.statements += other.statements
        self.rows += other.rows
        self.round_trips += other.round_trips
        self.seconds += other.seconds
        self.waited += other.waited
        self.longest = max(self.longest, other.longest)
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count

    def percentile(self, part: float) -> float:
        """Seconds that ``part`` (0 to 1) of them did not exceed, an eighth too high at most."""
        wanted = part * self.count
        seen = 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= wanted:
                return min(upper_end(bucket), self.longest)
        return self.longest


class Timeline:
    """Series of equal stretches of time, the last ``length`` of them; each ``width`` seconds."""

    __slots__ = ("_last", "_number", "_slots", "width")

    def __init__(self, width: float, length: int) -> None:
        self.width = width
        self._slots: deque[tuple[int, Series]] = deque(maxlen=length)
        self._number = -1
        self._last = Series()

    def at(self, moment: float) -> Series:
        """The series that a moment falls into; a moment before the last goes to the last."""
        number = int(moment / self.width)
        if number > self._number:
            self._number = number
            self._last = Series()
            self._slots.append((number, self._last))
        return self._last

    @property
    def last(self) -> int:
        """The number of the last stretch that had a scope."""
        return self._number

    def points(self, since: float) -> Iterator[tuple[float, Series]]:
        """The stretches that begin later, each with its beginning; those without scopes lack."""
        for number, series in list(self._slots):
            if number * self.width >= since:
                yield number * self.width, series

    def total(self, since: float = -math.inf) -> Series:
        """All of them as one."""
        found = Series()
        for _, series in self.points(since):
            found.merge(series)
        return found
