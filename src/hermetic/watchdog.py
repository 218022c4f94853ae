"""One thread that ends what overstays: statements past their deadline, cleanups that hang.

The thread starts with the first alarm and ends when there has been none for a while, so that a
process which sets no deadlines never has it.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import threading
from collections.abc import Callable
from sys import is_finalizing

from .clock import monotonic

logger = logging.getLogger("hermetic")

_IDLE_SECONDS = 5.0


class Alarm:
    """An action at a moment; again after as many seconds as it returns, unless that is ``None``.

    After ``cancel`` returned it does not run any more, nor is it running.
    """

    __slots__ = ("_action", "_cancelled", "_lock", "fired")

    def __init__(self, action: Callable[[], float | None], cancelled: Callable[[], None]) -> None:
        self._action: Callable[[], float | None] | None = action
        self._cancelled = cancelled
        self._lock = threading.RLock()
        self.fired = False

    def cancel(self) -> None:
        with self._lock:
            # dropped after the lock: what it kept alive may have finalizers
            action, self._action = self._action, None
        if action is not None:
            self._cancelled()

    def call_off(self) -> None:
        """As ``cancel``, without a wait for one that is running."""
        pending, self._action = self._action is not None, None
        if pending:
            self._cancelled()

    @property
    def pending(self) -> bool:
        return self._action is not None

    def fire(self) -> float | None:
        """:return: seconds until it is to fire again."""
        # under the lock: whoever cancels must be sure that the socket is not shut a moment later,
        # when it may be somebody else's. Actions are quick and never wait
        with self._lock:
            action, self._action = self._action, None
            again = None
            if action is not None:
                self.fired = True
                try:
                    again = action()
                except Exception:
                    logger.exception("a watchdog's action failed")
                if again is not None:
                    self._action = action
            return again


class Watchdog:
    """Fires alarms at their time.

    The condition guards the heap and the thread; nothing runs under it.

    :param enough: cancelled alarms that are not worth a clearing.
    """

    def __init__(self, name: str = "hermetic-watchdog", enough: int = 64) -> None:
        self._name = name
        self._enough = enough
        self.start_anew()

    def start_anew(self) -> None:
        # re-entrant: a signal handler or the collector may come here in the middle of it
        self._lock = threading.RLock()
        # entered by its lock, never by itself: an interrupt that struck at the end of the Python
        # function that enters a condition would leave the lock held for good
        self._condition = threading.Condition(self._lock)
        self._heap: list[tuple[float, int, Alarm]] = []
        self._numbers = itertools.count()
        self._idle = 0
        self._thread: threading.Thread | None = None

    def arm(self, when: float, action: Callable[[], float | None]) -> Alarm:
        """Run ``action`` at ``when`` (monotonic seconds) unless it is cancelled before."""
        alarm = self.alarm(action)
        self.start(alarm, when)
        return alarm

    def alarm(self, action: Callable[[], float | None]) -> Alarm:
        """One that waits to be started: for whoever has to have it before it may fire."""
        return Alarm(action, self._one_cancelled)

    def start(self, alarm: Alarm, when: float) -> None:
        """Have it fire at ``when`` (monotonic seconds) unless it is cancelled before."""
        if is_finalizing():
            # no thread runs any more that could fire it, and the interpreter may have stopped ours
            # where it had the lock
            return
        with self._lock:
            heapq.heappush(self._heap, (when, next(self._numbers), alarm))
            if self._thread is None:
                thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                # an interrupt in between: better two that run than one that is waited for in vain
                thread.start()
                self._thread = thread
            elif self._heap[0][2] is alarm:
                self._condition.notify()

    def _one_cancelled(self) -> None:
        """Throw the cancelled ones out once they are the most."""
        self._idle += 1
        if is_finalizing():
            return
        if self._idle > self._enough and self._idle * 2 > len(self._heap):
            with self._lock:
                self._heap = [entry for entry in self._heap if entry[2].pending]
                heapq.heapify(self._heap)
                self._idle = 0
                self._condition.notify()

    def _run(self) -> None:
        while True:
            alarm = self._next()
            if alarm is None:
                return
            again = alarm.fire()
            if again is not None:
                with self._lock:
                    when = monotonic() + again
                    heapq.heappush(self._heap, (when, next(self._numbers), alarm))

    def _next(self) -> Alarm | None:
        with self._lock:
            while True:
                if not self._heap:
                    if not self._condition.wait(_IDLE_SECONDS) and not self._heap:
                        self._thread = None
                        return None
                    continue
                remaining = self._heap[0][0] - monotonic()
                if remaining <= 0:
                    return heapq.heappop(self._heap)[2]
                self._condition.wait(remaining)


watchdog = Watchdog()


# a child has neither the thread nor any of the sockets that the alarms are about
os.register_at_fork(after_in_child=watchdog.start_anew)
