"""One database of a test: engines made by SQLAlchemy, Databases, and what others see of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, NullPool, create_engine, event, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from hermetic import Database
from tests.models import Base
from tests.servers import ServerAccess
from tests.servers.process import wait_until

# What SQLAlchemy needs named; a Database finds its drivers by itself.
_SYNC_SCHEMES = {"sqlite": "sqlite", "postgresql": "postgresql", "mariadb": "mysql+pymysql"}
_ASYNC_SCHEMES = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "mariadb": "mysql+asyncmy",
}
_PATIENCE = 30.0
_OWN_NUMBER = {"postgresql": "SELECT pg_backend_pid()", "mariadb": "SELECT connection_id()"}


class Ground:
    """An empty database with the tables of tests.models. It closes whatever it made."""

    def __init__(
        self, family: str, url_of: Callable[[str], str], server: Callable[[], ServerAccess]
    ) -> None:
        self.family = family
        self._url_of = url_of
        self._server = server
        self._closers: list[Callable[[], None]] = []
        self.bare_url = self.url_of()
        self.url = self._with_scheme(self.bare_url, _SYNC_SCHEMES)
        self.async_url = self._with_scheme(self.bare_url, _ASYNC_SCHEMES)
        self._observer = create_engine(self.url, poolclass=NullPool)
        self._observers: set[int] = set()
        if family in _OWN_NUMBER:
            event.listen(self._observer, "connect", self._is_an_observer)
        Base.metadata.create_all(self._observer)

    def url_of(self, database: str = "main") -> str:
        """The URL of a database, without a driver's name."""
        return self._url_of(database)

    def engine(self, *, database: str = "main", **options: Any) -> Engine:
        """An engine as an application makes it, with nothing of hermetic's in it."""
        url = self._with_scheme(self.url_of(database), _SYNC_SCHEMES)
        engine = create_engine(url, **options)
        self._closers.append(engine.dispose)
        if database != "main":
            Base.metadata.create_all(engine)
        return engine

    @asynccontextmanager
    async def async_engine(self, **options: Any) -> AsyncIterator[AsyncEngine]:
        engine = create_async_engine(self.async_url, **options)
        try:
            yield engine
        finally:
            await engine.dispose()

    def database(self, *, url: str | None = None, **options: Any) -> Database:
        db = Database(url or self.bare_url, **options)
        self._closers.append(db.close)
        return db

    # What others see

    def seen(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """The rows that a connection of nobody's sees at this moment."""
        with self._observer.connect() as connection:
            return [tuple(row) for row in connection.execute(text(sql), parameters)]

    def usernames(self) -> list[str]:
        """The committed users, as a connection of nobody's sees them."""
        return [row[0] for row in self.seen("SELECT username FROM users ORDER BY username")]

    def connections(self) -> int:
        """The connections to the database: as the server counts them, or open files of SQLite.

        An observer's own does not count: the server may list it for a moment after its end.
        """
        if self.family == "sqlite":
            return _descriptors(Path(str(make_url(self.url).database)))
        listed = self._server().connections(str(make_url(self.url).database))
        return len({connection.id for connection in listed} - self._observers)

    def has_connections(self, expected: int) -> bool:
        """Whether that many are there: a server notices an end a moment later."""
        return wait_until(lambda: self.connections() == expected, _PATIENCE)

    def has_at_most(self, most: int) -> bool:
        return wait_until(lambda: self.connections() <= most, _PATIENCE)

    def kill_connections(self) -> None:
        """End every connection on the server's side; SQLite has no such side."""
        self._server().kill_backends(str(make_url(self.url).database))

    # The end

    def close(self) -> None:
        for close in reversed(self._closers):
            close()

    def _is_an_observer(self, connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(_OWN_NUMBER[self.family])
        self._observers.add(cursor.fetchone()[0])
        cursor.close()

    @staticmethod
    def _with_scheme(url: str, schemes: dict[str, str]) -> str:
        plain, _, rest = url.partition("://")
        family = "mariadb" if plain == "mysql" else plain
        return f"{schemes[family]}://{rest}"


def _descriptors(path: Path) -> int:
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            count += descriptor.readlink() == path
        except FileNotFoundError:
            # Closed since the folder was listed.
            continue
    return count
