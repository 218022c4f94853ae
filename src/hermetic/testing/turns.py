"""Whose turn it is on a sandbox's one connection, in the way of each world."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from types import TracebackType
from typing import Any, Protocol

from sqlalchemy.util import await_only

from ..pool import TaskWaker, ThreadWaker
from .errors import SandboxBusy


class Turn(Protocol):
    """A lock around each call of the driver, and what makes somebody wait for longer."""

    sandbox: str

    def __enter__(self) -> object: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def is_mine(self) -> bool: ...

    def waker(self) -> Any: ...


class ThreadTurn:
    """Of threads."""

    def __init__(self) -> None:
        self.sandbox = ""
        self._lock = threading.Lock()
        self._holder = 0

    def __enter__(self) -> None:
        if self.is_mine():
            raise SandboxBusy(
                f"The one connection of sandbox {self.sandbox!r} is in the midst of a statement of "
                "this same thread.",
                sandbox=self.sandbox,
                hint="A signal handler that interrupts a statement cannot send another one.",
            )
        self._lock.acquire()
        self._holder = threading.get_ident()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._holder = 0
        self._lock.release()

    def is_mine(self) -> bool:
        """Whether the caller has it already: a collector runs in anybody's midst."""
        return self._holder == threading.get_ident()

    def waker(self) -> ThreadWaker:
        """What a thread waits by until somebody calls it."""
        return ThreadWaker()


class TaskTurn:
    """Of the tasks of one loop, on SQLAlchemy's bridge: it is entered with ``with`` there."""

    def __init__(self) -> None:
        self.sandbox = ""
        self._taken = False
        self._line: deque[asyncio.Future[None]] = deque()

    def __enter__(self) -> None:
        if not self._taken:
            self._taken = True
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(place)
        try:
            await_only(place)
        except BaseException:
            if place.done() and not place.cancelled():
                self._pass_on()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        while self._line:
            place = self._line.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._taken = False

    def is_mine(self) -> bool:
        """Never: what is collected sends nothing under asyncio."""
        return False

    def waker(self) -> TaskWaker:
        """What a task waits by until somebody calls it."""
        return TaskWaker()
