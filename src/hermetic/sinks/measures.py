"""OpenTelemetry's metrics of databases: how long operations take, and what pools hold."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from opentelemetry.metrics import CallbackOptions, Histogram, Meter, Observation

from ..seen import SeenScope
from ..watching.sink import ScopeView
from .counting import OTHER
from .wording import operation_of

# upper ends in seconds, as the conventions have them
_BOUNDS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10]

_SYSTEMS = {
    "postgresql": "postgresql",
    "mysql": "mysql",
    "mariadb": "mariadb",
    "sqlite": "sqlite",
    "cockroachdb": "cockroachdb",
    "mssql": "microsoft.sql_server",
    "oracle": "oracle.db",
}


class Whereabouts:
    """Which database it is, in the conventions' words."""

    def __init__(self, database: Any) -> None:
        self._servers: dict[str | None, dict[str, Any]] = {None: {}}
        self.backslashes = False
        # one whose URL says mysql, and which has yet to say whether it is MariaDB
        self._unsure: Any = None
        server = database.server
        if server is database:
            return  # a group, whose scopes are in several
        for each in database._servers:
            self._servers[each.replica] = _attributes_of(each.url)
        self.backslashes = self._servers[None]["db.system.name"] in ("mysql", "mariadb")
        if self._servers[None]["db.system.name"] == "mysql":
            self._unsure = server

    def attributes(self, server: str | None) -> dict[str, Any]:
        """:param server: its name in snapshots, where a scope went to one of several."""
        if self._unsure is not None:
            self._ask()
        return self._servers.get(server) or self._servers[None]

    def _ask(self) -> None:
        """What SQLAlchemy has learned at its first connection, if there was one."""
        server = self._unsure
        sides = [*server.sides.values()]
        sides += [side for each in list(server.async_sides.values()) for side in each.values()]
        for side in sides:
            if getattr(side.dialect, "server_version_info", None) is not None:
                self._unsure = None
                if side.dialect.is_mariadb:
                    self._servers = {
                        name: {**known, "db.system.name": "mariadb"}
                        for name, known in self._servers.items()
                    }
                return


def _attributes_of(url: Any) -> dict[str, Any]:
    backend = url.get_backend_name()
    found: dict[str, Any] = {"db.system.name": _SYSTEMS.get(backend, "other_sql")}
    if url.database:
        found["db.namespace"] = url.database
    if url.host:
        found["server.address"] = url.host
        if url.port:
            found["server.port"] = url.port
    return found


def _durations(meter: Meter, name: str, description: str) -> Histogram:
    return meter.create_histogram(
        name, "s", description, explicit_bucket_boundaries_advisory=_BOUNDS
    )


class Measures:
    """The instruments of one Database. Those of its pools look at it when they are asked.

    :param names: how many names of scopes are told apart; further ones are ``other``.
    """

    def __init__(self, database: Any, meter: Meter, names: int = 200) -> None:
        self._most = names
        self._told: set[str] = set()
        self.place = Whereabouts(database)
        self._database: Callable[[], Any] = weakref.ref(database)
        self._name = database.name
        self._pools = frozenset(gate.name for gate in database.registry.gates)
        self._operations = _durations(
            meter, "db.client.operation.duration", "Duration of database client operations."
        )
        self._waits = _durations(
            meter,
            "db.client.connection.wait_time",
            "The time it took to obtain an open connection from the pool.",
        )
        self._uses = _durations(
            meter,
            "db.client.connection.use_time",
            "The time between borrowing a connection and returning it to the pool.",
        )
        self._scopes = _durations(meter, "hermetic.scope.duration", "How long scopes took.")
        self._retries = meter.create_counter(
            "hermetic.scope.retries", unit="{scope}", description="Scopes that were run again."
        )
        self._observe(meter)

    def _observe(self, meter: Meter) -> None:
        gauge = meter.create_observable_up_down_counter
        gauge(
            "db.client.connection.count",
            [self._connections],
            unit="{connection}",
            description="The number of connections in a state.",
        )
        gauge(
            "db.client.connection.max",
            [lambda _: self._each_pool("limit")],
            unit="{connection}",
            description="The maximum number of open connections allowed.",
        )
        gauge(
            "db.client.connection.pending_requests",
            [lambda _: self._each_pool("waiting")],
            unit="{request}",
            description="The number of pending requests for an open connection.",
        )
        meter.create_observable_counter(
            "db.client.connection.timeouts",
            [lambda _: self._each_pool("refused")],
            unit="{timeout}",
            description="Requests for a connection that got none.",
        )

    def stop(self) -> None:
        """Observe nothing any more; instruments cannot be taken back."""
        self._database = lambda: None

    def ended(self, scope: ScopeView, seen: SeenScope) -> None:
        """Measure a scope and its statements."""
        place = self.place.attributes(seen.server)
        for step in seen.steps:
            attributes = {**place, "db.operation.name": operation_of(step.statement)}
            took = step.seconds
            if took is None:
                attributes["error.type"] = step.code or "_OTHER"
                took = step.failed_after or 0.0
            self._operations.record(took, attributes)
        outcome = "none" if seen.outcome is None else seen.outcome.name.lower()
        name = self._named(seen.name)
        whole = {"hermetic.scope.name": name, "hermetic.scope.outcome": outcome}
        if seen.error is not None:
            whole["error.type"] = scope.code or seen.error
        self._scopes.record(seen.seconds, {**place, **whole})
        if seen.attempt > 1:
            self._retries.add(1, {**place, "hermetic.scope.name": name})
        if seen.statements:
            pool = {"db.client.connection.pool.name": self._pool_of(seen)}
            self._waits.record(seen.waited, pool)
            self._uses.record(scope.used, pool)

    def _named(self, name: str) -> str:
        # an instrument keeps what it was told of each name for as long as the process
        if name not in self._told:
            if len(self._told) >= self._most:
                return OTHER
            self._told.add(name)  # threads may add one each too many
        return name

    def _pool_of(self, seen: SeenScope) -> str:
        server = " ".join(filter(None, (self._name, seen.server)))
        role = "reader" if seen.readonly else "writer"
        for name in (f"{server} {role}", f"{server} reader", f"{self._name} {role}"):
            if name in self._pools:
                return name
        return f"{self._name} writer" if f"{self._name} writer" in self._pools else str(self._name)

    def _each_pool(self, what: str) -> Iterator[Observation]:
        database = self._database()
        if database is None:
            return
        for pool in database.snapshot().pools:
            yield Observation(getattr(pool, what), {"db.client.connection.pool.name": pool.name})

    def _connections(self, _: CallbackOptions) -> Iterable[Observation]:
        database = self._database()
        if database is None:
            return
        counts: dict[tuple[str, str], int] = {}
        for connection in database.snapshot().connections:
            state = "idle" if connection.state == "idle" else "used"
            pool = f"{self._name} {connection.role}"
            pool = pool if pool in self._pools else self._name
            counts[pool, state] = counts.get((pool, state), 0) + 1
        for (pool, state), count in counts.items():
            yield Observation(
                count,
                {
                    "db.client.connection.pool.name": pool,
                    "db.client.connection.state": state,
                },
            )
