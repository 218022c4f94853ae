"""What a client may do with a running server, whoever started it."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL

from tests.servers.process import wait_until

_PATIENCE = 15.0
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,50}")


@dataclass(frozen=True, slots=True)
class ServerAddress:
    host: str
    port: int
    socket_dir: str
    user: str
    password: str


@dataclass(frozen=True, slots=True)
class Connection:
    """One client connection, as the server sees it."""

    id: int
    user: str
    state: str
    statement: str

    def __str__(self) -> str:
        return f"connection {self.id} of {self.user!r}, {self.state}, statement {self.statement!r}"


class ServerAccess(ABC):
    """Each call opens an administrator's connection of its own and closes it again."""

    family: str
    default_scheme: str
    # whether it is the server of a whole run, that other tests use too
    shared = False

    def __init__(self, address: ServerAddress | None) -> None:
        self._address = address

    @property
    def address(self) -> ServerAddress:
        if self._address is None:
            raise RuntimeError(f"{type(self).__name__} is not started")
        return self._address

    @property
    def host(self) -> str:
        return self.address.host

    @property
    def port(self) -> int:
        return self.address.port

    @property
    def socket_dir(self) -> Path:
        return Path(self.address.socket_dir)

    @property
    def user(self) -> str:
        return self.address.user

    @property
    def password(self) -> str:
        return self.address.password

    def close(self) -> None:  # noqa: B027 - most keep nothing
        """Let go of what is kept between calls."""

    def url(self, database: str, scheme: str | None = None) -> str:
        """The URL of a database over TCP, with its password: never print it."""
        return URL.create(
            scheme or self.default_scheme,
            username=self.user,
            password=self.password,
            host=self.host,
            port=self.port,
            database=checked_name(database),
        ).render_as_string(hide_password=False)

    @abstractmethod
    def version(self) -> str:
        """The version the running server reports."""

    @abstractmethod
    def create_database(self, name: str) -> None: ...

    @abstractmethod
    def drop_database(self, name: str) -> None:
        """Drop a database, with the connections to it; nothing happens when there is none."""

    @abstractmethod
    def empty_database(self, name: str) -> None: ...

    @abstractmethod
    def connections(self, database: str) -> list[Connection]:
        """The clients connected to a database now, the asking connection excepted."""

    def kill_backends(self, database: str) -> int:
        """End every client connection to a database; returns how many there were.

        They are gone then: one that was told to end may carry out a statement before it looks.
        """
        told = {connection.id for connection in self.connections(database)}
        self._kill(sorted(told))
        wait_until(lambda: not told & {each.id for each in self.connections(database)}, _PATIENCE)
        return len(told)

    @abstractmethod
    def _kill(self, connections: Sequence[int]) -> None:
        """Tell connections to end, by their numbers; one that is gone is no error."""

    @abstractmethod
    def discard_prepared(self, database: str) -> list[str]:
        """Roll back two-phase transactions left prepared in a database; returns their names."""


def checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a plain database name: {name!r}")
    return name
