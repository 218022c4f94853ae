"""Prometheus: what scopes did and what pools hold, as a collector of ``prometheus_client``."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ..checking import Checker
from ..errors import ConfigurationError
from ..watching.attaching import HasScopes
from ..watching.attaching import attach as attach_sink
from .counting import BUCKETS, OTHER, Counts, Spread

try:
    from prometheus_client import REGISTRY, CollectorRegistry
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        Metric,
    )
    from prometheus_client.registry import Collector
except ImportError as missing:
    raise ConfigurationError(
        "hermetic.sinks.prometheus needs prometheus-client.",
        hint="Install it with: pip install 'hermetic[prometheus]'",
    ) from missing

# pools that are told apart, of each Database; a Database per tenant has one or two for each
_POOLS = 50

_GAUGES = {
    "hermetic_scopes_open": ("Scopes that are open.", ()),
    "hermetic_connections": ("Connections to servers.", ("role", "world", "state")),
    "hermetic_pool_limit": ("Connections that may be lent.", ("pool",)),
    "hermetic_pool_lent": ("Connections that are lent.", ("pool",)),
    "hermetic_pool_waiting": ("Scopes in line for a connection.", ("pool",)),
    "hermetic_replica_lag_seconds": ("How old what a replica shows is.", ("server",)),
    "hermetic_server_up": ("Whether a server gets scopes.", ("server", "role")),
}
_COUNTERS = {
    "hermetic_scopes": ("Scopes that have ended.", ("scope", "outcome")),
    "hermetic_scope_errors": ("Scopes that an error ended.", ("scope", "error")),
    "hermetic_scope_retries": ("Scopes that were a further attempt.", ("scope",)),
    "hermetic_statements": ("Statements of ended scopes.", ("scope",)),
    "hermetic_rows": ("Rows that statements returned or changed.", ("scope",)),
    "hermetic_round_trips": ("Waits for an answer of the server.", ("scope",)),
    "hermetic_statement_seconds": ("Time at statements.", ("scope",)),
    "hermetic_pool_admitted": ("Connections that were lent.", ("pool",)),
    "hermetic_pool_waited": ("Loans that had to wait in line.", ("pool",)),
    "hermetic_pool_refused": ("Requests that got no connection.", ("pool",)),
    "hermetic_pool_wait_seconds": ("Time in line.", ("pool",)),
    "hermetic_retries": ("Units that were run again.", ()),
    "hermetic_commits_resolved": ("COMMITs without an answer that was found out.", ()),
    "hermetic_connections_destroyed": ("Connections that were thrown away.", ()),
    "hermetic_findings": ("Things that should not be.", ("finding",)),
    "hermetic_cache": ("Reads and the cache.", ("event",)),
}
_HISTOGRAMS = {
    "hermetic_scope_seconds": ("How long scopes took.", ("scope",)),
    "hermetic_scope_wait_seconds": ("How long scopes were in line for a connection.", ()),
}


def attach(
    database: HasScopes,
    registry: CollectorRegistry | None = None,
    *,
    buckets: Sequence[float] = BUCKETS,
    names: int = 200,
) -> Callable[[], None]:
    """Have a Database in a registry of Prometheus'. Several of them may be in one.

    What pools hold is looked at when it is asked for; scopes are counted as they end.

    :param registry: default: prometheus_client's own ``REGISTRY``.
    :param buckets: upper ends in seconds, of durations.
    :param names: how many names of scopes are told apart; further ones are counted as ``other``.
        Default 200.
    :return: what takes it out again.
    :raises ConfigurationError: another open Database of that name is in the registry.
    """
    bounds = _checked(buckets)
    Checker("prometheus.attach()").whole("names", names, at_least=1, at_most=100_000)
    counts = Counts(names, bounds)
    collector = _collector_of(REGISTRY if registry is None else registry)
    leave = collector.enter(database, counts)
    detach = attach_sink(database, counts)

    def stop() -> None:
        detach()
        leave()

    return stop


def _checked(buckets: Sequence[float]) -> tuple[float, ...]:
    bounds: tuple[Any, ...] = tuple(buckets)
    numbers = all(isinstance(each, (int, float)) and 0 < each < float("inf") for each in bounds)
    if not bounds or not numbers or sorted(set(bounds)) != list(bounds):
        problem = "must be numbers of seconds above 0, each larger than the one before"
        raise Checker("prometheus.attach()").refuse("buckets", buckets, problem)
    return tuple(float(each) for each in bounds)


_lock = threading.Lock()
_collectors: weakref.WeakKeyDictionary[CollectorRegistry, DatabaseCollector] = (
    weakref.WeakKeyDictionary()
)


def _collector_of(registry: CollectorRegistry) -> DatabaseCollector:
    with _lock:
        found = _collectors.get(registry)
        if found is None:
            found = DatabaseCollector()
            registry.register(found)
            _collectors[registry] = found
    return found


class DatabaseCollector(Collector):
    """All Databases of one registry. A Database that is gone, or closed, is told no longer."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[weakref.ref[Any], Counts]] = {}

    def enter(self, database: Any, counts: Counts) -> Callable[[], None]:
        name, entry = database.name, (weakref.ref(database), counts)
        with _lock:
            known = self._entries.get(name)
            other = None if known is None else known[0]()
            if other is not None and not _is_closed(other):
                raise ConfigurationError(
                    f"A Database {name!r} is in this registry already.",
                    hint="Give one of them another name=, or detach the other one first.",
                )
            self._entries[name] = entry

        def leave() -> None:
            with _lock:
                if self._entries.get(name) is entry:
                    del self._entries[name]

        return leave

    def describe(self) -> Iterable[Metric]:
        """The names, by which a registry refuses those of somebody else."""
        return _Families().all()

    def collect(self) -> Iterator[Metric]:
        """A look at every Database."""
        families = _Families()
        with _lock:
            entries = list(self._entries.items())
        for name, (reference, counts) in entries:
            database = reference()
            if database is None or _is_closed(database):
                continue
            _count_scopes(families, name, counts)
            _look(families, name, database)
        yield from families.all()


