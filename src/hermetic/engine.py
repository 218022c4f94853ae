"""Engines of one server: up to two for each world, a writer's and a reader's, made when first
needed.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import (
    AsyncAdaptedQueuePool,
    NullPool,
    QueuePool,
    SingletonThreadPool,
    StaticPool,
)

from .brought import bring
from .clock import monotonic
from .connecting import Connecting
from .connects import Connects
from .dialects.drivers import driver_of, family_of, url_for
from .errors import DatabaseClosed
from .fast.side import Side
from .gate import Gate
from .generation import Generation
from .listeners import EngineWatch, role_name
from .options import DatabaseOptions
from .pool import Admission, IdleStack, gated
from .redaction import without_secrets
from .registry import Registry, Scope
from .resolver import Resolver
from .upkeep import Upkeep

bring()

# connections for asking what became of a COMMIT, at once
_APART = 2


# how long the ends of scopes are waited for beyond the time for a cleanup, and how often looked at
_LAST_SECONDS = 1.0
_MOMENT = 0.005


class Server:
    """One server: its URL, its gates, and the engines that exist of it.

    :param replica: what it is called in snapshots; all its scopes read. ``None`` for the primary.
    :param tenant: whose it is, where tenants have one each.
    """

    def __init__(
        self,
        url: URL,
        options: DatabaseOptions,
        registry: Registry,
        replica: str | None = None,
        tenant: str | None = None,
    ) -> None:
        self.url = url
        self.replica = replica
        self.tenant = tenant
        # called when a connection to it was made
        self.connected: Callable[[], None] | None = None
        # called with an engine that was made, of those that scopes use
        self.outfitted: Callable[[Engine], None] | None = None
        self.options = options
        self.registry = registry
        self.family = family_of(url)
        # the cache of reads; and what makes the sessions that know of it
        self._cache: Any = options.cache
        self.session_maker: Any = None if self._cache is None else self._cache.session_maker
        self.facade_class: Any = None if self._cache is None else self._cache.facade_class
        self.closed = False
        registry.reads_apart = self.family.reads_apart(options)
        # guards the making of engines; making one does no I/O
        self._lock = threading.Lock()
        self._sync: dict[bool, Engine] = {}
        self.sides: dict[bool, Side] = {}
        self._async: dict[asyncio.AbstractEventLoop, dict[bool, AsyncEngine]] = {}
        self.async_sides: dict[asyncio.AbstractEventLoop | None, dict[bool, Side]] = {}
        self._gates = self._make_gates()
        # of writers and readers; and how connects to the server, where it is one, take turns
        self._generations = {False: Generation(), True: Generation()}
        self._connects = None if self.family.embedded else Connects()
        # what keeps a database that lives in memory, from the first engine on
        self._anchor: Any = None
        self._admissions: list[Admission] = []
        self._upkeeps: dict[Engine, Upkeep] = {}
        # engines for a few words beside all scopes, through gates of their own
        self._apart: dict[tuple[asyncio.AbstractEventLoop | None, bool], Engine] = {}
        self._apart_gates = {
            False: Gate(f"{self.name} apart", _APART, None),
            True: Gate(f"{self.name} probe", 1, None),
        }
        registry.after_fork.append(self._start_anew)
        if replica is None and tenant is None:
            registry.resolver = Resolver(self) if options.resolve_commits else None

    @property
    def name(self) -> str:
        """What it is called: as the Database, with the name of a replica or tenant behind that."""
        return " ".join(filter(None, (self.registry.name, self.replica, self.tenant)))

    def _make_gates(self) -> dict[bool, Gate]:
        name = self.name
        if self.replica is not None:
            only = self._make_gate(f"{name} reader", self.limit(reader=True))
            self.registry.gates.append(only)
            return {False: only, True: only}
        shared = self.family.shares_one_connection(self.url)
        writer = self._make_gate(name if shared else f"{name} writer", self.limit(reader=False))
        self.registry.gates.append(writer)
        if shared or not self.family.has_readers:
            return {False: writer, True: writer}
        reader = self._make_gate(f"{name} reader", self.limit(reader=True))
        self.registry.gates.append(reader)
        return {False: writer, True: reader}

    def limit(self, *, reader: bool) -> int:
        """How many connections may be out for reading, or for writing, at once."""
        options = self.options
        if options.poolclass in (StaticPool, SingletonThreadPool):
            return 1  # they lend one connection to several at a time
        shared = self.family.shares_one_connection(self.url)
        if not reader or shared or not self.family.has_readers:
            return self.family.writer_limit(self.url, options)
        return options.reader_pool_size or options.pool_size

    def _make_gate(self, name: str, limit: int) -> Gate:
        options = self.options
        return Gate(
            name,
            limit,
            options.max_waiting,
            reserve=min(options.pool_reserve, limit - 1),
            shed_after=options.shed_after or 0.0,
            budget=options.budget,
        )

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
                found = self._made(
                    create_engine, url, self._arguments(url, reader, asynchronous=False)
                )
                self._outfit(found, url, reader, world="threads")
                self._sync[reader] = found
            return found

    def engine_apart(self, *, asynchronous: bool, probe: bool = False) -> Engine:
        """An engine that keeps no connection, for what may not wait for a place in the pool.

        Under asyncio it is used on SQLAlchemy's bridge.

        :param probe: the one of whoever looks at the server now and then.
        """
        loop = asyncio.get_running_loop() if asynchronous else None
        key = (loop, probe)
        with self._lock:
            self._check_open()
            found = self._apart.get(key)
            if found is None:
                self._apart = {
                    known: engine
                    for known, engine in self._apart.items()
                    if known[0] is None or not known[0].is_closed()
                }
                found = self._apart[key] = self._make_apart(asynchronous, probe)
            return found

    def _make_apart(self, asynchronous: bool, probe: bool) -> Engine:
        url = url_for(self.url, asynchronous=asynchronous)
        arguments = self._arguments(url, False, asynchronous=asynchronous)
        for name in ("pool_size", "max_overflow", "pool_use_lifo"):
            arguments.pop(name, None)
        if not self.family.shares_one_connection(self.url):
            arguments["poolclass"] = gated(NullPool)
        make = create_async_engine if asynchronous else create_engine
        made = self._made(make, url, arguments)
        engine: Engine = made.sync_engine if asynchronous else made
        world = "asyncio" if asynchronous else "threads"
        role = "probe" if probe else None
        self._outfit(engine, url, False, world=world, gate=self._apart_gates[probe], role=role)
        return engine

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
        made = Side(
            engine,
            self.family,
            driver_of(engine.url),
            self.options,
            reader=reader and self.family.has_readers,
            asynchronous=asynchronous,
        )
        if self._cache is not None and not made.reader:
            # what is written, and that it is committed, has to be seen where ``execution`` stands
            made.begin = None
        return made

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
                found = self._made(
                    create_async_engine, url, self._arguments(url, reader, asynchronous=True)
                )
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
            self._upkeeps.pop(engine.sync_engine, None)
            self._abandon_closed(engine)

    def _check_open(self) -> None:
        if self.closed:
            raise DatabaseClosed(
                f"Database {self.registry.name!r} is closed.", hint="Make a new Database."
            )

    def _made(self, create: Any, url: URL, arguments: dict[str, Any]) -> Any:
        if self.family.sync_drivers:
            # SQLAlchemy's engine shows its URL, and hides no more than the password before the host
            url, secrets = without_secrets(url)
            arguments["connect_args"] = {**secrets, **arguments["connect_args"]}
        return create(url, **arguments)

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

    def _outfit(
        self,
        engine: Engine,
        url: URL,
        reader: bool,
        *,
        world: str,
        gate: Gate | None = None,
        role: str | None = None,
    ) -> None:
        if self._anchor is None:
            self._anchor = self.family.anchor(self.url)
        pool: Any = engine.pool
        pool.admission = Admission(
            gate or self._gates[reader],
            self.options.pool_timeout,
            asynchronous=world == "asyncio",
            reads_beside=self.family.reads_beside
            and not self.family.shares_one_connection(self.url),
        )
        self._admissions.append(pool.admission)
        reads = reader and self.family.has_readers
        pool.connecting = Connecting(
            self._gates[reader].name,
            self._connects,
            self._generations[reads],
            self.options.pool_timeout,
            asynchronous=world == "asyncio",
            dbapi=engine.dialect.loaded_dbapi,
            driver=driver_of(url),
            evict=partial(self._evict, reads),
            closed=lambda: self.closed,
        )
        watch = EngineWatch(
            engine,
            self.family,
            driver_of(url),
            self.options,
            self.registry,
            reader=reads,
            role=role or self._role(reads),
            world=world,
            apart=self.engine_apart,
        )
        if self._cache is not None:
            primary = self.replica is None
            self._cache.watch(engine, watch.execution, reader=reads, primary=primary)
        if self.connected is not None:
            connected = self.connected
            event.listen(engine, "connect", lambda *_: connected())
        if gate is None and isinstance(pool, IdleStack):
            loop = asyncio.get_running_loop() if world == "asyncio" else None
            upkeep = Upkeep(
                engine, self._gates[reader], pool.connecting, self.options, self.registry, loop
            )
            pool.connecting.born = upkeep.born
            self._upkeeps[engine] = upkeep
        if gate is None and self.outfitted is not None:
            self.outfitted(engine)

    # ------------------------------------------------------------ upkeep

    def resize(self, options: DatabaseOptions) -> None:
        """Have pools as large as these options say; what is too much is closed when it is idle."""
        self.options = options
        now = monotonic()
        for reader, gate in self._gates.items():
            gate.resize(self.limit(reader=reader), now)
        self._nudge()

    def suspend(self) -> None:
        """Lend nothing: whoever asks for a connection waits."""
        for gate in self._gates.values():
            gate.suspend()

    def resume(self) -> None:
        """Lend again."""
        for gate in self._gates.values():
            gate.resume(monotonic())

    def warm(self, engine: Engine, count: int) -> int:
        """Connect until a pool has so many connections; how many it has.

        :raises FaultError: the server cannot be connected to.
        """
        upkeep, pool = self._upkeeps.get(engine), engine.pool
        dialect: Any = engine.dialect
        if upkeep is None or not isinstance(pool, IdleStack):
            return 0
        try:
            return upkeep.fill(pool, count, patient=True)
        except dialect.loaded_dbapi.Error as error:
            # as SQLAlchemy does it for a Connection
            Connection._handle_dbapi_exception_noconnection(error, dialect, engine)
            raise

    def _nudge(self) -> None:
        """Have the upkeep look at once where there is something to close or to make."""
        for upkeep in list(self._upkeeps.values()):
            upkeep.nudge()

    # ------------------------------------------------------------ eviction

    def cut_statements(self) -> None:
        """Break off what is under way: nobody is there any more who could answer."""
        mine = {engine for _, engine in self._engines()}
        for connection in list(self.registry.connections.values()):
            lent = connection.returned is None and not connection.at_rest
            if lent and connection.engine in mine and connection.break_off is not None:
                connection.break_off()

    def evict(self) -> None:
        """Replace every connection: idle ones now, the others when they come back."""
        for role in self._generations:
            self._evict(role, None)

    def _evict(self, role: bool, number: int | None) -> None:
        """End a generation of writers or readers, unless the one with this number is over."""
        if not self._generations[role].end(number):
            return
        name = self._role(role)
        mine = {engine for _, engine in self._engines()} | set(self._apart.values())
        for connection in list(self.registry.connections.values()):
            if connection.role == name and connection.engine in mine:
                connection.retired = True
        for reader, engine in self._engines():
            if (reader and self.family.has_readers) == role and isinstance(engine.pool, IdleStack):
                engine.pool.drop_retired()
        self._nudge()

    def _role(self, reader: bool) -> str:
        return role_name(reader) if self.replica is None else "replica"

    def engines(self) -> list[Engine]:
        """Every engine there is, as SQLAlchemy's sync one."""
        return [engine for _, engine in self._engines()]

    def forget(self) -> None:
        """Leave nothing in the Database's records of a server that was closed for good."""
        for gate in set(self._gates.values()):
            if gate in self.registry.gates:
                self.registry.gates.remove(gate)
        if self._start_anew in self.registry.after_fork:
            self.registry.after_fork.remove(self._start_anew)

    def _engines(self) -> list[tuple[bool, Engine]]:
        """Every engine there is, as SQLAlchemy's sync one, and whether it is a reader's."""
        # no lock: a signal handler may come here in the middle of the making of one
        found = list(self._sync.items())
        for engines in list(self._async.values()):
            found += [(reader, engine.sync_engine) for reader, engine in list(engines.items())]
        return found

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
            self._upkeeps = {}
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
        await self._see_ends({engine.sync_engine for engine in mine.values()})
        for async_engine in mine.values():
            upkeep = self._upkeeps.pop(async_engine.sync_engine, None)
            if upkeep is not None:
                await upkeep.end(self.options.cleanup_timeout)
            try:
                async with asyncio.timeout(self.options.cleanup_timeout):
                    await async_engine.dispose()
            except TimeoutError:
                self._abandon_closed(async_engine)
        self.close()

    async def _see_ends(self, engines: set[Engine]) -> None:
        """Wait for the ends of scopes that are under way: a COMMIT of a task that was cancelled
        would be cut with the loop, which ends after this.
        """
        until = monotonic() + self.options.cleanup_timeout + _LAST_SECONDS
        while monotonic() < until and any(  # noqa: ASYNC110 - nobody tells of each end
            scope.ending
            and scope.asynchronous
            # at the very end a scope has no session any more, and is listed still
            and (scope.session is None or scope.session.bind in engines)
            for scope in list(self.registry.scopes.values())
        ):
            await asyncio.sleep(_MOMENT)

    def _shut(self) -> None:
        self.closed = True
        for admission in self._admissions:
            admission.closed = True
        for upkeep in list(self._upkeeps.values()):
            upkeep.stop()

    def _start_anew(self) -> None:
        """In a forked child: the parent's connections are not ours, not even to close."""
        self._lock = threading.Lock()
        loops = [engines.values() for engines in self._async.values()]
        inherited = [
            *self._sync.values(),
            *self._apart.values(),
            *(engine.sync_engine for engines in loops for engine in engines),
        ]
        for engine in inherited:
            # also where somebody kept an asyncio engine: it is as new as all others
            self.registry.inherited.append(engine.pool)
            engine.dispose(close=False)
        self.registry.inherited.append(list(self._async.items()))
        self._async = {}
        self.async_sides = {}
        self._apart = {}
        for gate in (*self._gates.values(), *self._apart_gates.values()):
            gate.start_anew()
        for upkeep in self._upkeeps.values():
            upkeep.start_anew()
        self._upkeeps = {engine: self._upkeeps[engine] for engine in self._sync.values()}
        for generation in self._generations.values():
            generation.start_anew()
        if self._connects is not None:
            self._connects.start_anew()

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
                scope = connection.scope
                connection.abandon()
                if scope is not None:
                    self._forsake(scope)

    def _forsake(self, scope: Scope) -> None:
        """Take back what a scope has whose loop was closed around it: nobody will end it."""
        closed = DatabaseClosed(
            "The event loop of the scope was closed while it was open.",
            hint="Await the task that has it, or cancel it and await that, before the loop ends.",
        )
        scope.boundary.doom(closed)
        scope.in_hand = False
        if scope.ticket is not None:
            gate, ticket = scope.ticket
            gate.leave(ticket, monotonic())
        self.registry.closed(scope)
