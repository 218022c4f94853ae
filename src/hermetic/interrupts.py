"""Signals that raise, held back while a COMMIT is on the wire.

A Python signal handler runs in the main thread between two bytecodes, so a KeyboardInterrupt, or
the SystemExit of a SIGTERM handler, can strike between a COMMIT and the record that it succeeded.
Inside ``held_back`` such handlers are put aside and run once, afterwards.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

_RAISING = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGQUIT")
    if hasattr(signal, name)
)
_main = threading.main_thread()


@contextlib.contextmanager
def held_back(on_signal: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold back every Python signal handler; outside the main thread there is nothing to hold.

    :param on_signal: called at the first signal held back, to put a bound on the wait for the rest.
    """
    if threading.current_thread() is not _main:
        yield
        return
    held: list[tuple[int, FrameType | None]] = []

    def hold(number: int, frame: FrameType | None) -> None:
        if not held and on_signal is not None:
            on_signal()
        held.append((number, frame))

    replaced: list[tuple[int, Any]] = []
    try:
        for number in _RAISING:
            handler = signal.getsignal(number)
            if callable(handler):
                replaced.append((number, handler))
                signal.signal(number, hold)
        yield
    finally:
        for number, handler in replaced:
            signal.signal(number, handler)
        handlers = dict(replaced)
        for number in dict.fromkeys(number for number, _ in held):
            # what a handler raises goes to whoever called COMMIT, which has its answer by now
            handlers[number](number, next(frame for n, frame in held if n == number))
