"""A test's own empty databases, and the proof that it left nothing behind in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tests.backends import FAMILY_SCHEMES, Backend
from tests.servers import ServerAccess
from tests.servers.process import wait_until

# A server notices the end of a connection a moment after its client has closed it.
_PATIENCE = 15.0


class FreshUrl(Protocol):
    """The URL of an empty database of this test's own, through one driver.

    Drivers of one family meet in the same database; another `database` is another one.
    """

    def __call__(self, backend: Backend, database: str = "main") -> str: ...


class FamilyUrl(Protocol):
    """As FreshUrl, with a URL that names no driver."""

    def __call__(self, family: str, database: str = "main") -> str: ...


class WorkerDatabases:
    """The server databases of one test process: made once, emptied after each test."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._generation = 0
        self._names: dict[tuple[str, str], str] = {}

    def name(self, server: ServerAccess, database: str) -> str:
        key = server.family, database
        if key not in self._names:
            name = f"t{self._generation}_{self._worker}_{database}"
            server.create_database(name)
            self._names[key] = name
        return self._names[key]

    def abandon(self, server: ServerAccess, database: str) -> None:
        """Use another database from now on: the present one could not be emptied."""
        self._generation += 1
        del self._names[server.family, database]


class TestDatabases:
    """The databases that one test asked for."""

    # Not a test, whatever its name begins with.
    __test__ = False

    def __init__(
        self, worker: WorkerDatabases, server: Callable[[str], ServerAccess], folder: Path
    ) -> None:
        self._worker = worker
        self._server = server
        self._folder = folder
        self._files: set[Path] = set()
        self._used: dict[tuple[str, str], ServerAccess] = {}

    def url(self, backend: Backend, database: str = "main") -> str:
        return self._url(backend.family, backend.scheme, database)

    def family_url(self, family: str, database: str = "main") -> str:
        return self._url(family, FAMILY_SCHEMES[family], database)

    def finish(self, *, patience: float = _PATIENCE) -> list[str]:
        """Empty what was used; tells what was still open."""
        left = [
            f"{path.name}: {count} file descriptors still open"
            for path in self._files
            if (count := _descriptors(path, patience))
        ]
        for (_, database), server in self._used.items():
            left += self._finish_on(server, database, patience)
        self._files.clear()
        self._used.clear()
        return left

    def _url(self, family: str, scheme: str, database: str) -> str:
        if family == "sqlite":
            path = self._folder / f"{database}.db"
            self._files.add(path)
            return f"{scheme}:///{path}"
        server = self._server(family)
        name = self._worker.name(server, database)
        self._used[family, database] = server
        return server.url(name, scheme)

    def _finish_on(self, server: ServerAccess, database: str, patience: float) -> list[str]:
        name = self._worker.name(server, database)
        left = []
        if not wait_until(lambda: not server.connections(name), patience):
            left = [f"{server.family}: {connection}" for connection in server.connections(name)]
            server.kill_backends(name)
            wait_until(lambda: not server.connections(name), patience)
        left += [
            f"{server.family}: transaction {prepared!r} still prepared"
            for prepared in server.discard_prepared(name)
        ]
        try:
            server.empty_database(name)
        except Exception as error:
            # Whatever it was, the next test must not meet it.
            self._worker.abandon(server, database)
            left.append(f"{server.family}: the database could not be emptied: {error}")
        return left


def _descriptors(path: Path, patience: float) -> int:
    """How many descriptors this process keeps on a SQLite file, its log included."""
    count = _descriptors_now(path)
    if count:
        wait_until(lambda: not _descriptors_now(path), patience)
        count = _descriptors_now(path)
    return count


def _descriptors_now(path: Path) -> int:
    table = Path("/proc/self/fd")
    if not table.is_dir():
        return 0
    targets = []
    for descriptor in table.iterdir():
        try:
            targets.append(str(descriptor.readlink()))
        except FileNotFoundError:
            # Closed since the folder was listed, at the latest the listing's own.
            continue
    return sum(target.startswith(str(path)) for target in targets)
