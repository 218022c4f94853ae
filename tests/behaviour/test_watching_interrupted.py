"""An interrupt that strikes while a connection is watched, or let go, leaves nobody to shut it."""

from __future__ import annotations

import heapq
import threading
import time
from types import SimpleNamespace
from typing import Any

from hermetic.execution import disarm, watch
from hermetic.watchdog import watchdog
from tests.behaviour.striking import Strike, strikes
from tests.worlds import PATIENCE


class Line:
    """A connection, as far as a watchdog goes."""

    def __init__(self) -> None:
        self.alarm: Any = None
        self.at_rest = False
        self.family = SimpleNamespace(embedded=True)
        self.shut = 0

    def break_off(self) -> None:
        self.shut += 1


def all_fired() -> None:
    """Wait until every alarm that is due has had its turn."""
    fired = threading.Event()
    watchdog.arm(time.monotonic(), fired.set)
    assert fired.wait(PATIENCE)


def cleared() -> None:
    """Throw out what is called off, as the watchdog does by itself once it is much: each time that
    were struck at one more step, without an end.
    """
    with watchdog._lock:
        watchdog._heap = [entry for entry in watchdog._heap if entry[2].pending]
        heapq.heapify(watchdog._heap)
        watchdog._idle = 0


def test_no_alarm_is_left_behind_that_would_shut_the_next_ones_connection() -> None:
    lines: list[Any] = []
    # its thread is there: Thread.start() of CPython's own has places where no interrupt may strike
    all_fired()
    cleared()

    def borrowed(strike: Strike) -> None:
        line: Any = Line()
        lines.append(line)
        with strike:
            watch(line, time.monotonic() + 3600)
            disarm(line)

    for strike in strikes(borrowed):
        line = lines[-1]
        # as at its return, whatever struck; then the next one has it, when the time has come
        disarm(line)
        for when, _, alarm in list(watchdog._heap):
            if when > time.monotonic() + 1800:
                alarm.fire()
        assert line.shut == 0, strike.where
        cleared()


def test_a_connection_is_shut_at_its_deadline() -> None:
    line: Any = Line()

    watch(line, time.monotonic())
    all_fired()

    assert line.shut >= 1
    disarm(line)
