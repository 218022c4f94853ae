"""Upkeep of idle connections: too old, idle for too long, too few; and a sign of life.

The pools of threads have one thread for the process, which is there while something is to be done;
those of asyncio have a timer in their loop, and a task for as long as there is work. Neither keeps
a Database or a loop alive. Whatever upkeep does with a connection it does with a place at the gate,
so that the bound holds; where there is none it comes again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import weakref
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.util import greenlet_spawn

from .clock import monotonic
from .connecting import Connecting
from .connection import ConnectionRecord
from .execution import KEY, disarm, watch
from .gate import Gate
from .options import DatabaseOptions
from .pool import IdleStack
from .registry import Registry
from .watchdog import Alarm, Watchdog

logger = logging.getLogger("hermetic")

# seconds: between two looks at the least, and while something is missing or too much
_SHORTEST, _SOON = 0.05, 1.0
# how long a connection has for a sign of life
_PING_SECONDS = 1.0

_TESTED = "hermetic.tested"

_clock = Watchdog("hermetic-upkeep", enough=0)
os.register_at_fork(after_in_child=_clock.start_anew)


class Upkeep:
    """Of the pool of one engine."""

    def __init__(
        self,
        engine: Engine,
        gate: Gate,
        connecting: Connecting,
        options: DatabaseOptions,
        registry: Registry,
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        self._engine = weakref.ref(engine)
        self._gate = gate
        self._connecting = connecting
        self._options = options
        self._registry = registry
        self._loop = None if loop is None else weakref.ref(loop)
        self._at = math.inf
        self._alarm: Alarm | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None
        self.closed = False
        # how long after a birth there may be something to do for the first time
        after = [options.pool_idle, options.keepalive, _SOON if options.pool_min else None]
        self._first = min((each for each in after if each is not None), default=math.inf)

    # ------------------------------------------------------------ when

    def born(self) -> None:
        """A connection was made: by its thread, or in its loop."""
        if self._first < math.inf:
            self._look_at(monotonic() + self._first)

    def nudge(self) -> None:
        """Look now, where there may be something to do; from any thread."""
        engine = self._engine()
        pool = None if engine is None else engine.pool
        missing = len(self._living()) < self._wanted()
        if not isinstance(pool, IdleStack) or not (pool.idle or missing):
            return
        if self._loop is None:
            self._look_at(monotonic())
            return
        loop = self._loop()
        if loop is not None and not self.closed:
            with contextlib.suppress(RuntimeError):  # it was closed
                loop.call_soon_threadsafe(self._look_at, monotonic())

    def start_anew(self) -> None:
        """In a forked child: nothing is scheduled there."""
        self._at, self._alarm, self._timer, self.task = math.inf, None, None, None

    def stop(self) -> None:
        """Do nothing any more; what is under way goes on to its end."""
        self.closed = True
        self._call_off()

    async def end(self, within: float) -> None:
        """``stop``, in its loop: what is under way has some seconds, and is cancelled then."""
        self.stop()
        task = self.task
        if task is not None:
            await asyncio.wait((task,), timeout=within)
            task.cancel()

    def _look_at(self, when: float) -> None:
        if self.closed or when >= self._at:
            return
        self._call_off()
        self._at = when
        if self._loop is None:
            self._alarm = _clock.arm(when, _weakly(self))
            return
        loop = self._loop()
        if loop is not None and not loop.is_closed():
            delay = max(0.0, when - monotonic())
            self._timer = loop.call_later(delay, _weakly(self))

    def _call_off(self) -> None:
        alarm, self._alarm = self._alarm, None
        timer, self._timer = self._timer, None
        self._at = math.inf
        if alarm is not None:
            alarm.call_off()
        if timer is not None and self._is_here():
            timer.cancel()

    def _is_here(self) -> bool:
        loop = None if self._loop is None else self._loop()
        return loop is not None and asyncio._get_running_loop() is loop

    def due(self) -> None:
        """The moment has come: by the thread, or in the loop."""
        self._at, self._alarm, self._timer = math.inf, None, None
        if self.closed:
            return
        if self._loop is None:
            self._look()
        elif self.task is None and self._moment(monotonic()) <= monotonic():
            self.task = asyncio.get_running_loop().create_task(
                self._look_async(), name="hermetic-upkeep"
            )
        else:
            self._look_at(self._moment(monotonic()))

    async def _look_async(self) -> None:
        try:
            await greenlet_spawn(self._look)
        finally:
            self.task = None
            self._plan()

    def _look(self) -> None:
        try:
            self.tend()
        except Exception:
            logger.exception("the upkeep of pool %r failed", self._gate.name)
        if self._loop is None:
            self._plan()

    def _plan(self) -> None:
        now = monotonic()
        self._look_at(max(self._moment(now), now + _SHORTEST))

    def _moment(self, now: float) -> float:
        """When there is something to do next."""
        options, living = self._options, self._living()
        if len(living) < self._wanted() or len(living) > self._gate.limit:
            return now + _SOON if self._gate.lent >= self._gate.limit else self._resting(now)
        moments = [math.inf]
        for connection in living:
            returned = connection.returned
            if returned is None:
                moments.append(now + self._first)
                continue
            moments.append(-math.inf if connection.retired else connection.expires)
            if options.pool_idle is not None and len(living) > self._wanted():
                moments.append(returned + options.pool_idle)
            if options.keepalive is not None:
                moments.append(_last_sign(connection) + options.keepalive)
        return min(moments)

    def _resting(self, now: float) -> float:
        """Not before the pause after a failed connect is over."""
        connects = self._connecting.connects
        return now if connects is None or not connects.failures else max(now, connects.until)

    # ------------------------------------------------------------ what

    def tend(self) -> None:
        """Do what is due now."""
        engine = self._engine()
        pool = None if engine is None else engine.pool
        if not isinstance(pool, IdleStack) or self._connecting.closed():
            return
        now = monotonic()
        for record in pool.take_idle(lambda known: known.retired or now > known.expires):
            pool.destroy(record)
        self._close_surplus(pool, now)
        if self._options.keepalive is not None:
            self._keep_alive(pool, now, self._options.keepalive)
        dialect: Any = pool._dialect
        with contextlib.suppress(dialect.loaded_dbapi.Error):
            self.fill(pool, self._wanted())

    def fill(self, pool: IdleStack, count: int, *, patient: bool = False) -> int:
        """Connect until there are so many, or no place is free; how many there are.

        :param patient: wait for the pause after a failed connect.
        """
        while (living := len(self._living())) < count and not self.closed:
            now = monotonic()
            if not patient and self._resting(now) > now:
                break
            ticket = self._gate.enter_if_free(self, self._label, now)
            if ticket is None:
                break
            try:
                record = self._connecting.make([], pool._counted)
                if record is not None:
                    known = record.info.get(KEY)
                    if known is not None:
                        known.returned = monotonic()
                    pool.idle.insert(0, record)
            finally:
                self._gate.leave(ticket, monotonic())
        return living

    def _wanted(self) -> int:
        return min(self._options.pool_min, self._gate.limit)

    def _living(self) -> list[ConnectionRecord]:
        engine = self._engine()
        return [each for each in list(self._registry.connections.values()) if each.engine is engine]

    def _close_surplus(self, pool: IdleStack, now: float) -> None:
        """The longest idle ones first."""
        living = len(self._living())
        above = living - self._gate.limit
        idle = self._options.pool_idle
        rested = living - self._wanted()

        def wanted(known: ConnectionRecord) -> bool:
            nonlocal above, rested
            long_idle = idle is not None and known.returned is not None
            long_idle = long_idle and now - known.returned >= idle  # type: ignore[operator]
            if above > 0 or (long_idle and rested > 0):
                above -= 1
                rested -= 1
                return True
            return False

        for record in pool.take_idle(wanted):
            pool.destroy(record)

    def _keep_alive(self, pool: IdleStack, now: float, every: float) -> None:
        """Use each connection that was still for so long, so that nobody between takes it for
        dead.
        """
        still = [r for r in list(pool.idle) if _is_still(r, now, every)]
        for record in still:
            ticket = self._gate.enter_if_free(self, self._label, monotonic())
            if ticket is None:
                return
            try:
                for taken in pool.take_idle(lambda known, r=record: known is r.info.get(KEY)):  # type: ignore[misc]
                    answers = False
                    try:
                        answers = self._answers(taken, pool)
                    finally:
                        if answers:
                            taken.record_info[_TESTED] = monotonic()
                            pool.idle.insert(0, taken)
                        else:
                            pool.destroy(taken)
            finally:
                self._gate.leave(ticket, monotonic())

    def _answers(self, record: Any, pool: IdleStack) -> bool:
        known = record.info[KEY]
        watch(known, monotonic() + _PING_SECONDS)
        dialect: Any = pool._dialect
        try:
            return bool(dialect.do_ping(record.dbapi_connection))
        except dialect.loaded_dbapi.Error:
            return False
        finally:
            disarm(known)

    def _label(self) -> str:
        return "the pool's upkeep"


def _weakly(upkeep: Upkeep) -> Any:
    """What calls it if it is still there: a timer keeps nothing."""
    reference = weakref.ref(upkeep)

    def call() -> None:
        found = reference()
        if found is not None:
            found.due()

    return call


def _last_sign(connection: ConnectionRecord) -> float:
    """When a connection was last heard of."""
    record: Any = None if connection.pool_record is None else connection.pool_record()
    tested = None if record is None else record.record_info.get(_TESTED)
    return max(connection.returned or connection.born, tested or 0.0)


def _is_still(record: Any, now: float, every: float) -> bool:
    known = record.info.get(KEY)
    return known is not None and now - _last_sign(known) >= every
