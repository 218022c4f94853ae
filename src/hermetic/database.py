"""The front door: one logical database, its servers, pools, options and rules."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self, Unpack

from sqlalchemy import URL
from sqlalchemy.util import greenlet_spawn

from . import current, known
from .attempts import Attempts, Unit
from .checking import Checker
from .clock import monotonic
from .closing import Closing
from .configuration import Environ, options_from_environment, options_from_toml
from .dialects.drivers import database_name, family_of, parse_url
from .engine import Server
from .engines import Engines
from .errors import (
    CommitUnknown,
    DatabaseClosed,
    HermeticError,
    InvalidOption,
    NoScope,
    Outcome,
)
from .events import Listener, ScopeInfo, Snapshot
from .explain import explain
from .flow import Flow
from .keywords import DatabaseKeywords, ScopeKeywords
from .options import DatabaseOptions, Retry, ScopeOptions
from .place import Place, caller_frame
from .proof import CommitProof
from .registry import Registry
from .replica import Replica
from .resolver import KEPT, Resolver
from .retry import RetryBudget
from .routes import Routes, name_of
from .tenancy import NO_TENANT
from .tenant_servers import servers_of
from .watching.watched import Watched
from .work import Working

_REMEMBERED = 256


class Database(Closing, Engines, Watched, Working):
    """One logical database, for threads and asyncio alike.

    Nothing is connected until the first statement of the first scope. Engines are made when first
    needed, from the same options, for each world with the best driver that is installed.

    :param url: any SQLAlchemy URL. A bare ``postgresql://``, ``mysql://``, ``mariadb://`` or
        ``sqlite://`` takes the best installed driver.
    :param options: the fields of DatabaseOptions, and those of ScopeOptions as defaults of all
        scopes.
    :raises InvalidURL: the URL cannot be used.
    :raises InvalidOption: an option is unknown, or its value outside its limits.
    """

    def __init__(self, url: str | URL, **options: Unpack[DatabaseKeywords]) -> None:
        self._start(parse_url(url), DatabaseOptions.build(options, place="Database()"))

    def _start(self, url: URL, options: DatabaseOptions) -> None:
        self.name = options.name or database_name(url)
        self.registry = Registry(self.name, family_of(url))
        if options.cache is not None:
            bound = options.cache.bind(url, options, self.registry)
            options = dataclasses.replace(options, cache=bound)
        self.options = options
        self.server = Server(url, options, self.registry)
        self.family = self.server.family
        self.retry_budget = RetryBudget(options.retries_per_second, options.retry_burst)
        self.registry.after_fork.append(self.retry_budget.start_anew)
        self._closing = False
        # options that were given before, with what they come to; callers repeat themselves
        self._merges: dict[tuple[Any, ...] | None, ScopeOptions] = {}
        self._check_isolation(options.scope, place="Database()")
        self.family.check(url, options)
        if options.resolve_commits == "status" and self.family.commits.before is None:
            problem = f"is a way that {self.family.name} lacks; it has token"
            raise InvalidOption("resolve_commits", "status", problem, place="Database()")
        # where read-only scopes go, and positions; None where nobody asks for either
        self.routes: Routes | None = None
        self._servers = [self.server]
        for replica in options.replicas:
            self._add_replica(replica)
        if self.family.has_several_hosts(url, options):
            self._routed()
        self._check_after(options.scope, place="Database()")
        self.tenants = options.tenants
        self.registry.has_tenants = options.tenants is not None
        self.tenant_servers = servers_of(options, self.registry, url)
        self._lenders: list[Any] = [*self._servers, *filter(None, (self.tenant_servers,))]
        self._check_tenant(options.scope, place="Database()")
        self._begin_watching()
        self._plain = Unit(self, options.scope, retry_given=False)
        known.note(self)

    def _add_replica(self, replica: Replica) -> None:
        url = parse_url(replica.url)
        primary = self.server.url
        if not self.family.positions.known:
            problem = f"is nothing that {self.family.name} has"
            raise InvalidOption("replicas", ..., problem, place="Database()")
        if url.drivername != primary.drivername:
            problem = f"has a {url.drivername}, which does not follow a {primary.drivername}"
            hint = "A replica is of the same family, and is reached by the same driver."
            raise InvalidOption("replicas", ..., problem, place="Database()", hint=hint)
        if url == primary:
            raise InvalidOption("replicas", ..., "names the primary", place="Database()")
        self.family.check(url, self.options)
        server = Server(url, self.options, self.registry, name_of(url))
        self._servers.append(server)
        self._routed().add(server, replica.weight, replica.zone)

    def _check_tenant(self, options: ScopeOptions, *, place: str) -> None:
        if options.tenant is not None and self.tenants is None:
            problem = "was given, and the Database has no tenants"
            raise InvalidOption("tenant", options.tenant, problem, place=place)

    def _every_server(self) -> list[Server]:
        return [*self._servers, *(self.tenant_servers or ())]

    def _routed(self) -> Routes:
        routes = self._own_routes()
        if routes is None:
            routes = Routes(self.server, self.options, self.registry)
            if self.sandboxes is None or not self.sandboxes.stand_before(routes):
                self.routes = routes
        return routes

    def _own_routes(self) -> Routes | None:
        """Those to its servers, also while sandboxes stand before them."""
        if self.sandboxes is None:
            return self.routes
        found: Routes | None = self.sandboxes.behind(self.routes)
        return found

    @classmethod
    def from_env(
        cls, prefix: str = "HERMETIC_", environ: Environ = None, **options: Unpack[DatabaseKeywords]
    ) -> Self:
        """A Database from variables: ``HERMETIC_URL``, ``HERMETIC_POOL_SIZE``, and so on.

        Without ``HERMETIC_URL``, ``DATABASE_URL`` is taken. Keywords win over variables.

        :raises InvalidOption: a variable is unknown or wrong; the error names it.
        """
        url, found = options_from_environment(prefix, environ)
        return cls._from(url, found, options, place=f"environment {prefix}*")

    @classmethod
    def from_toml(
        cls, path: str | Path, table: str = "hermetic", **options: Unpack[DatabaseKeywords]
    ) -> Self:
        """A Database from a table of a TOML file: ``url``, and options by their names.

        Dots in ``table`` lead into tables within tables (``"tool.hermetic"``). Keywords win.

        :raises InvalidOption: a key is unknown or wrong; the error names file and table.
        """
        url, found, place = options_from_toml(Path(path), table)
        return cls._from(url, found, options, place=place)

    @classmethod
    def _from(
        cls, url: str, found: dict[str, Any], given: Mapping[str, Any], *, place: str
    ) -> Self:
        DatabaseOptions.build(given, place=f"{cls.__name__} keywords")
        options = DatabaseOptions.build({**found, **given}, place=place)
        database = cls.__new__(cls)
        database._start(parse_url(url), options)
        return database

    def __repr__(self) -> str:
        state = "closed" if self.server.closed else "draining" if self._closing else "open"
        url = self.server.url.set(query={}).render_as_string(hide_password=True)
        return f"<Database {self.name!r} {state}, {len(self.registry.scopes)} scopes, {url}>"

    # ------------------------------------------------------------ scopes

    def session(self, **options: Unpack[ScopeKeywords]) -> Unit:
        """A unit of work: ``with``, ``async with``, or a decorator that supplies the session.

        :param options: the fields of ScopeOptions.
        :raises InvalidOption: an option is unknown, or its value outside its limits.
        """
        if not options:
            return self._plain  # a unit may be used many times at once
        merged = self._merged(options, "db.session()")
        return Unit(self, merged, retry_given="retry" in options)

    def attempts(self, **options: Unpack[ScopeKeywords]) -> Attempts:
        """A unit of work as a loop of blocks; ``async for`` and ``async with`` under asyncio::

            for attempt in db.attempts(retry=5):
                with attempt as session: ...

        :param options: the fields of ScopeOptions; ``retry`` defaults to 5 attempts here.
        """
        merged = self._merged(options, "db.attempts()")
        if merged.retry is None and "retry" not in options:
            merged = merged.updated({"retry": Retry()}, place="db.attempts()")
        return Attempts(self, merged, Place(caller_frame()))

    def _merged(self, given: Mapping[str, Any], place: str) -> ScopeOptions:
        if not given:
            return self.options.scope
        key: tuple[Any, ...] | None = (place, *given.items())
        try:
            found = self._merges.get(key)
        except TypeError:  # a value that cannot be hashed
            key = found = None
        if found is None:
            found = self.options.scope.updated(given, place=place)
            self._check_isolation(found, place=place)
            self._check_after(found, place=place)
            self._check_tenant(found, place=place)
            if "after" in given or "tenant" in given:
                return found  # it will not come again, or there are too many
            if key is not None and len(self._merges) < _REMEMBERED:
                self._merges[key] = found
        return found

    def _check_isolation(self, options: ScopeOptions, *, place: str) -> None:
        level, known = options.isolation, self.family.isolation_levels
        if level is not None and level not in known:
            levels = ", ".join(sorted(known))
            problem = f"is a level that {self.family.name} lacks; it has {levels}"
            raise InvalidOption("isolation", level.value, problem, place=place)

    def _check_after(self, options: ScopeOptions, *, place: str) -> None:
        if options.after is not None:
            self._position("after", options.after, place)
        if options.position and self.family.positions.known:
            self._routed()

    def _position(self, option: str, text: Any, place: str) -> Any:
        try:
            return self.family.positions.parse(Checker(place).text(option, text, longest=1000))
        except ValueError as error:
            if isinstance(error, InvalidOption):
                raise
            problem = f"is no position of {self.family.name}"
            raise InvalidOption(option, text, problem, place=place) from None

    # ------------------------------------------------------------ positions

    def flow(self, position: str | None = None, *, monotonic: bool = True) -> Flow:
        """A block whose scopes see each other's writes, on whichever server they read::

            with db.flow(position=request.cookies.get("position")) as flow:
                ...
            response.set_cookie("position", flow.position)

        Tasks that are started inside are in it too. Each of its scopes that sends something asks
        its server at its end how far that has come: one round trip. Without replicas it does
        nothing.

        :param position: that of an earlier flow, to go on from; ``None`` for a new one.
        :param monotonic: whether a read also never shows less than one before it. ``False``: reads
            are not asked at their end, and only writes count.
        :raises InvalidOption: ``position`` is none.
        """
        floor = None if position is None else self._position("position", position, "db.flow()")
        routes = self._routed() if self.family.positions.known else self
        return Flow(routes, floor, monotonic=monotonic)

    def position(self) -> str | None:
        """How far the primary has come now: as far as any scope that has committed before.

        ``None`` where the database keeps no positions.
        """
        with self.session(**self._of_nobody(), position=True, name="db.position()") as session:
            session.connection()
        return session.position

    async def aposition(self) -> str | None:
        """As ``position``, under asyncio."""
        of_nobody = self._of_nobody()
        async with self.session(**of_nobody, position=True, name="db.position()") as session:
            _ = await session.connection()
        return session.position

    def _of_nobody(self) -> dict[str, Any]:
        own = {"propagation": "requires_new", "retry": None}
        return own if self.tenants is None else {**own, "tenant": NO_TENANT}

    @property
    def current(self) -> Any:
        """The session of the innermost scope of this thread or task.

        :raises NoScope: none is open here.
        :raises ForeignOwner: one is, but it belongs to the task or thread that started this one.
        """
        scope = current.open_scope(self.registry)
        if scope is None:
            raise NoScope(
                f"No scope of Database {self.name!r} is open here.",
                hint="Open one with db.session() around this call.",
            )
        if not scope.owner.is_current():
            raise scope.foreign(
                f"The scope that is open here belongs to {scope.owner}, and",
                "asked for its session.",
            )
        scope.check_owner()
        return scope.facade

    # ------------------------------------------------------------ upkeep

    def evict(self) -> None:
        """Replace every connection: idle ones now, those in use when they come back.

        It waits for nothing. For what the pools cannot see: a failover by hand, rotated
        credentials, a changed ``search_path`` of a role.
        """
        for server in self._every_server():
            server.evict()

    def resize(self, *, pool_size: int | None = None, reader_pool_size: int | None = None) -> None:
        """Change how many connections may be out. Those that are out stay out until they come back.

        :raises InvalidOption: the value is outside its limits, or the pool's size is not to choose.
        """
        given = {"pool_size": pool_size, "reader_pool_size": reader_pool_size}
        wanted: dict[str, Any] = {name: size for name, size in given.items() if size is not None}
        options = dataclasses.replace(self.options, **wanted)
        if pool_size not in (None, self.family.writer_limit(self.server.url, options)):
            problem = "cannot be chosen: this database has one writer at a time"
            raise InvalidOption("pool_size", pool_size, problem, place="db.resize()")
        self.options = options
        for each in self._lenders:
            each.resize(options)

    def suspend(self) -> None:
        """Lend no connection until ``resume``: scopes that need one wait in order, up to their
        deadline or ``pool_timeout``. Those that have one go on. For a failover by hand.
        """
        for each in self._lenders:
            each.suspend()

    def resume(self) -> None:
        """Lend connections again, first to those who came first."""
        for each in self._lenders:
            each.resume()

    def warm(self, count: int, *, readonly: bool = False) -> int:
        """Connect, until the pool for threads has ``count`` connections; how many it has then.

        With replicas, the readers are theirs; the least that one of them has is given.
        It takes no place that others wait for, so that it may come to fewer.

        :raises FaultError: the server cannot be connected to.
        """
        count = self._checked_count(count, readonly)
        warmed = [
            server.warm(server.engine(reader=readonly), count) for server in self._warmed(readonly)
        ]
        return min(warmed)

    async def awarm(self, count: int, *, readonly: bool = False) -> int:
        """As ``warm``, for the running event loop's pool."""
        count = self._checked_count(count, readonly)
        warmed = []
        for server in self._warmed(readonly):
            engine = server.async_engine(reader=readonly).sync_engine
            warmed.append(await greenlet_spawn(server.warm, engine, count))
        return min(warmed)

    def _warmed(self, readonly: bool) -> list[Server]:
        """The servers that scopes go to: with replicas the readers are theirs."""
        return self._servers[1:] if readonly and len(self._servers) > 1 else self._servers[:1]

    def _checked_count(self, count: int, readonly: bool) -> int:
        self.check_open()
        size = self.server.limit(reader=readonly)
        checked = Checker("db.warm()").whole("count", count, at_least=0, at_most=size)
        return checked or 0

    # ------------------------------------------------------------ what is seen

    def snapshot(self) -> Snapshot:
        """Every open scope, connection and pool: who holds what, since when, opened where."""
        found = self.registry.snapshot()
        if self.options.cache is None:
            return found
        return dataclasses.replace(found, cache=self.options.cache.counters())

    @property
    def cache(self) -> Any:
        """The cache of reads, for ``invalidate``; ``None`` without one."""
        return self.options.cache

    def explain(self) -> str:
        """Every setting in force, by name, without secrets."""
        return explain(self.server, self.options, self.name)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Have a function called with every event; returns what takes it off again.

        It is called in the thread or task in which the event happened, under no lock; what it
        raises is logged and changes nothing.
        """
        registry = self.registry
        registry.listeners = (*registry.listeners, listener)

        def stop() -> None:
            registry.listeners = tuple(
                known for known in registry.listeners if known is not listener
            )

        return stop

    # ------------------------------------------------------------ lost answers

    def create_commit_table(self) -> None:
        """Make the table that ``resolve_commits="token"`` needs, if it is not there.

        :raises InvalidOption: the Database has no ``resolve_commits``.
        """
        self._resolver().create_table(asynchronous=False)

    async def acreate_commit_table(self) -> None:
        """As ``create_commit_table``, under asyncio."""
        await greenlet_spawn(self._resolver().create_table, asynchronous=True)

    def sweep_commits(self, older_than: float = KEPT) -> int:
        """Delete old tokens; call it now and then, from one place.

        :param older_than: seconds, a day and more. Default: a day.
        :return: how many were deleted.
        :raises InvalidOption: younger ones may still be asked for.
        """
        return self._resolver().sweep(older_than, asynchronous=False)

    async def asweep_commits(self, older_than: float = KEPT) -> int:
        """As ``sweep_commits``, under asyncio."""
        swept: int = await greenlet_spawn(self._resolver().sweep, older_than, asynchronous=True)
        return swept

    def resolve_commit(
        self, unknown: CommitUnknown | CommitProof, timeout: float = 10.0
    ) -> Outcome:
        """Ask the database once more what became of a COMMIT whose answer was lost.

        A transaction by token that is still under way is kept from ever committing.

        :param unknown: the error, or its ``proof``, also one that was pickled.
        :param timeout: seconds.
        :return: ``UNKNOWN`` only if the database was not able to tell in that time.
        :raises InvalidOption: nothing was noted before that COMMIT.
        """
        resolver, proof = self._resolver(), self._proof_of(unknown)
        return resolver.ask(proof, monotonic() + timeout, asynchronous=False)[0]

    async def aresolve_commit(
        self, unknown: CommitUnknown | CommitProof, timeout: float = 10.0
    ) -> Outcome:
        """As ``resolve_commit``, under asyncio."""
        resolver, proof = self._resolver(), self._proof_of(unknown)
        until = monotonic() + timeout
        outcome, _ = await greenlet_spawn(resolver.ask, proof, until, asynchronous=True)
        return outcome

    def _resolver(self) -> Resolver:
        resolver: Resolver | None = self.registry.resolver
        if resolver is None:
            raise InvalidOption(
                "resolve_commits", None, "is needed for this", place=f"Database {self.name!r}"
            )
        return resolver

    def _proof_of(self, unknown: CommitUnknown | CommitProof) -> CommitProof:
        proof = unknown if isinstance(unknown, CommitProof) else unknown.proof
        if proof is None:
            raise InvalidOption(
                "unknown", type(unknown), "has no proof", place=f"Database {self.name!r}"
            )
        return proof

    # ------------------------------------------------------------ the end

    def check_open(self) -> None:
        """:raises DatabaseClosed: it takes no new scopes."""
        if self._closing or self.server.closed:
            state = "closed" if self.server.closed else "draining"
            raise DatabaseClosed(
                f"Database {self.name!r} is {state} and takes no new scopes.",
                hint="Make a new Database.",
            )

    def check_not_closed(self) -> None:
        """:raises DatabaseClosed: it takes no scopes at all, also none inside an open one."""
        if self.server.closed:
            self.check_open()

    def close(self) -> None:
        """Close every connection of threads, and cut those of event loops that no longer run.

        :raises HermeticError: an event loop still uses it; there, ``await db.aclose()``.
        """
        if any(server.async_in_use() for server in self._every_server()):
            raise HermeticError(
                f"Database {self.name!r} has connections in a running event loop.",
                hint="Use 'await db.aclose()' there.",
            )
        self._closing = True
        self._close_servers()

    def _close_servers(self) -> None:
        if (routes := self._own_routes()) is not None:
            routes.probing.end(self.options.cleanup_timeout)
        for server in self._taken_servers():
            server.close()

    async def _aclose_servers(self) -> None:
        if (routes := self._own_routes()) is not None:
            await routes.probing.aend(self.options.cleanup_timeout)
        for server in self._taken_servers():
            await server.aclose()

    def _taken_servers(self) -> list[Server]:
        """Every server, for the last time."""
        self._end_watching()
        if self.options.cache is not None:
            self.options.cache.close()
        tenants = [] if self.tenant_servers is None else self.tenant_servers.take_all()
        boxes = [] if self.sandboxes is None else self.sandboxes.take_all()
        return [*self._servers, *tenants, *boxes]

    async def aclose(self) -> None:
        """Close everything, the running event loop's connections in good order."""
        self._closing = True
        await self._aclose_servers()

    def drain(self, timeout: float = 30.0) -> tuple[ScopeInfo, ...]:
        """Take no new scopes, wait for the open ones, and close.

        :param timeout: seconds to wait.
        :return: who was still inside when the time was over; their connections are cut.
        """
        self._closing = True
        empty = threading.Event()
        self.registry.on_empty.append(empty.set)
        if self.registry.scopes:
            empty.wait(timeout)
        inside = self.registry.snapshot().scopes
        self._close_servers()
        self._cut(inside)
        return inside

    async def adrain(self, timeout: float = 30.0) -> tuple[ScopeInfo, ...]:
        """As ``drain``, under asyncio."""
        self._closing = True
        empty = asyncio.Event()
        loop = asyncio.get_running_loop()

        def tell() -> None:
            loop.call_soon_threadsafe(empty.set)

        self.registry.on_empty.append(tell)
        if self.registry.scopes:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await empty.wait()
        inside = self.registry.snapshot().scopes
        self._cut(inside)
        await self._aclose_servers()
        return inside

    def _cut(self, inside: tuple[ScopeInfo, ...]) -> None:
        closed = DatabaseClosed(
            f"Database {self.name!r} was drained and did not wait any longer.",
            hint="Give drain() a longer timeout, or end the work before it.",
        )
        for scope in list(self.registry.scopes.values()):
            scope.boundary.doom(closed)
        for info in inside:
            connection = self.registry.connections.get(info.connection or 0)
            if connection is not None and connection.break_off is not None:
                connection.break_off()
