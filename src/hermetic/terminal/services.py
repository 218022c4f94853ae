"""The workers of one service, added up: counters, pools, findings, figures of the last hour."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ..nearby.asking import Answered
from .words import clean

# what is added up of the last hour of a name; of the others the greatest is taken
_SUMS = (
    *("count", "committed", "not_committed", "unknown", "failed", "retried"),
    *("statements", "rows", "round_trips", "seconds", "waited"),
)
_GREATEST = ("p50", "p95", "p99", "longest")


@dataclass(slots=True)
class Worker:
    """One process: who it is, and its state as the inspector has it, if it has told it."""

    pid: int
    service: str
    command: str
    since: float
    databases: list[dict[str, Any]]
    said: dict[str, Any]
    problem: str | None = None
    # what it may be asked by for more
    answered: Answered | None = None

    @property
    def open_scopes(self) -> int:
        """How many scopes are open in it."""
        return sum(database["open_scopes"] for database in self.databases)

    def counter(self, name: str) -> int:
        """Of all its Databases: one of a snapshot's counters."""
        return sum(database["counters"].get(name, 0) for database in self.databases)


def databases_of(state: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The Databases of a state. A group's scope is told of each of its databases, and not again."""
    found = (state or {}).get("databases", [])
    return [database for database in found if database["kind"] == "database"]


def worker_of(answered: Answered) -> Worker:
    """What is known of a process."""
    said = answered.said
    return Worker(
        pid=answered.pid,
        service=clean(said.get("service") or "?", 100),
        command=clean(said.get("command") or "?", 100),
        since=float(said.get("since") or 0.0),
        databases=databases_of(said.get("state")),
        said=said,
        problem=answered.problem,
        answered=answered,
    )


@dataclass(slots=True)
class Pool:
    """A pool of a service: of all workers together."""

    database: str
    name: str
    workers: int = 0
    limit: int = 0
    lent: int = 0
    waiting: int = 0
    admitted: int = 0
    waited: int = 0
    refused: int = 0
    wait_seconds: float = 0.0

    def add(self, pool: dict[str, Any]) -> None:
        """That of one more worker."""
        self.workers += 1
        for name in ("limit", "lent", "waiting", "admitted", "waited", "refused", "wait_seconds"):
            setattr(self, name, getattr(self, name) + pool[name])


@dataclass(slots=True)
class Service:
    """All workers of one name."""

    name: str
    workers: list[Worker] = field(default_factory=list)

    @property
    def open_scopes(self) -> int:
        """How many scopes are open in all of them."""
        return sum(worker.open_scopes for worker in self.workers)

    def counter(self, name: str) -> int:
        """Of all workers: one of a snapshot's counters."""
        return sum(worker.counter(name) for worker in self.workers)

    def _databases(self) -> Iterator[dict[str, Any]]:
        for worker in self.workers:
            yield from worker.databases

    def pools(self) -> list[Pool]:
        """The pools by database and name, added up."""
        found: dict[tuple[str, str], Pool] = {}
        for database in self._databases():
            for pool in database["pools"]:
                key = (clean(database["name"]), clean(pool["name"]))
                found.setdefault(key, Pool(*key)).add(pool)
        return list(found.values())

    def findings(self) -> list[dict[str, Any]]:
        """What was found, the latest first: what comes from one place is one, in all workers."""
        found: dict[str, dict[str, Any]] = {}
        for worker in self.workers:
            for database in worker.databases:
                for each in database["findings"]:
                    mine = {**each, "workers": {worker.pid}, "service": self.name}
                    known = found.get(each["id"])
                    found[each["id"]] = mine if known is None else _merged(known, mine)
        return sorted(found.values(), key=lambda each: -each["last"])

    def names(self) -> list[dict[str, Any]]:
        """The last hour of each name of scopes. Percentiles cannot be added: the worst is shown."""
        found: dict[str, dict[str, Any]] = {}
        for database in self._databases():
            for each in (database["history"] or {"names": []})["names"]:
                known = found.setdefault(each["name"], {"name": each["name"]})
                for name in _SUMS:
                    known[name] = known.get(name, 0) + each[name]
                for name in _GREATEST:
                    known[name] = max(known.get(name, 0.0), each[name])
                known["service"] = self.name
        return list(found.values())

    def scopes(self) -> list[dict[str, Any]]:
        """The open scopes of all workers, each with its worker."""
        return [
            {**scope, "worker": worker, "database": database["id"]}
            for worker in self.workers
            for database in worker.databases
            for scope in database["scopes"]
        ]


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    latest = one if one["last"] >= other["last"] else other
    return {
        **latest,
        "count": one["count"] + other["count"],
        "first": min(one["first"], other["first"]),
        "workers": one["workers"] | other["workers"],
    }


@dataclass(slots=True)
class Look:
    """All processes at one moment, by their services."""

    services: list[Service]
    left_out: list[str] = field(default_factory=list)
    at: float = field(default_factory=time.time)

    @property
    def workers(self) -> list[Worker]:
        """Every process."""
        return [worker for service in self.services for worker in service.workers]


def by_service(workers: Iterable[Worker]) -> list[Service]:
    """Workers of one name together, the names in their order."""
    found: dict[str, Service] = {}
    for worker in sorted(workers, key=lambda each: (each.service, each.since, each.pid)):
        found.setdefault(worker.service, Service(worker.service)).workers.append(worker)
    return list(found.values())
