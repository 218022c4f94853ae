"""One reader for many: who asks for what another one is reading already waits for that."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy.util import await_only

from ..clock import monotonic
from ..registry import Scope


class Filling:
    """One read that is under way."""

    __slots__ = ("_waiters", "done", "entry", "scope")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.done = False
        self.entry: Any = None
        self._waiters: list[Callable[[], None]] = []

    def finish(self, entry: Any) -> None:
        """Wake who waits; under the lock of the table that it was in, or out of it by then."""
        self.entry = entry
        self.done = True
        for wake in self._waiters:
            wake()

    def may_be_waited_for(self, scope: Scope) -> bool:
        """Whether it can come to its end while this scope waits.

        Who holds a connection must not wait for somebody who may be waiting for one.
        """
        return scope.connection is None or self.scope.connection is not None

    def wait(self, scope: Scope, seconds: float, lock: threading.Lock) -> None:
        """Wait until it is done, for so long, and for no longer than the scope's deadline."""
        if scope.deadline is not None:
            seconds = min(seconds, scope.deadline - monotonic())
        if seconds <= 0:
            return
        if scope.asynchronous:
            self._wait_in_loop(seconds, lock)
            return
        event = threading.Event()
        with lock:
            if self.done:
                return
            self._waiters.append(event.set)
        event.wait(seconds)

    def _wait_in_loop(self, seconds: float, lock: threading.Lock) -> None:
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            # it may be closed by now, and the others are to be woken all the same
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(settle, woken)

        with lock:
            if self.done:
                return
            self._waiters.append(wake)
        await_only(asyncio.wait((woken,), timeout=seconds))


def settle(future: asyncio.Future[None]) -> None:
    """Wake who waits for a future, where that has not happened."""
    if not future.done():
        future.set_result(None)
