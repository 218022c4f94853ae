"""aiosqlite with the thread taken out: its work is done on the virtual loop, later, or fails.

Everything of aiosqlite's but the thread and its queue is aiosqlite's own, and SQLite is SQLite. The
queue gives every call a latency and, by the seed, one of the faults that SQLite has: a full disk,
an error of the file, which may roll the transaction back by itself, and in the middle of a COMMIT
leaves it applied or not; a lock held by another process; and a call that takes very long, which an
interrupt ends.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import Any

import aiosqlite.core

_FULL, _IOERR, _BUSY, _INTERRUPT, _CANTOPEN = 13, 10, 5, 9, 14
_TEXTS = {
    _FULL: "database or disk is full",
    _IOERR: "disk I/O error",
    _BUSY: "database is locked",
    _INTERRUPT: "interrupted",
    _CANTOPEN: "unable to open database file",
}


class Faults:
    """How often which fault strikes, and how many have. ``rates`` are parts of all calls."""

    def __init__(self, seed: str, **rates: float) -> None:
        self.chance = random.Random(seed)
        self.rates = {"full": 0.004, "ioerr": 0.004, "busy": 0.004, "commit": 0.08, "slow": 0.004}
        self.rates.update(rates)
        self.count: Counter[str] = Counter()
        self.trace: list[str] = []

    def strikes(self, fault: str) -> bool:
        if self.chance.random() >= self.rates[fault]:
            return False
        self.count[fault] += 1
        return True

    def latency(self) -> float:
        return self.chance.expovariate(1 / 0.004)


FAULTS = Faults("")

_QUICK = frozenset({"create_function", "set_iso", "cursor", "close", "close_and_stop"})


def _error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(_TEXTS[code])
    error.sqlite_errorcode = code
    error.sqlite_errorname = "SQLITE_SIMULATED"
    return error


class _NoThread:
    def __init__(self, target: Any, args: tuple[Work]) -> None:
        pass

    def start(self) -> None:
        pass


class Work:
    """The queue of one connection: one call after another, each taking its time."""

    def __init__(self) -> None:
        self._calls: deque[tuple[Any, Callable[[], Any]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._interrupted = False
        self.connection: sqlite3.Connection | None = None

    def put_nowait(self, call: tuple[Any, Callable[[], Any]]) -> None:
        self._calls.append(call)
        if self._timer is None:
            self._next()

    def interrupt(self) -> None:
        """End the call that is under way, at once and with SQLite's error for it."""
        if self._timer is not None and not self._interrupted:
            self._interrupted = True
            self._timer.cancel()
            self._timer = asyncio.get_event_loop().call_later(0, self._done)

    def _next(self) -> None:
        seconds = FAULTS.latency()
        # to open a file is quick, and so is what does not touch it
        name = _name(self._calls[0][1])
        if self.connection is not None and name not in _QUICK and FAULTS.strikes("slow"):
            seconds += FAULTS.chance.uniform(0.5, 20.0)
        self._timer = asyncio.get_event_loop().call_later(seconds, self._done)

    def _done(self) -> None:
        self._timer = None
        future, function = self._calls.popleft()
        interrupted, self._interrupted = self._interrupted, False
        try:
            result = self._carried_out(function, interrupted)
        except BaseException as error:
            FAULTS.trace.append(f"{_name(function)}: {error}")
            if future is not None and not future.done():
                future.set_exception(error)
        else:
            FAULTS.trace.append(_name(function))
            if isinstance(result, sqlite3.Connection):
                self.connection = result
                WORKS[id(result)] = self
            if future is not None and not future.done():
                future.set_result(result)
        if self._calls and self._timer is None:
            self._next()

    def _carried_out(self, function: Callable[[], Any], interrupted: bool) -> Any:
        name = _name(function)
        if self.connection is None:
            if FAULTS.strikes("full"):
                raise _error(_CANTOPEN)
            return function()
        if name in ("close", "close_and_stop", "set_iso"):
            return function()
        open_before = self.connection.in_transaction
        if name == "commit" and open_before:
            return self._committed(function)
        if name == "rollback":
            return function()
        if interrupted:
            self._given_up()
            raise _error(_INTERRUPT)
        if FAULTS.strikes("busy"):
            raise _error(_BUSY)
        for fault, code in (("full", _FULL), ("ioerr", _IOERR)):
            if FAULTS.strikes(fault):
                self._given_up()
                raise _error(code)
        return function()

    def _committed(self, function: Callable[[], Any]) -> Any:
        """An error of the file in a COMMIT: the journal is gone by then, or is not."""
        if not FAULTS.strikes("commit"):
            return function()
        assert self.connection is not None
        how = FAULTS.chance.choice(["stands", "falls", "busy"])
        if how == "busy":
            raise _error(_BUSY)
        if how == "stands":
            function()
        else:
            self.connection.rollback()
        raise _error(_IOERR)

    def _given_up(self) -> None:
        """SQLite may roll back by itself."""
        connection = self.connection
        if connection is not None and connection.in_transaction and FAULTS.chance.random() < 0.5:
            connection.rollback()


# by the id of the sqlite3 connection, whose breaker interrupts it
WORKS: dict[int, Work] = {}


def _name(function: Any) -> str:
    inner = function.func if isinstance(function, partial) else function
    return str(getattr(inner, "__name__", inner))


def install() -> None:
    """Take the thread out of aiosqlite, and have interrupts end what is under way here."""
    from hermetic.dialects import sqlite as family

    core: Any = aiosqlite.core
    core.Thread = _NoThread
    core.SimpleQueue = Work

    class Interruptible(family._Tracked):
        def interrupt(self) -> None:
            work = WORKS.get(id(self))
            if work is not None:
                work.interrupt()

        def close(self) -> None:
            WORKS.pop(id(self), None)
            super().close()

    family._Tracked = Interruptible  # type: ignore[misc]
