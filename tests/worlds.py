"""Behaviour written once, run in both worlds on every driver.

A case is an `async def` that takes the `world` fixture. In the world of asyncio it runs on a loop;
in the world of threads the same coroutine is driven without any loop, and everything it awaits is
done at once.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from functools import lru_cache
from types import TracebackType
from typing import Any, TypeVar

from sqlalchemy import URL, Engine, create_engine, make_url, text

from hermetic import Database
from tests.backends import Backend
from tests.models import Base

R = TypeVar("R")

# How long a case waits for what it expects of another thread or task.
PATIENCE = 15.0

_WAITING_METHODS = frozenset(
    (
        *("execute", "scalar", "scalars", "get", "get_one", "flush", "refresh", "delete", "merge"),
        *("commit", "rollback", "close", "reset", "connection", "invalidate"),
        *("insert_many", "update_many", "delete_many"),
    )
)


def drive(case: Coroutine[Any, Any, R]) -> R:
    """Run a coroutine that never really waits."""
    try:
        case.send(None)
    except StopIteration as done:
        result: R = done.value
        return result
    case.close()
    raise AssertionError("a case of the threads' world waited for a loop")


class Face:
    """A sync session with the methods of an AsyncSession."""

    def __init__(self, session: Any) -> None:
        self.sync_session = session

    def __repr__(self) -> str:
        return repr(self.sync_session)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.sync_session, name)
        if name not in _WAITING_METHODS:
            return value

        async def call(*args: Any, **kwargs: Any) -> Any:
            return value(*args, **kwargs)

        return call

    async def run_sync(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(self.sync_session, *args)

    def begin_nested(self) -> Block:
        return Block(self.sync_session.begin_nested())

    def lend(self) -> Block:
        return Block(self.sync_session.lend())


class Block(AbstractAsyncContextManager[Any, bool | None]):
    """An ordinary block, entered with `async with`; a session that it gives gets its face."""

    def __init__(self, block: Any) -> None:
        self._block = block

    async def __aenter__(self) -> Any:
        given = self._block.__enter__()
        return Face(given) if hasattr(given, "identity_map") else given

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        answer: bool | None = self._block.__exit__(kind, error, trace)
        return answer


class Attempts:
    """A sync loop of attempts, gone through with `async for`."""

    def __init__(self, loop: Any) -> None:
        self._loop = iter(loop)

    def __aiter__(self) -> Attempts:
        return self

    async def __anext__(self) -> Block:
        try:
            return Block(next(self._loop))
        except StopIteration:
            raise StopAsyncIteration from None


class Signal:
    """An event between two parties of one world. Waiting has an end."""

    def __init__(self, *, asynchronous: bool) -> None:
        self._event: Any = asyncio.Event() if asynchronous else threading.Event()
        self._asynchronous = asynchronous

    def set(self) -> None:
        self._event.set()

    def is_set(self) -> bool:
        answer: bool = self._event.is_set()
        return answer

    async def wait(self) -> None:
        if self._asynchronous:
            async with asyncio.timeout(PATIENCE):
                await self._event.wait()
        elif not self._event.wait(PATIENCE):
            raise AssertionError("nobody set the signal")


@lru_cache(maxsize=16)
def _observer(url: URL) -> Engine:
    """One for all tests of a database: its first look at the server costs more than they ask."""
    return create_engine(url)


class World:
    """One driver in its world: Databases, sessions, concurrency and an observer beside them."""

    def __init__(self, backend: Backend, url: str, observer_url: str) -> None:
        self.backend = backend
        self.is_async = backend.is_async
        self.url = url
        self._observer_url = observer_url
        self._observer: Engine | None = None
        self._databases: list[Database] = []
        Base.metadata.create_all(self.observer)

    # Databases and their scopes

    @property
    def db(self) -> Database:
        """The case's Database, with default options unless `database()` made another one first."""
        return self._databases[0] if self._databases else self.database()

    def database(self, **options: Any) -> Database:
        db = Database(self.url, **options)
        self._databases.append(db)
        return db

    def session(self, db: Database | None = None, /, **options: Any) -> Any:
        """A scope: `async with world.session() as session`."""
        unit = (db or self.db).session(**options)
        return unit if self.is_async else Block(unit)

    def attempts(self, db: Database | None = None, /, **options: Any) -> Any:
        """A loop: `async for attempt in world.attempts(): async with attempt as session`."""
        loop = (db or self.db).attempts(**options)
        return loop if self.is_async else Attempts(loop)

    def unit(self, db: Database | None = None, /, **options: Any) -> Callable[..., Any]:
        """A decorator for coroutine functions whose first argument is the session."""
        decorate = (db or self.db).session(**options)
        if self.is_async:
            return decorate

        def wrap(function: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
            def plain(session: Any, *args: Any, **kwargs: Any) -> Any:
                return drive(function(Face(session), *args, **kwargs))

            plain.__qualname__ = plain.__name__ = function.__name__
            decorated: Callable[..., Any] = decorate(plain)

            async def call(*args: Any, **kwargs: Any) -> Any:
                return decorated(*args, **kwargs)

            return call

        return wrap

    def face(self, session: Any) -> Any:
        """A session that was got elsewhere (`db.current`), in the form that cases use."""
        return session if self.is_async else Face(session)

    # Concurrency

    def signal(self) -> Signal:
        return Signal(asynchronous=self.is_async)

    async def together(self, *parties: Callable[[], Awaitable[Any]]) -> list[Any]:
        """Run parties at once, as threads or tasks; their results, or what they raised."""
        if self.is_async:
            async with asyncio.timeout(4 * PATIENCE):
                tasks = [asyncio.ensure_future(party()) for party in parties]
                return list(await asyncio.gather(*tasks, return_exceptions=True))
        results: list[Any] = [AssertionError("a party did not end")] * len(parties)

        def run(index: int, party: Callable[[], Any]) -> None:
            try:
                results[index] = drive(party())
            except BaseException as error:
                results[index] = error

        threads = [
            threading.Thread(target=run, args=(index, party), name=f"party-{index}", daemon=True)
            for index, party in enumerate(parties)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(4 * PATIENCE)
        return results

    # What others see

    @property
    def observer(self) -> Engine:
        """A plain SQLAlchemy engine on the same database, with nothing of hermetic's in it."""
        if self._observer is None:
            url = make_url(self._observer_url)
            # the bare ones are psycopg2's and mysqlclient's, in SQLAlchemy 2.0
            drivers = {"mariadb": "mysql+pymysql", "postgresql": "postgresql+psycopg"}
            url = url.set(drivername=drivers.get(self.backend.family, url.drivername))
            self._observer = _observer(url)
        return self._observer

    def seen(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """The rows that another connection sees at this moment."""
        with self.observer.connect() as connection:
            return [tuple(row) for row in connection.execute(text(sql), parameters)]

    def do(self, sql: str, **parameters: Any) -> None:
        """A change made by another connection, and committed."""
        with self.observer.begin() as connection:
            connection.execute(text(sql), parameters)

    def usernames(self) -> list[str]:
        """The committed users, as another connection sees them."""
        return [row[0] for row in self.seen("SELECT username FROM users ORDER BY username")]

    # The end

    def close(self) -> None:
        for db in self._databases:
            db.close()
        self.close_observer()

    async def aclose(self) -> None:
        for db in self._databases:
            await db.aclose()

    def close_observer(self) -> None:
        if self._observer is not None:
            self._observer.dispose()
