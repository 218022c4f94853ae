"""What is thrown into a thread, held back while a COMMIT is on the wire.

A Python signal handler runs in the main thread between two bytecodes, so a KeyboardInterrupt, or
the SystemExit of a SIGTERM handler, can strike between a COMMIT and the record that it succeeded.
Inside ``HeldBack`` such handlers are put aside and run once, afterwards.

An exception that another thread sets (``PyThreadState_SetAsyncExc``) strikes in any thread, and
nobody can put it aside. ``out_of_reach`` does what it must not strike in a thread of its own.
"""

from __future__ import annotations

import importlib
import signal
import threading
from collections.abc import Callable
from contextvars import copy_context
from types import FrameType
from typing import Any, TypeVar

# the module underneath signal, whose functions turn every number into an enum member and back
_signal = importlib.import_module("_signal")

_RAISING = tuple(
    int(getattr(signal, name))
    for name in (
        *("SIGINT", "SIGTERM", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGQUIT"),
        "SIGRTMIN",  # RQ's workers of Heroku's
    )
    if hasattr(signal, name)
)
main_thread = threading.main_thread().ident

_R = TypeVar("_R")


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


class _Apart:
    """A call in a thread of its own, and whoever waits for it."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._context = copy_context()
        # who has it goes on: the thread, which calls, or a caller who was struck before
        self._turn, self._done = threading.Lock(), threading.Lock()
        self._done.acquire()
        self.answers: list[tuple[Any, BaseException | None]] = []

    def run(self) -> None:
        if not self.begin():
            return
        try:
            self.answers.append((self._context.run(self._function), None))
        except BaseException as error:
            self.answers.append((None, error))
        finally:
            self._done.release()

    def begin(self) -> bool:
        return self._turn.acquire(blocking=False)

    def wait(self) -> None:
        """Wait for the end, whatever strikes; the first of that is raised then."""
        try:
            if not self.answers:
                # one call of C: nothing strikes before it has returned
                self._done.acquire()
        except BaseException:
            self.wait()
            raise


def out_of_reach(function: Callable[[], _R]) -> _R:
    """Call a function in a thread of its own, in this one's context, and wait for it.

    What is thrown into the calling thread meanwhile is raised afterwards, in the place of its
    answer, or before it has begun.
    """
    call = _Apart(function)
    struck: BaseException | None = None
    try:
        threading.Thread(target=call.run, name="hermetic commit", daemon=True).start()
        call.wait()
    except BaseException as error:
        if call.begin():
            raise  # it will not be called
        call.wait()
        struck = error
    result, failed = call.answers[0]
    if struck is not None:
        struck.__context__ = failed
        raise struck
    if failed is not None:
        raise failed
    answer: _R = result
    return answer