def _is_closed(database: Any) -> bool:
    server = getattr(database, "server", None)
    return server is not None and bool(server.closed)


class _Families:
    """The metrics of one look."""

    def __init__(self) -> None:
        self._found: dict[str, Any] = {}
        for kind, table in (
            (GaugeMetricFamily, _GAUGES),
            (CounterMetricFamily, _COUNTERS),
            (HistogramMetricFamily, _HISTOGRAMS),
        ):
            for name, (text, labels) in table.items():
                self._found[name] = kind(name, text, labels=("database", *labels))

    def add(self, name: str, labels: Sequence[str], value: float) -> None:
        self._found[name].add_metric(labels, value)

    def spread(self, name: str, labels: Sequence[str], spread: Spread) -> None:
        self._found[name].add_metric(labels, spread.cumulative(), spread.total)

    def all(self) -> list[Metric]:
        return list(self._found.values())


def _count_scopes(families: _Families, database: str, counts: Counts) -> None:
    for scope, named in counts.by_name():
        labels = (database, scope)
        for outcome, count in named.outcomes.items():
            families.add("hermetic_scopes", (*labels, outcome), count)
        for error, count in named.errors.items():
            families.add("hermetic_scope_errors", (*labels, error), count)
        families.add("hermetic_scope_retries", labels, named.retries)
        families.add("hermetic_statements", labels, named.statements)
        families.add("hermetic_rows", labels, named.rows)
        families.add("hermetic_round_trips", labels, named.round_trips)
        families.add("hermetic_statement_seconds", labels, named.working)
        families.spread("hermetic_scope_seconds", labels, named.seconds)
    families.spread("hermetic_scope_wait_seconds", (database,), counts.waits())


def _look(families: _Families, name: str, database: Any) -> None:
    seen = database.snapshot()
    families.add("hermetic_scopes_open", (name,), len(seen.scopes))
    connections: dict[tuple[str, str, str], int] = {}
    for each in seen.connections:
        key = (each.role, each.world, each.state)
        connections[key] = connections.get(key, 0) + 1
    for key, count in connections.items():
        families.add("hermetic_connections", (name, *key), count)
    _look_at_pools(families, name, seen)
    for server in seen.servers:
        up = float(server.state in ("up", "unknown"))
        families.add("hermetic_server_up", (name, server.name, server.role), up)
        if server.lag is not None:
            families.add("hermetic_replica_lag_seconds", (name, server.name), server.lag)
    for metric, counter in (
        ("hermetic_retries", "retries"),
        ("hermetic_commits_resolved", "resolved"),
        ("hermetic_connections_destroyed", "destroyed"),
    ):
        families.add(metric, (name,), seen.counters.get(counter, 0))
    for what, count in seen.cache.items():
        families.add("hermetic_cache", (name, what), count)
    watch = database.registry.watch
    for code, count in {} if watch is None else watch.findings.totals().items():
        families.add("hermetic_findings", (name, code), count)


def _look_at_pools(families: _Families, name: str, seen: Any) -> None:
    found: dict[str, list[float]] = {}
    for pool in seen.pools:
        key = pool.name if pool.name in found or len(found) < _POOLS else OTHER
        figures = (
            *(pool.limit, pool.lent, pool.waiting),
            *(pool.admitted, pool.waited, pool.refused, pool.wait_seconds),
        )
        known = found.get(key, [0.0] * len(figures))
        found[key] = [one + two for one, two in zip(known, figures, strict=True)]
    metrics = ("limit", "lent", "waiting", "admitted", "waited", "refused", "wait_seconds")
    for pool_name, values in found.items():
        for metric, value in zip(metrics, values, strict=True):
            families.add(f"hermetic_pool_{metric}", (name, pool_name), value)
