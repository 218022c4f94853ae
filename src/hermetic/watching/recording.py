"""``db.record()``: the scopes and statements of a block, for tests."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from types import TracebackType
from typing import Any

from ..registry import Registry
from ..seen import SeenScope, Step, Watch
from ..trace import Trace
from .telling import seen, seen_open
from .watcher import Watcher

# statements of one scope that a record keeps
_STEPS = 10_000
# how much of a statement a message shows
_WIDTH = 100

_lock = threading.Lock()


class Record:
    """What the scopes of a Database did while the block ran, in every thread and task.

    It can be read inside the block and after it. Statements of sessions outside any scope are not
    in it.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._traces: deque[Trace] = deque()
        self._open: tuple[SeenScope, ...] = ()
        self._inside = False
        # of a scope that was open before: statements that are not the block's
        self._before: dict[int, int] = {}

    def __enter__(self) -> Record:
        registry = self._registry
        with _lock:
            if registry.watch is None:
                quiet = Watch(keep=0, steps=_STEPS, repeats=1_000_000, chatty=1_000_000)
                registry.watch = Watcher(registry, quiet, looks=False)
            watcher: Watcher = registry.watch
            watcher.recorders = (*watcher.recorders, self._traces)
        for scope in list(registry.scopes.values()):
            if scope.root is not scope:
                continue
            if scope.trace is None:
                watcher.opened(scope)
            self._before[scope.number] = scope.trace.statements
        self._inside = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open = self._still_open()
        self._inside = False
        registry = self._registry
        with _lock:
            watcher: Watcher = registry.watch
            watcher.recorders = tuple(
                each for each in watcher.recorders if each is not self._traces
            )
            if not watcher.recorders and not watcher.looks:
                registry.watch = None

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
        now = time.monotonic()
        scopes = [each for each in list(self._registry.scopes.values()) if each.trace is not None]
        return tuple(self._cut(seen_open(scope, now)) for scope in scopes)

    def _cut(self, scope: SeenScope) -> SeenScope:
        before = self._before.get(scope.number, 0)
        if not before:
            return scope
        values: dict[str, Any] = {name: getattr(scope, name) for name in scope.__slots__}
        values |= {"steps": scope.steps[before:], "statements": scope.statements - before}
        return SeenScope(**values)

    def assert_statements(
        self, *, max: int | None = None, min: int | None = None, exactly: int | None = None
    ) -> None:
        """Check how many statements there were.

        :raises AssertionError: more or fewer; it lists them, equal ones together.
        """
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
