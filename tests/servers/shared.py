"""One server of each family for a whole run, shared by all processes of the run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from typing import Final

from tests.servers.access import ServerAccess, ServerAddress
from tests.servers.local import LocalServer
from tests.servers.mariadb import MariaDBAccess, MariaDBServer
from tests.servers.postgresql import PostgreSQLAccess, PostgreSQLServer
from tests.servers.process import ServerFailed, ServerUnavailable

_SERVERS: Final[dict[str, type[LocalServer]]] = {
    "postgresql": PostgreSQLServer,
    "mariadb": MariaDBServer,
}
_ACCESS: Final[dict[str, Callable[[ServerAddress], ServerAccess]]] = {
    "postgresql": PostgreSQLAccess,
    "mariadb": MariaDBAccess,
}


class ServerSet:
    """The servers of a run.

    The process that owns them starts each when it is first asked for. Other processes get the
    owner's answers as text, by `export`, and only connect.
    """

    def __init__(self, exported: str | None = None) -> None:
        self._owner = os.getpid()
        self._started: list[LocalServer] = []
        self._known: dict[str, ServerAccess] = {}
        self._refusals: dict[str, ServerUnavailable | ServerFailed] = {}
        if exported is not None:
            self._import(exported)

    def get(self, family: str) -> ServerAccess:
        """Raises ServerUnavailable if it is not installed, ServerFailed if it does not start."""
        if family not in self._known and family not in self._refusals:
            self._start(family)
        if family in self._refusals:
            raise self._refusals[family].with_traceback(None)
        return self._known[family]

    def export(self) -> str:
        """Start what is not started, and tell where each is, or why it is not."""
        answers: dict[str, dict[str, object]] = {}
        for family in _SERVERS:
            try:
                answers[family] = asdict(self.get(family).address)
            except ServerUnavailable as error:
                answers[family] = {"unavailable": str(error)}
            except ServerFailed as error:
                answers[family] = {"failed": str(error)}
        return json.dumps(answers)

    def stop(self) -> None:
        for access in self._known.values():
            access.close()
        # A test that forks leaves a child with a copy of this object.
        if os.getpid() != self._owner:
            return
        while self._started:
            self._started.pop().stop()

    def _start(self, family: str) -> None:
        server = _SERVERS[family]()
        try:
            server.start()
        except (ServerUnavailable, ServerFailed) as error:
            self._refusals[family] = error
        else:
            self._started.append(server)
            self._known[family] = server

    def _import(self, exported: str) -> None:
        for family, answer in json.loads(exported).items():
            if "unavailable" in answer:
                self._refusals[family] = ServerUnavailable(answer["unavailable"])
            elif "failed" in answer:
                self._refusals[family] = ServerFailed(answer["failed"])
            else:
                self._known[family] = access = _ACCESS[family](ServerAddress(**answer))
                access.shared = True


def installed() -> dict[str, str | None]:
    """The version of each family's programs; None where there are none."""
    versions: dict[str, str | None] = {}
    for family, server in _SERVERS.items():
        try:
            versions[family] = server.installed_version()
        except ServerUnavailable:
            versions[family] = None
    return versions
