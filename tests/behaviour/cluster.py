"""A primary with replicas of a test's own: to be paused, killed and promoted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from hermetic import Database, ServerInfo
from tests.backends import Backend
from tests.servers import (
    LocalServer,
    MariaDBPrimary,
    MariaDBReplica,
    PostgreSQLReplica,
    PostgreSQLServer,
)
from tests.servers.process import wait_until
from tests.worlds import PATIENCE, World

# which server a statement is executed on
PORT = {"postgresql": "SELECT inet_server_port()", "mariadb": "SELECT @@port"}


class Cluster:
    """A primary and its replicas: two of PostgreSQL's, one of MariaDB's."""

    def __init__(
        self,
        family: str,
        replicas: int | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.family = family
        self.primary: Any
        self.replicas: list[Any] = []
        self._started: list[LocalServer] = []
        count = replicas or (2 if family == "postgresql" else 1)
        try:
            self._start(count, settings)
        except BaseException:
            self.stop()
            raise

    def _start(self, count: int, settings: Mapping[str, str] | None) -> None:
        postgresql = self.family == "postgresql"
        make = PostgreSQLServer if postgresql else MariaDBPrimary
        self.primary = make(settings=settings)
        self.primary.start()
        self._started.append(self.primary)
        for _ in range(count):
            made = PostgreSQLReplica if postgresql else MariaDBReplica
            replica: Any = made(self.primary)
            replica.start()
            self._started.append(replica)
            self.replicas.append(replica)
        self.primary.create_database("app")
        self.catch_up()

    def stop(self) -> None:
        while self._started:
            self._started.pop().stop()

    def world(self, backend: Backend) -> World:
        self.primary.empty_database("app")
        world = World(backend, self.primary.url("app", backend.scheme), self.primary.url("app"))
        self.catch_up()
        return world

    def catch_up(self) -> None:
        for replica in self.replicas:
            replica.catch_up()

    def urls(self, world: World) -> list[str]:
        return [replica.url("app", world.backend.scheme) for replica in self.replicas]

    def database(self, world: World, **options: Any) -> Database:
        """The world's Database, with these replicas."""
        return world.database(**{"replicas": self.urls(world), **options})

    @contextlib.contextmanager
    def paused(self, *replicas: Any) -> Iterator[None]:
        """Replicas that show nothing new for a while."""
        for replica in replicas:
            replica.pause()
        try:
            yield
        finally:
            for replica in replicas:
                replica.resume()

    @property
    def ports(self) -> set[int]:
        return {replica.port for replica in self.replicas}

    def on(self, server: Any, sql: str) -> Any:
        """What a statement gives on one server."""
        engine = create_engine(server.url("app"), poolclass=NullPool)
        with engine.connect() as connection:
            return connection.scalar(text(sql))


async def port_of(world: World, db: Database, **options: Any) -> int:
    """Which server a read-only scope reads from."""
    async with world.session(db, readonly=True, **options) as session:
        port: int = await session.scalar(text(PORT[world.backend.family]))
    return port


def taken(db: Database) -> list[str]:
    """The connections that somebody has, who is no probe."""
    found = db.snapshot().connections
    return [f"connection {c.number}" for c in found if c.state != "idle" and c.role != "probe"]


def info_of(db: Database, server: Any) -> ServerInfo:
    """What a Database knows of one server."""
    (found,) = [info for info in db.snapshot().servers if f":{server.port}/" in info.name]
    return found


def known_as(db: Database, server: Any, state: str) -> bool:
    """Wait until a Database takes a server for that."""
    return wait_until(lambda: info_of(db, server).state == state, PATIENCE)
