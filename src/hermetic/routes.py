"""Where the scopes of a Database go that has replicas, and how far the servers have come.

A scope gets its server when it begins, by what it declares and what is known. Nothing is sent then;
when its connection is taken, before anything of the scope is sent, the choice is made good: a
replica that cannot be connected to is left for the next one, a position that has to be there is
waited for.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.util import await_only

from .boundary import Entry, State
from .clock import monotonic
from .dialects.positions import Sight, covers, joined
from .engine import Server
from .errors import FaultError, NoReplica, PoolTimeout, ScopeRefused
from .events import ReplicaEjected, ReplicaReturned, ServerInfo, emit, logger
from .execution import disarm, known, watch
from .faults import FaultKind, Wire
from .flow import Flow, current_flow
from .options import DatabaseOptions
from .pool import demanding
from .probing import Probing
from .registry import Registry, Scope, describe_error
from .routing import Choice, Rules, ServerState, Trail, choose

if TYPE_CHECKING:
    from .fast.side import Side

# seconds between two questions of a scope that waits for a position: from the first to the last
_FIRST_PAUSE, _LAST_PAUSE = 0.001, 0.05
# of the time that a scope has left, what may go into waiting for one replica
_PART = 0.5
_MOMENT = 0.05
# what may be otherwise in a moment, where a primary cannot be connected to
_MAY_PASS = frozenset(
    {
        FaultKind.CANNOT_CONNECT,
        FaultKind.CONNECTION_LOST,
        FaultKind.TOO_MANY_CONNECTIONS,
        FaultKind.NOT_READY,
    }
)


class Routes:
    """The servers of one Database, and what is known of them. One lock guards that."""

    def __init__(self, primary: Server, options: DatabaseOptions, registry: Registry) -> None:
        self.primary = primary
        self.options = options
        self.registry = registry
        self.family = primary.family
        self.rules = Rules(options.zone, options.replica_lag)
        self.primary_state = ServerState(name_of(primary.url), primary=True)
        self.replicas: dict[ServerState, Server] = {}
        self._moves = self.family.has_several_hosts(primary.url, options)
        self._trail = Trail()
        self._lock = threading.Lock()
        self.probing = Probing(self)
        registry.after_fork.append(self._start_anew)
        registry.servers = self.infos

    def add(self, server: Server, weight: float, zone: str | None) -> None:
        assert server.replica is not None
        state = ServerState(server.replica, weight=weight, zone=zone)
        server.connected = lambda: self._forget(state)
        self.replicas[state] = server

    def _start_anew(self) -> None:
        """In a forked child: another thread may have held the lock, and none looks at servers."""
        self._lock = threading.Lock()
        self.registry.inherited += self.probing.start_anew()

    def servers(self) -> Iterator[tuple[ServerState, Server]]:
        yield self.primary_state, self.primary
        yield from self.replicas.items()

    # ------------------------------------------------------------ what is known

    def seen(self, state: ServerState, sight: Sight) -> None:
        now = monotonic()
        with self._lock:
            returned = state.seen(sight, now)
            if state.primary:
                if sight.position is not None:
                    self._trail.add(sight.position, now)
            else:
                state.lag = self._trail.lag(sight.position, now)
        if returned and not state.primary:
            logger.info("%s is back", state.name)
            if self.registry.listeners:
                emit(self.registry.listeners, ReplicaReturned(self.registry.name, state.name))

    def failed(self, state: ServerState, error: str) -> None:
        now = monotonic()
        with self._lock:
            first = state.failed(error, now, random.random())
        if not first or state.primary:
            return
        logger.warning("%s gets no scopes until it answers again: %s", state.name, error)
        if self.registry.listeners:
            emit(self.registry.listeners, ReplicaEjected(self.registry.name, state.name, error))

    def _forget(self, state: ServerState) -> None:
        with self._lock:
            state.forget()

    def infos(self) -> tuple[ServerInfo, ...]:
        now = monotonic()
        return tuple(self._info(state, now) for state, _ in self.servers())

    def _info(self, state: ServerState, now: float) -> ServerInfo:
        ejected = max(0.0, state.ejected_until - now) if state.failures else None
        return ServerInfo(
            name=state.name,
            role="primary" if state.primary else "replica",
            state=str(state.standing(self.rules)),
            weight=state.weight,
            zone=state.zone,
            lag=state.lag,
            position=None if state.position is None else str(state.position),
            ejected_for=ejected,
            failures=state.failures,
            error=state.error,
            scopes=state.scopes,
        )

    # ------------------------------------------------------------ choosing

    def begin(self, scope: Scope) -> Server | None:
        """The server of a scope that begins; ``None`` (a group's) where it has a session already.

        :raises NoReplica: none will do, and the primary is not for reading.
        """
        flow = current_flow(self)
        options, several = scope.options, bool(self.replicas)
        asks = options.position
        if asks is None:
            asks = several and flow is not None and (flow.monotonic or not scope.readonly)
        asks = asks and self.family.positions.known
        reads = several and scope.readonly and self.family.replicas_serve(options.isolation)
        patient = options.retry is not None and (several or self._moves)
        if not (reads or asks or patient or flow is not None):
            return self.primary
        route = Route(self, flow, asks, self.options.failover_wait if patient else 0.0)
        scope.route, scope.asks = route, asks
        if reads:
            self.probing.touch(scope.started)
            if options.after is not None:
                route.wanted = self.parse(options.after)
            if flow is not None:
                route.wanted = joined(flow.floor, route.wanted)
            # the primary alone shows what nobody knows the position of
            if flow is None or not flow.unsure:
                route.follow(self.choose(route), scope)
                if route.state is not None:
                    route.state.scopes += 1
        return route.server

    def parse(self, text: str) -> Any:
        """A position that was a string, and was looked at before."""
        return self.family.positions.parse(text)

    def choose(self, route: Route, tried: Collection[ServerState] | None = None) -> Choice | None:
        return choose(
            self.replicas,
            self.rules,
            random.random(),
            wanted=route.wanted,
            tried=route.tried if tried is None else tried,
            last=None if route.flow is None else route.flow.last,
        )


class Route:
    """Where one scope goes. Held by the scope; it ends with it.

    ``state`` is the replica, ``None`` for the primary. ``open`` until the scope has a connection.
    """

    __slots__ = (
        "_patience", "_patient_until", "asks", "flow", "open", "position", "routes", "server",
        "settled", "sight", "state", "tried", "until", "wanted",
    )  # fmt: skip

    # one server, one connection: the scope's own
    branches: ClassVar[tuple[Scope, ...]] = ()

    def __init__(self, routes: Routes, flow: Flow | None, asks: bool, patience: float) -> None:
        self.routes = routes
        # seconds to wait for a primary, and until when that is, once it is begun
        self._patience = patience
        self._patient_until: float | None = None
        self.flow = flow
        self.asks = asks
        self.server = routes.primary
        self.state: ServerState | None = None
        self.wanted: Any = None
        self.settled = True
        self.open = patience > 0
        self.tried: list[ServerState] = []
        # the moment until which a connect is waited for, where another server is left to try
        self.until: float | None = None
        # what the server said at the end, and when it was asked
        self.sight: tuple[Sight, float] | None = None
        self.position: str | None = None

    def follow(self, choice: Choice | None, scope: Scope) -> None:
        """Go where a choice says, or to the primary.

        :raises NoReplica: that is not for reading.
        """
        if choice is None:
            if not self.routes.options.replica_fallback:
                raise self._none(scope)
            self.state, self.server, self.settled = None, self.routes.primary, True
            self.open = self._patience > 0
            return
        self.state, self.settled = choice.state, choice.settled
        self.server = self.routes.replicas[choice.state]
        self.open = True

    def _none(self, scope: Scope) -> NoReplica:
        infos = self.routes.infos()
        words = "; ".join(
            f"{info.name} is {info.state}" + (f" ({info.error})" if info.error else "")
            for info in infos
            if info.role == "replica"
        )
        wanted = None if self.wanted is None else str(self.wanted)
        needed = "" if wanted is None else f" and has come as far as {wanted}"
        return NoReplica(
            f"No replica can be read from{needed}: {words}.",
            position=wanted,
            servers=infos,
            scope=scope.ref,
            hint="Let such scopes go to the primary with replica_fallback=True.",
        )

    def check_joined(self, after: str, root: Scope) -> None:
        """:raises ScopeRefused: a scope that joins needs a position that this one may not have."""
        if self.state is None or covers(self.wanted, self.routes.parse(after)):
            return
        raise ScopeRefused(
            f"after={after!r} was asked for inside {root.ref}, which reads from a replica that may "
            "not have come so far.",
            hint="Open the outer scope with that position, or use propagation='requires_new'.",
        )

    # ------------------------------------------------------------ taking a connection

    def take(self, scope: Scope, connect: Callable[[Engine], Connection]) -> Connection:
        """Make the choice good: nothing of the scope was sent yet."""
        while True:
            try:
                if not self.settled:
                    self._settle(scope)
                self._bound(scope)
                connection = connect(scope.session.bind)
            except (FaultError, PoolTimeout) as error:
                if not self._moves_on(scope, error):
                    raise
            else:
                self.open = False
                self.until = None
                return connection

    def _bound(self, scope: Scope) -> None:
        """Leave a part of the time for the next server, if this one does not answer."""
        now = monotonic()
        self.until = None
        if self.state is not None and scope.deadline is not None:
            self.until = now + _PART * max(0.0, scope.deadline - now)

    def _moves_on(self, scope: Scope, error: FaultError | PoolTimeout) -> bool:
        """Leave a replica that could not be connected to.

        :return: whether there is another server, and time.
        """
        state = self.state
        if not _is_of_connecting(error):
            return False
        if scope.statements or scope.boundary.state is not State.ACTIVE:
            return False
        now = monotonic()
        if scope.deadline is not None and now >= scope.deadline:
            return False
        if state is None:
            return self._is_patient(scope, error, now)
        # a connect that had less time than it is given says nothing of the server
        hurried = self.until is not None and now >= self.until - _MOMENT
        if not hurried:
            self.routes.failed(state, describe_error(error))
        self._go_on(scope, state)
        return True

    def _is_patient(self, scope: Scope, error: FaultError | PoolTimeout, now: float) -> bool:
        """Wait a moment for a primary: one may be about to be promoted."""
        if isinstance(error, FaultError) and error.kind not in _MAY_PASS:
            return False
        if self._patient_until is None:
            self._patient_until = now + self._patience
        left = self._patient_until - now
        if scope.deadline is not None:
            left = min(left, scope.deadline - now)
        if left <= _LAST_PAUSE:
            return False
        # the connects of all scopes take turns, with pauses of their own
        _wait(_LAST_PAUSE, scope.asynchronous)
        return True

    def _go_on(self, scope: Scope, but: ServerState | None = None) -> None:
        if but is not None:
            self.tried.append(but)
        self._go(scope, self.routes.choose(self))

    def _go(self, scope: Scope, choice: Choice | None) -> None:
        self.follow(choice, scope)
        rebind(scope, self.server)

    # ------------------------------------------------------------ waiting for a position

    def _settle(self, scope: Scope) -> None:
        """Wait for a replica that has come far enough, for a bounded time."""
        options = self.routes.options
        now = monotonic()
        until = now + options.replica_wait
        if not options.replica_fallback:
            until = now + options.pool_timeout
        if scope.deadline is not None:
            part = 1.0 if not options.replica_fallback else _PART
            until = min(until, now + part * (scope.deadline - now))
        pause = _FIRST_PAUSE
        looked: list[ServerState] = []
        while not self.settled:
            assert self.state is not None
            if self.state.seen_at is None or now - self.state.seen_at >= pause:
                self._look(scope, self.state)
            looked.append(self.state)
            choice = self.routes.choose(self)
            if choice is not None and not choice.settled:
                # each of them is asked before anything is waited for
                choice = self.routes.choose(self, (*self.tried, *looked))
                if choice is None:
                    now = monotonic()
                    if now < until:
                        scope.check_statement()
                        _wait(min(pause, until - now), scope.asynchronous)
                        now, looked = monotonic(), []
                        pause = min(2 * pause, _LAST_PAUSE)
                        continue
            self._go(scope, choice)

    def _look(self, scope: Scope, state: ServerState) -> None:
        """Ask a replica how far it has come, on a connection of its pool."""
        engine: Engine = scope.session.bind
        dialect: Any = engine.dialect
        now = monotonic()
        bound = now + self.routes.options.connect_timeout
        if scope.deadline is not None:
            bound = min(bound, now + _PART * max(0.0, scope.deadline - now))
        self.until = bound
        token = demanding.set(scope)
        fairy = None
        try:
            fairy = engine.raw_connection()
            record = known(fairy)
            if record is not None:
                watch(record, bound)
            sight = self.routes.family.sight(fairy.dbapi_connection, dialect)
            if record is not None:
                disarm(record)
        except dialect.loaded_dbapi.Error as error:
            if fairy is not None:
                fairy.invalidate(error)
            # as SQLAlchemy does it for a Connection
            Connection._handle_dbapi_exception_noconnection(error, dialect, engine)
            raise
        except BaseException:
            if fairy is not None:
                fairy.invalidate()
            raise
        finally:
            if fairy is not None:
                fairy.close()
            demanding.reset(token)
            scope.ticket = None
            self.until = None
        self.routes.seen(state, sight)

    # ------------------------------------------------------------ the end

    def ask(self, scope: Scope, connection: Any, dbapi: Any, dialect: Any) -> None:
        """Ask, after the COMMIT and on its connection, how far the server has come.

        Whatever comes of it, the scope is committed.
        """
        asked = monotonic()
        until = asked + self.routes.options.cleanup_timeout
        watch(connection, until if scope.deadline is None else min(until, scope.deadline))
        try:
            sight = self.routes.family.sight(dbapi, dialect)
        except BaseException as error:
            connection.dirty = True  # something may be under way on it
            if not isinstance(error, Exception):
                raise
            logger.warning("the position of %s is not known: %s", scope.ref, describe_error(error))
            return
        finally:
            disarm(connection)
        if sight.position is None:
            return  # the server keeps none
        self.sight = (sight, asked)
        self.position = str(sight.upper)
        if self.state is not None:
            self.routes.seen(self.state, sight)

    def ended(self, scope: Scope, error: BaseException | None = None) -> None:
        """The scope is over: its flow goes on from there."""
        cause = scope.boundary.cause
        not_ready = isinstance(cause, FaultError) and cause.kind is FaultKind.NOT_READY
        if self.state is not None and not_ready:
            # it can be connected to, and is of no use
            self.routes.failed(self.state, describe_error(cause))
        flow, self.flow = self.flow, None
        if flow is None:
            return
        if self.sight is not None:
            sight, asked = self.sight
            flow.note(sight.upper, asked, self.state)
        elif scope.statements and (self.asks or not scope.readonly):
            flow.doubt(monotonic())


def _is_of_connecting(error: FaultError | PoolTimeout) -> bool:
    """Whether there is no connection, for another reason than that all are out."""
    if isinstance(error, PoolTimeout):
        return error.limit == 0
    return error.fault is not None and error.fault.wire is Wire.DEAD


def rebind(scope: Scope, server: Server) -> None:
    """Have a scope of which nothing was sent yet use another server's reader connections."""
    session = scope.session
    if scope.asynchronous:
        engine, side = server.async_side(reader=True)
        scope.facade.bind = engine
    else:
        side = server.side(reader=True)
    session.bind = side.engine
    scope.side = side if fits(scope, side) else None


def fits(scope: Scope, side: Side) -> bool:
    """Whether the fast paths may take a connection for a scope."""
    return (
        side.begin is not None
        and scope.entry is Entry.TRANSACTION
        and scope.options.isolation is None
        and (side.wire is not None or not scope.asynchronous)
        and not scope.settings
    )


def name_of(url: URL) -> str:
    """A server's name in snapshots: host, port and database."""
    hosts = url.query.get("host")
    if hosts is not None:
        listed = (hosts,) if isinstance(hosts, str) else hosts
        host = ",".join(listed)
    else:
        host = url.host or "local"
        host = f"{host}:{url.port}" if url.port else host
    return f"{host}/{url.database}" if url.database else host


def _wait(seconds: float, asynchronous: bool) -> None:
    if asynchronous:
        await_only(asyncio.sleep(seconds))
    else:
        time.sleep(seconds)
