"""Signals that raise, held back while a COMMIT is on the wire.

A Python signal handler runs in the main thread between two bytecodes, so a KeyboardInterrupt, or
the SystemExit of a SIGTERM handler, can strike between a COMMIT and the record that it succeeded.
Inside ``HeldBack`` such handlers are put aside and run once, afterwards.
"""

from __future__ import annotations

import importlib
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

# the module underneath signal, whose functions turn every number into an enum member and back
_signal = importlib.import_module("_signal")

_RAISING = tuple(
    int(getattr(signal, name))
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGQUIT")
    if hasattr(signal, name)
)
main_thread = threading.main_thread().ident


class HeldBack:
    """A block in which every Python signal handler waits. They run in the main thread alone.

    :param on_insistence: called at a second SIGINT, to put a bound on the wait.
    """

    __slots__ = ("_frames", "_handlers", "_insisted", "_on_insistence")

    def __init__(self, on_insistence: Callable[[], object]) -> None:
        self._on_insistence = on_insistence
        self._insisted = False
        self._handlers: dict[int, Any] = {}
        self._frames: dict[int, FrameType | None] = {}

    def __enter__(self) -> None:
        try:
            for number in _RAISING:
                handler = _signal.getsignal(number)
                if callable(handler):
                    self._handlers[number] = handler
                    _signal.signal(number, self._hold)
        except BaseException:
            # a signal that is not held back yet: those that are must not stay so
            self.__exit__()
            raise

    def __exit__(self, *exc_info: object) -> None:
        for number, handler in self._handlers.items():
            _signal.signal(number, handler)
        struck: BaseException | None = None
        for number, frame in self._frames.items():
            # every handler runs; what the first one raises goes to whoever called COMMIT, which has
            # its answer by now
            try:
                self._handlers[number](number, frame)
            except BaseException as error:
                struck = struck or error
        if struck is not None:
            raise struck

    def _hold(self, number: int, frame: FrameType | None) -> None:
        if number in self._frames and number == signal.SIGINT and not self._insisted:
            # Ctrl-C for the second time: somebody does not want to wait any longer
            self._insisted = True
            self._on_insistence()
        self._frames.setdefault(number, frame)
