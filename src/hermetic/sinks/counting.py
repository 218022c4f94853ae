"""What is counted of scopes, by their names: a bounded number of names, and never less than before.

Pure but for a lock; what the figures are told to is another module's.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from threading import RLock
from typing import Any

from ..errors import Outcome
from ..trace import Trace
from ..watching.sink import ScopeView, Sink

# what is counted of scopes by any further name, of errors by any further class
OTHER = "other"
_ERRORS = 50
# scopes that wait to be counted, at most, before whoever ends the next one does it
_PENDING = 200

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


_COMMITTED, _NOT_COMMITTED = Outcome.COMMITTED, Outcome.NOT_COMMITTED


def _word_of(outcome: Outcome | None) -> str:
    # the name of a member of an Enum takes its time
    if outcome is _COMMITTED:
        return "committed"
    if outcome is None:
        return "none"
    return "not_committed" if outcome is _NOT_COMMITTED else "unknown"


class Spread:
    """How many durations were in each bucket, the last of which has no end; and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(
        self, bounds: tuple[float, ...], counts: list[int] | None = None, total: float = 0.0
    ) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1) if counts is None else counts
        self.total = total

    def add(self, seconds: float) -> None:
        """One more."""
        at = bisect_left(self.bounds, seconds)
        self.counts[at] += 1
        self.total += seconds

    def copy(self) -> Spread:
        """The same as it is now."""
        return Spread(self.bounds, list(self.counts), self.total)

    def cumulative(self) -> list[tuple[str, float]]:
        """How many were not longer than each bound, as Prometheus has it."""
        found, so_far = [], 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            so_far += count
            found.append(("+Inf" if bound == float("inf") else repr(bound), float(so_far)))
        return found


class Named:
    """The scopes of one name."""

    __slots__ = (
        "errors",
        "outcomes",
        "retries",
        "round_trips",
        "rows",
        "seconds",
        "statements",
        "working",
    )

    def __init__(self, seconds: Spread) -> None:
        self.seconds = seconds
        self.outcomes: dict[str, int] = {}
        self.errors: dict[str, int] = {}
        self.statements = 0
        self.rows = 0
        self.round_trips = 0
        self.working = 0.0
        self.retries = 0

    def copy(self) -> Named:
        """The same as it is now."""
        found = Named(self.seconds.copy())
        found.outcomes.update(self.outcomes)
        found.errors.update(self.errors)
        found.statements, found.rows = self.statements, self.rows
        found.round_trips, found.working = self.round_trips, self.working
        found.retries = self.retries
        return found

    def add(self, trace: Trace) -> None:
        """One more."""
        self.seconds.add(trace.seconds)
        how = _word_of(trace.outcome)
        self.outcomes[how] = self.outcomes.get(how, 0) + 1
        self.statements += trace.statements
        self.rows += trace.rows
        if not trace.uncounted:
            self.round_trips += trace.round_trips
        self.working += trace.working
        error = trace.error
        if error is not None:
            if error not in self.errors and len(self.errors) >= _ERRORS:
                error = OTHER
            self.errors[error] = self.errors.get(error, 0) + 1
        if trace.attempt > 1:
            self.retries += 1


def _count(pending: deque[Trace], names: dict[str, Named], waits: Spread, most: int) -> None:
    """Count all that wait to be counted.

    :param most: how many names are told apart.
    """
    while pending:
        trace = pending.popleft()
        name = trace.name or trace.place.function
        named = names.get(name)
        if named is None:
            if len(names) >= most:
                name = OTHER
            named = names.setdefault(name, Named(Spread(waits.bounds)))
        named.add(trace)
        if trace.statements:
            waits.add(trace.waited)


class Counts(Sink):
    """Counts the scopes of one Database, some at a time: when somebody asks, or when many wait.

    :param names: how many names are told apart; scopes of further ones are counted as ``other``.
    """

    def __init__(self, names: int, bounds: tuple[float, ...] = BUCKETS) -> None:
        self._most = names
        self._bounds = bounds
        self.forked()

    def forked(self) -> None:
        # a signal handler may end a scope of its own while its thread counts another
        self._lock = RLock()
        self._pending: deque[Trace] = deque()
        self._names: dict[str, Named] = {}
        self._waits = Spread(self._bounds)

    def ended(self, scope: ScopeView, note: Any) -> None:
        self._pending.append(scope._trace)
        if len(self._pending) > _PENDING:
            self._count()

    def _count(self) -> None:
        with self._lock:
            _count(self._pending, self._names, self._waits, self._most)

    def waits(self) -> Spread:
        """How long those that sent something were in line for a place in the pool."""
        with self._lock:
            self._count()
            return self._waits.copy()

    def by_name(self) -> Iterator[tuple[str, Named]]:
        """What was counted until now."""
        with self._lock:
            self._count()
            found = [(name, named.copy()) for name, named in self._names.items()]
        yield from found
