"""Looking at the servers of a Database that has replicas, now and then, one thread for each.

The threads begin with the first scope that could go to a replica, and end when there has been none
for a while; until then they keep a Database that nobody closed. Each has one connection of its own,
beside all pools.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, PoolProxiedConnection
from sqlalchemy.util import greenlet_spawn

from .clock import monotonic
from .dialects.classify import classify
from .dialects.drivers import url_for
from .dialects.positions import Sight
from .engine import Server
from .errors import MissingDriver
from .execution import disarm, known, watch
from .faults import FaultKind
from .pool import connecting_until
from .registry import describe_error

if TYPE_CHECKING:
    from .routes import Routes
    from .routing import ServerState

logger = logging.getLogger("hermetic")

# seconds after the last scope for which somebody looks on
_AWAKE = 30.0
# between two looks at threads that are about to end
_MOMENT = 0.005
# of connect_timeout, what one look may take; of that, what a connection that is there may take
_PART, _ANSWER = 0.8, 0.4
# what says that nobody is there
_SILENT = frozenset({FaultKind.CONNECTION_LOST, FaultKind.CANNOT_CONNECT})


class Probing:
    """The threads that look at the servers of one Database."""

    def __init__(self, routes: Routes) -> None:
        self._routes = weakref.ref(routes)
        self._lock = threading.Lock()
        self._probes: list[Probe] = []
        self.touched = 0.0
        self.closed = False

    def touch(self, now: float) -> None:
        """Somebody wants to know."""
        if now - self.touched < _AWAKE / 2 or self.closed:
            return
        with self._lock:
            self.touched = now
            routes = self._routes()
            if routes is None or self.closed:
                return
            self._probes = [probe for probe in self._probes if probe.thread.is_alive()]
            watched = {probe.state for probe in self._probes}
            for state, server in routes.servers():
                if state not in watched:
                    self._probes.append(Probe(self._routes, server, state))

    def is_wanted(self) -> bool:
        return not self.closed and monotonic() - self.touched < _AWAKE

    def end(self, seconds: float) -> None:
        """Have them end, and wait for that, for a bounded time: one may be in a connect."""
        self._stop()
        until = monotonic() + seconds
        for probe in self._probes:
            probe.thread.join(max(0.0, until - monotonic()))

    async def aend(self, seconds: float) -> None:
        """As ``end``, under asyncio."""
        self._stop()
        until = monotonic() + seconds
        while monotonic() < until and any(  # noqa: ASYNC110 - they are threads
            probe.thread.is_alive() for probe in self._probes
        ):
            await asyncio.sleep(_MOMENT)

    def _stop(self) -> None:
        with self._lock:
            self.closed = True
        for probe in self._probes:
            probe.end()

    def start_anew(self) -> list[object]:
        """In a forked child: the threads are the parent's.

        :return: what nobody may collect here.
        """
        self._lock = threading.Lock()
        probes, self._probes = self._probes, []
        self.touched = 0.0
        return list(probes)


class Probe:
    """Looks at one server, in a thread of its own."""

    def __init__(self, routes: weakref.ref[Routes], server: Server, state: ServerState) -> None:
        self._routes = routes
        self._server = server
        self.state = state
        self._connection: PoolProxiedConnection | None = None
        self._engine: Engine | None = None
        self._awake = threading.Event()
        self._ended = False
        name = f"hermetic-probe {state.name}"
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.thread.start()

    def end(self) -> None:
        self._ended = True
        self._awake.set()

    # ------------------------------------------------------------ its thread

    def _run(self) -> None:
        try:
            url_for(self._server.url, asynchronous=False)
        except MissingDriver:
            # no driver for threads: a loop of its own, for one of asyncio
            with asyncio.Runner() as runner:
                self._look_on(lambda work: runner.run(_bridged(work)), asynchronous=True)
        else:
            self._look_on(lambda work: work(), asynchronous=False)

    def _look_on(self, call: Callable[[Callable[[], Any]], Any], *, asynchronous: bool) -> None:
        try:
            while not self._ended:
                pause = self._step(lambda: call(lambda: self._look(asynchronous)))
                if pause is None:
                    break
                self._awake.wait(pause)
        finally:
            call(self._close)

    def _step(self, look: Callable[[], Sight]) -> float | None:
        """Look once; seconds until the next look, or ``None`` when nobody wants to know."""
        routes = self._routes()
        if routes is None or not routes.probing.is_wanted():
            return None
        try:
            sight = look()
        except Exception as error:
            if self._ended or self._server.closed:
                return None
            fault = classify(error, family=self._server.family.name)
            routes.failed(self.state, describe_error(error))
            if not self.state.primary and fault is not None and fault.kind in _SILENT:
                self._server.cut_statements()
            if self.state.primary:
                return routes.options.probe_every
            return max(0.0, self.state.ejected_until - monotonic())
        routes.seen(self.state, sight)
        return routes.options.probe_every * random.uniform(0.9, 1.1)

    def _look(self, asynchronous: bool) -> Sight:
        now = monotonic()
        within = self._server.options.connect_timeout * _PART
        if self._connection is not None:
            with contextlib.suppress(Exception):
                sight = self._ask(now + within * _ANSWER)
                if not (self.state.primary and sight.standby):
                    return sight
            # gone, or no primary any more: where there are several hosts, another one is
            self._close()
        bound = connecting_until.set(now + within)
        try:
            self._engine = self._server.engine_apart(asynchronous=asynchronous, probe=True)
            self._connection = self._engine.raw_connection()
        finally:
            connecting_until.reset(bound)
        return self._ask(now + within)

    def _ask(self, until: float) -> Sight:
        connection, engine = self._connection, self._engine
        assert connection is not None
        assert engine is not None
        record = known(connection)
        if record is None:
            return self._server.family.sight(connection.dbapi_connection, engine.dialect)
        record.returned = None
        watch(record, until)
        try:
            return self._server.family.sight(connection.dbapi_connection, engine.dialect)
        finally:
            disarm(record)
            record.returned = monotonic()  # nobody's, until the next look

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()


async def _bridged(work: Callable[[], Any]) -> Any:
    return await greenlet_spawn(work)
