"""Engines of one server: up to two for each world, a writer's and a reader's, made when first
needed.
"""

from __future__ import annotations

import asyncio
import math
import threading
from typing import Any

from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import (
    AsyncAdaptedQueuePool,
    QueuePool,
    SingletonThreadPool,
    StaticPool,
)

from .dialects.drivers import driver_of, family_of, url_for
from .errors import DatabaseClosed
from .fast.side import Side
from .gate import Gate
from .listeners import EngineWatch
from .options import DatabaseOptions
from .pool import Admission, gated
from .registry import Registry


class Server:
    """One server: its URL, its gates, and the engines that exist of it."""

    def __init__(self, url: URL, options: DatabaseOptions, registry: Registry) -> None:
        self.url = url
        self.options = options
        self.registry = registry
        self.family = family_of(url)
        self.closed = False
        registry.reads_apart = self.family.reads_apart(options)
        # guards the making of engines; making one does no I/O
        self._lock = threading.Lock()
        self._sync: dict[bool, Engine] = {}
        self.sides: dict[bool, Side] = {}
        self._async: dict[asyncio.AbstractEventLoop, dict[bool, AsyncEngine]] = {}
        self.async_sides: dict[asyncio.AbstractEventLoop | None, dict[bool, Side]] = {}
        self._gates = self._make_gates()
        self._anchor = self.family.anchor(url)
        self._admissions: list[Admission] = []
        # of a parent process: kept, so that no collector closes sockets that are not ours
        self._inherited: list[object] = []
        registry.after_fork = self._start_anew

    def _make_gates(self) -> dict[bool, Gate]:
        options = self.options
        name = self.registry.name
        shared = self.family.shares_one_connection(self.url)
        limit = self.family.writer_limit(self.url, options)
        if options.poolclass in (StaticPool, SingletonThreadPool):
            limit = 1  # they lend one connection to several at a time
        writer = Gate(name if shared else f"{name} writer", limit, options.max_waiting)
        self.registry.gates.append(writer)
        if shared or not self.family.has_readers:
            return {False: writer, True: writer}
        reader_limit = options.reader_pool_size or options.pool_size
        if options.poolclass in (StaticPool, SingletonThreadPool):
            reader_limit = 1
        reader = Gate(f"{name} reader", reader_limit, options.max_waiting)
        self.registry.gates.append(reader)
        return {False: writer, True: reader}

    # ------------------------------------------------------------ engines

    def engine(self, *, reader: bool) -> Engine:
        """The engine for threads."""
        found = self._sync.get(reader)
        if found is not None:
            return found
        with self._lock:
            self._check_open()
            found = self._sync.get(reader)
            if found is None:
                url = url_for(self.url, asynchronous=False)
                found = create_engine(url, **self._arguments(url, reader, asynchronous=False))
                self._outfit(found, url, reader, world="threads")
                self._sync[reader] = found
            return found

    def side(self, *, reader: bool) -> Side:
        """The engine for threads, with what the fast paths know of it."""
        found = self.sides.get(reader)
        if found is None:
            found = self._side(self.engine(reader=reader), reader, asynchronous=False)
            self.sides[reader] = found
        return found

    def async_side(self, *, reader: bool) -> tuple[AsyncEngine, Side]:
        """The engine for the running event loop, with what the fast paths know of it."""
        engine = self.async_engine(reader=reader)
        sides = self.async_sides.setdefault(asyncio.get_running_loop(), {})
        if reader not in sides:
            sides[reader] = self._side(engine.sync_engine, reader, asynchronous=True)
        return engine, sides[reader]

    def _side(self, engine: Engine, reader: bool, *, asynchronous: bool) -> Side:
        return Side(
            engine,
            self.family,
            driver_of(engine.url),
            self.options,
            reader=reader and self.family.has_readers,
            asynchronous=asynchronous,
        )

    def async_engine(self, *, reader: bool) -> AsyncEngine:
        """The engine for the running event loop. Its connections never meet another loop."""
        loop = asyncio.get_running_loop()
        engines = self._async.get(loop)
        if engines is not None and reader in engines:
            return engines[reader]
        self._sweep()
        with self._lock:
            self._check_open()
            engines = self._async.setdefault(loop, {})
            found = engines.get(reader)
            if found is None:
                url = url_for(self.url, asynchronous=True)
                found = create_async_engine(url, **self._arguments(url, reader, asynchronous=True))
                self._outfit(found.sync_engine, url, reader, world="asyncio")
                engines[reader] = found
            return found

    def _sweep(self) -> None:
        """Let the engines of loops go that were closed without ``await db.aclose()``."""
        with self._lock:
            closed = [loop for loop in self._async if loop.is_closed()]
            engines = [e for loop in closed for e in self._async.pop(loop).values()]
            for loop in closed:
                self.async_sides.pop(loop, None)
        for engine in engines:
            self._abandon_closed(engine)

    def _check_open(self) -> None:
        if self.closed:
            raise DatabaseClosed(
                f"Database {self.registry.name!r} is closed.", hint="Make a new Database."
            )

    def _arguments(self, url: URL, reader: bool, *, asynchronous: bool) -> dict[str, Any]:
        options = self.options
        settings = self.family.engine_settings(
            url, driver_of(url), options, reader=reader, asynchronous=asynchronous
        )
        base = options.poolclass or QueuePool
        if asynchronous and base is QueuePool:
            base = AsyncAdaptedQueuePool
        arguments: dict[str, Any] = {
            "poolclass": gated(base),
            "hide_parameters": options.hide_parameters,
            "echo": options.echo,
            "connect_args": {**settings.connect_args, **options.connect_args},
            "pool_recycle": math.ceil(options.pool_recycle),
            **settings.engine_args,
        }
        if issubclass(base, QueuePool):
            # the gate keeps the bound; the pool behind it only ever keeps what came back
            arguments |= {
                "pool_size": self._gates[reader].limit,
                "max_overflow": -1,
                "pool_use_lifo": True,
            }
        return {**arguments, **options.engine_options}

    def _outfit(self, engine: Engine, url: URL, reader: bool, *, world: str) -> None:
        pool: Any = engine.pool
        pool.admission = Admission(
            self._gates[reader],
            self.options.pool_timeout,
            asynchronous=world == "asyncio",
            reads_beside=self.family.reads_beside
            and not self.family.shares_one_connection(self.url),
        )
        self._admissions.append(pool.admission)
        EngineWatch(
            engine,
            self.family,
            driver_of(url),
            self.options,
            self.registry,
            reader=reader and self.family.has_readers,
            world=world,
        )

    # ------------------------------------------------------------ the end

    def close(self) -> None:
        """Close what threads opened, and cut what asyncio left behind in loops that no longer
        run.
        """
        self._shut()
        with self._lock:
            engines, self._sync, self.sides = list(self._sync.values()), {}, {}
            loops = list(self._async.items())
            self._async.clear()
            self.async_sides = {}
        for engine in engines:
            engine.dispose()
        for loop, async_engines in loops:
            for async_engine in async_engines.values():
                self._abandon(async_engine, loop)
        anchor, self._anchor = self._anchor, None
        if anchor is not None:
            anchor.close()

    async def aclose(self) -> None:
        """Close everything, the running loop's connections in good order."""
        self._shut()
        running = asyncio.get_running_loop()
        with self._lock:
            mine = self._async.pop(running, {})
            self.async_sides.pop(running, None)
        for async_engine in mine.values():
            try:
                async with asyncio.timeout(self.options.cleanup_timeout):
                    await async_engine.dispose()
            except TimeoutError:
                self._abandon_closed(async_engine)
        self.close()

    def _shut(self) -> None:
        self.closed = True
        for admission in self._admissions:
            admission.closed = True

    def _start_anew(self) -> None:
        """In a forked child: the parent's connections are not ours, not even to close."""
        self._lock = threading.Lock()
        for engine in self._sync.values():
            self._inherited.append(engine.pool)
            engine.dispose(close=False)
        self._inherited.append(list(self._async.items()))
        self._async = {}
        self.async_sides = {}
        for gate in self._gates.values():
            gate.start_anew()

    def async_in_use(self) -> bool:
        """Whether a loop that still runs has connections of this server."""
        return any(loop.is_running() and engines for loop, engines in list(self._async.items()))

    def _abandon(self, engine: AsyncEngine, loop: asyncio.AbstractEventLoop) -> None:
        """Let an asyncio engine go from outside its loop, where nobody can await a close."""
        if loop.is_running():
            loop.call_soon_threadsafe(lambda: loop.create_task(engine.dispose()))
            return
        self._abandon_closed(engine)

    def _abandon_closed(self, engine: AsyncEngine) -> None:
        engine.sync_engine.dispose(close=False)
        for connection in list(self.registry.connections.values()):
            if connection.engine is engine.sync_engine:
                self.registry.connections.pop(connection.number, None)
                connection.abandon()
