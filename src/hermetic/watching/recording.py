"""``db.record()``: the scopes and statements of a block, for tests."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import replace
from types import TracebackType

from ..clock import monotonic
from ..errors import ConfigurationError
from ..registry import Registry
from ..seen import SeenScope, Step
from ..trace import Trace
from .attaching import change
from .telling import seen, seen_open
from .watcher import RECORDED, Watcher

# how much of a statement a message shows
_WIDTH = 100


class Record:
    """What the scopes of a Database did while the block ran, in every thread and task.

    It can be read inside the block and after it. Statements of sessions outside any scope, and
    savepoints, are not in it.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._traces: deque[Trace] = deque()
        self._open: tuple[SeenScope, ...] = ()
        self._inside = False
        # of scopes that were open before: statements, steps, rows and round trips that are not the
        # block's
        self._before: dict[int, tuple[int, int, int, int]] = {}

    def __enter__(self) -> Record:
        registry = self._registry
        watcher = change(registry, self._begin)
        self._inside = True
        for scope in list(registry.scopes.values()):
            if scope.root is not scope:
                continue
            if scope.trace is None:
                watcher.opened(scope)
            trace = scope.trace
            if trace is not None:
                trace.kept = max(trace.kept, len(trace.steps) + RECORDED)
                steps = len(trace.steps)
                before = trace.statements, steps, trace.rows, trace.round_trips
                self._before[scope.number] = before
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        registry = self._registry
        try:
            self._open = self._still_open()
        finally:
            self._inside = False
            change(registry, self._end)

    def _begin(self, watcher: Watcher) -> None:
        watcher.recorders = (*watcher.recorders, self._traces)

    def _end(self, watcher: Watcher) -> None:
        watcher.recorders = tuple(each for each in watcher.recorders if each is not self._traces)

    def __repr__(self) -> str:
        return f"<Record of {self._registry.name!r}: {len(self.statements)} statements>"

    @property
    def scopes(self) -> tuple[SeenScope, ...]:
        """Those that ended in the block, and then those that were open at its end."""
        return tuple(self._cut(seen(trace)) for trace in list(self._traces)) + (
            self._still_open() if self._inside else self._open
        )

    @property
    def statements(self) -> tuple[Step, ...]:
        """Every statement, scope by scope."""
        return tuple(step for scope in self.scopes for step in scope.steps)

    def _still_open(self) -> tuple[SeenScope, ...]:
        now = monotonic()
        told = (seen_open(scope, now) for scope in list(self._registry.scopes.values()))
        return tuple(self._cut(each) for each in told if each is not None)

    def _cut(self, scope: SeenScope) -> SeenScope:
        statements, steps, rows, trips = self._before.get(scope.number, (0, 0, 0, 0))
        if not statements:
            return scope
        return replace(
            scope,
            steps=scope.steps[steps:],
            statements=scope.statements - statements,
            rows=scope.rows - rows,
            round_trips=None if scope.round_trips is None else scope.round_trips - trips,
        )

    def assert_statements(
        self, *, max: int | None = None, min: int | None = None, exactly: int | None = None
    ) -> None:
        """Check how many statements there were.

        :raises AssertionError: more or fewer; it lists them, equal ones together.
        :raises ConfigurationError: no limit was given.
        """
        if max is None and min is None and exactly is None:
            raise ConfigurationError(
                "assert_statements() was given no limit.", hint="Give max=, min= or exactly=."
            )
        count = sum(scope.statements for scope in self.scopes)
        if exactly is not None and count != exactly:
            raise AssertionError(self._listed(count, f"exactly {exactly}"))
        if max is not None and count > max:
            raise AssertionError(self._listed(count, f"at most {max}"))
        if min is not None and count < min:
            raise AssertionError(self._listed(count, f"at least {min}"))

    def _listed(self, count: int, wanted: str) -> str:
        lines = [f"{count} statements, where {wanted} were expected:"]
        for scope in self.scopes:
            lines.append(f"  {scope.ref}: {scope.statements}")
            for text, times in Counter(step.statement for step in scope.steps).items():
                shown = " ".join(text.split())
                if len(shown) > _WIDTH:
                    shown = shown[: _WIDTH - 1] + "…"
                lines.append(f"    {times} x {shown}")
        return "\n".join(lines)


class Expected:
    """A block that may send so many statements: ``db.assert_statements(max=3)``."""

    def __init__(self, registry: Registry, limits: dict[str, int | None]) -> None:
        self._record = Record(registry)
        self._limits = limits

    def __enter__(self) -> Record:
        return self._record.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._record.__exit__(kind, error, trace)
        if error is None:
            self._record.assert_statements(**self._limits)
