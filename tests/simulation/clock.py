"""Virtual time, and an event loop that lives in it.

``install`` must run before hermetic is imported: its modules take its clock once.
"""

from __future__ import annotations

import asyncio
import selectors
import sys
import time
from types import ModuleType
from typing import Any


class Clock:
    """Seconds that pass only while everybody waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1_700_000_000.0 + self.now

    def sleep(self, seconds: Any) -> None:
        self.now += seconds


CLOCK = Clock()


def install() -> None:
    """Have everything in this process that asks for the time ask the clock."""
    time.monotonic = CLOCK.monotonic
    time.time = CLOCK.wall
    time.sleep = CLOCK.sleep
    # hermetic's own, which no function in the place of another one reaches
    own: Any = ModuleType("hermetic.clock")
    own.monotonic = CLOCK.monotonic
    own.monotonic_ns = lambda: int(CLOCK.now * 1e9)
    sys.modules[own.__name__] = own


class Standstill(AssertionError):
    """Every task waits for something that nothing will bring about."""


class _Waiting(selectors.SelectSelector):
    """No file is ever ready; to wait is to let the time pass."""

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise Standstill("every task waits, and no timer is set")
        CLOCK.now += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose timers come due as soon as nothing else is left to do."""

    def __init__(self) -> None:
        super().__init__(_Waiting())

    def time(self) -> float:
        return CLOCK.now
