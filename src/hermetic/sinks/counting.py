"""What is counted of scopes, by their names: a bounded number of names, and never less than before.

Pure but for a lock; what the figures are told to is another module's.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

from ..watching.sink import ScopeView, Sink

# what is counted of scopes by any further name, of errors by any further class
OTHER = "other"
_ERRORS = 50

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(slots=True)
class Spread:
    """How many durations were in each bucket, the last of which has no end; and their sum."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def add(self, seconds: float) -> None:
        self.counts[bisect.bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    def copy(self) -> Spread:
        return Spread(self.bounds, list(self.counts), self.total)

    def cumulative(self) -> list[tuple[str, float]]:
        """How many were not longer than each bound, as Prometheus has it."""
        found, so_far = [], 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            so_far += count
            found.append(("+Inf" if bound == float("inf") else repr(bound), float(so_far)))
        return found


@dataclass(slots=True)
class Named:
    """The scopes of one name."""

    seconds: Spread
    outcomes: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    statements: int = 0
    rows: int = 0
    round_trips: int = 0
    working: float = 0.0
    retries: int = 0

    def copy(self) -> Named:
        return Named(
            self.seconds.copy(),
            dict(self.outcomes),
            dict(self.errors),
            self.statements,
            self.rows,
            self.round_trips,
            self.working,
            self.retries,
        )


class Counts(Sink):
    """Counts the scopes of one Database. Whoever ends a scope counts it.

    :param names: how many names are told apart; scopes of further ones are counted as ``other``.
    """

    def __init__(self, names: int, bounds: tuple[float, ...] = BUCKETS) -> None:
        self._most = names
        self._bounds = bounds
        self.forked()

    def forked(self) -> None:
        # a signal handler may end a scope of its own while its thread counts another
        self._lock = RLock()
        self._names: dict[str, Named] = {}
        self._waits = Spread(self._bounds)

    def ended(self, scope: ScopeView, note: Any) -> None:
        outcome, error = scope.outcome, scope.error
        how = "none" if outcome is None else outcome.name.lower()
        with self._lock:
            named = self._named(scope.name)
            named.seconds.add(scope.seconds)
            named.outcomes[how] = named.outcomes.get(how, 0) + 1
            named.statements += scope.statements
            named.rows += scope.rows
            named.round_trips += scope.round_trips or 0
            named.working += scope.working
            if error is not None:
                known = error in named.errors or len(named.errors) < _ERRORS
                named.errors[error if known else OTHER] = (
                    named.errors.get(error if known else OTHER, 0) + 1
                )
            if scope.attempt > 1:
                named.retries += 1
            if scope.statements:
                self._waits.add(scope.waited)

    def _named(self, name: str) -> Named:
        found = self._names.get(name)
        if found is None:
            if len(self._names) >= self._most:
                name = OTHER
            found = self._names.setdefault(name, Named(Spread(self._bounds)))
        return found

    def waits(self) -> Spread:
        """How long those that sent something were in line for a place in the pool."""
        with self._lock:
            return self._waits.copy()

    def by_name(self) -> Iterator[tuple[str, Named]]:
        """What was counted until now."""
        with self._lock:
            found = [(name, named.copy()) for name, named in self._names.items()]
        yield from found
