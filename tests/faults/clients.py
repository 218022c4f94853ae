"""Connections that a test drives from one thread, whatever world their driver lives in."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Generic, TypeVar
from uuid import uuid4

import pytest
from sqlalchemy import NullPool, create_engine, make_url
from sqlalchemy import exc as sa_exc
from sqlalchemy.ext.asyncio import create_async_engine

from hermetic.blending import FAULT_CLASSES, fault_error
from hermetic.dialects.classify import classify
from hermetic.faults import Fault
from tests.backends import BACKENDS, Backend

T = TypeVar("T")
Rows = list[Any]

_PATIENCE = 20.0


def on(*names: str) -> pytest.MarkDecorator:
    """Run a test on these families, or by these drivers, alone."""
    chosen = [
        pytest.param(backend, id=backend.name, marks=getattr(pytest.mark, backend.family))
        for backend in BACKENDS
        if backend.family in names or backend.name in names
    ]
    return pytest.mark.parametrize("backend", chosen)


on_servers = on("postgresql", "mariadb")


class Pending(Generic[T]):
    """A call under way. Its error is kept as it was raised: a Future would make a copy of some."""

    def __init__(self, future: Future[tuple[T | None, Exception | None]]) -> None:
        self._future = future

    @property
    def done(self) -> bool:
        return self._future.done()

    def error_or_none(self) -> Exception | None:
        return self._future.result(_PATIENCE)[1]

    def error(self) -> Exception:
        error = self.error_or_none()
        assert error is not None, "the database did not object"
        return error

    def result(self) -> T:
        value, error = self._future.result(_PATIENCE)
        if error is not None:
            raise error
        return value  # type: ignore[return-value]


class Client(ABC):
    """One connection, in a transaction from its first statement on, as SQLAlchemy's are."""

    @abstractmethod
    def start(self, statement: str) -> Pending[Rows]: ...

    @abstractmethod
    def commit(self) -> Pending[None]: ...

    @abstractmethod
    def rollback(self) -> Pending[None]: ...

    @abstractmethod
    def close_driver(self) -> None:
        """Close the driver's connection behind SQLAlchemy's back."""

    @abstractmethod
    def interrupt(self) -> None:
        """SQLite's: end what is running, from any thread."""

    @abstractmethod
    def close(self) -> None: ...

    def run(self, *statements: str) -> Rows:
        """Run statements; the rows of the last."""
        rows: Rows = []
        for statement in statements:
            rows = self.start(statement).result()
        return rows

    def error(self, statement: str) -> Exception:
        return self.start(statement).error()


class ThreadClient(Client):
    def __init__(self, url: str, connect_args: dict[str, Any]) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._engine = create_engine(url, poolclass=NullPool, connect_args=connect_args)
        try:
            self._connection = self._submit(self._engine.connect).result()
        except Exception:
            self._thread.shutdown()
            raise
        self._driver: Any = self._connection.connection.driver_connection

    def start(self, statement: str) -> Pending[Rows]:
        def execute() -> Rows:
            result = self._connection.exec_driver_sql(statement)
            return [*result] if result.returns_rows else []

        return self._submit(execute)

    def commit(self) -> Pending[None]:
        return self._submit(self._connection.commit)

    def rollback(self) -> Pending[None]:
        return self._submit(self._connection.rollback)

    def close_driver(self) -> None:
        self._submit(self._driver.close).result()

    def interrupt(self) -> None:
        self._driver.interrupt()

    def close(self) -> None:
        self._submit(self._connection.close).error_or_none()
        self._submit(self._engine.dispose).result()
        self._thread.shutdown()

    def _submit(self, call: Callable[[], T]) -> Pending[T]:
        def outcome() -> tuple[T | None, Exception | None]:
            try:
                return call(), None
            except Exception as error:
                return None, error

        return Pending(self._thread.submit(outcome))


class LoopClient(Client):
    def __init__(self, url: str, connect_args: dict[str, Any]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._engine = create_async_engine(url, poolclass=NullPool, connect_args=connect_args)
        try:
            self._connection = self._submit(self._engine.connect).result()
        except Exception:
            self._stop()
            raise
        raw = self._submit(self._connection.get_raw_connection).result()
        self._driver: Any = raw.driver_connection

    def start(self, statement: str) -> Pending[Rows]:
        async def execute() -> Rows:
            result = await self._connection.exec_driver_sql(statement)
            return [*result] if result.returns_rows else []

        return self._submit(execute)

    def commit(self) -> Pending[None]:
        return self._submit(self._connection.commit)

    def rollback(self) -> Pending[None]:
        return self._submit(self._connection.rollback)

    def close_driver(self) -> None:
        self._submit(self._driver.close).result()

    def interrupt(self) -> None:
        self._driver._conn.interrupt()

    def close(self) -> None:
        self._submit(self._connection.close).error_or_none()
        self._submit(self._engine.dispose).result()
        self._stop()

    def _submit(self, call: Callable[[], Awaitable[T]]) -> Pending[T]:
        async def outcome() -> tuple[T | None, Exception | None]:
            try:
                return await call(), None
            except Exception as error:
                return None, error

        started: Coroutine[Any, Any, tuple[T | None, Exception | None]] = outcome()
        return Pending(asyncio.run_coroutine_threadsafe(started, self._loop))

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Bench:
    """A backend's database, and as many clients of it as a test wants."""

    def __init__(self, backend: Backend, url: str) -> None:
        self.backend = backend
        self.url = url
        self._clients: list[Client] = []

    def client(self, url: str | None = None, **connect_args: Any) -> Client:
        if self.backend.family == "sqlite":
            # transactions begin where the test says so; a lock is not waited for
            connect_args = {"isolation_level": None, "timeout": 0.05, **connect_args}
        kind = LoopClient if self.backend.is_async else ThreadClient
        client = kind(url or self.url, connect_args)
        self._clients.append(client)
        return client

    def once(self, *statements: str) -> Rows:
        """Run statements and commit, on a connection of their own."""
        client = self.client()
        try:
            rows = client.run(*statements)
            client.commit().result()
            return rows
        finally:
            self._clients.remove(client)
            client.close()

    def connect_error(self, url: str, **connect_args: Any) -> Exception:
        try:
            self.client(url, **connect_args)
        except Exception as error:
            return error
        raise AssertionError("the connect succeeded")

    def fault(self, error: Exception) -> Fault:
        """An error's fault; as the fault's class it must go on being SQLAlchemy's."""
        fault = classify(error, family=self.backend.family)
        assert fault is not None, repr(error)
        if not isinstance(error, sa_exc.StatementError):
            # asyncpg lets the system's errors through, and SQLAlchemy does
            error = sa_exc.OperationalError(None, None, error)
        translated = fault_error(error, fault)
        assert isinstance(translated, FAULT_CLASSES[fault.kind])
        assert isinstance(translated, type(error))
        assert classify(translated) is fault
        return fault

    def id_of(self, client: Client) -> int:
        """The server's number for a connection."""
        ask = {"postgresql": "SELECT pg_backend_pid()", "mariadb": "SELECT connection_id()"}
        return int(client.run(ask[self.backend.family])[0][0])

    def kill(self, id_: int) -> None:
        statement = {"postgresql": "SELECT pg_terminate_backend({})", "mariadb": "KILL {}"}
        self.once(statement[self.backend.family].format(id_))

    def lists(self, id_: int, *, asleep: bool = False) -> bool:
        """Whether the server has that connection, asleep in a statement where that is asked."""
        if self.backend.family == "postgresql":
            ask = f"SELECT 1 FROM pg_stat_activity WHERE pid = {id_}"
            ask += " AND wait_event = 'PgSleep'" if asleep else ""
        else:
            ask = f"SELECT 1 FROM information_schema.processlist WHERE id = {id_}"
            ask += " AND state = 'User sleep'" if asleep else ""
        return bool(self.once(ask))

    @contextmanager
    def account(self, rights: str, limit: str = "") -> Iterator[str]:
        """The URL of an account that exists for a moment; its clients are closed with it."""
        name = f"t{uuid4().hex[:12]}"
        if self.backend.family == "postgresql":
            made, grantee = f"CREATE ROLE {name} LOGIN PASSWORD 'secret' {limit}", name
            dropped = [f"DROP OWNED BY {name}", f"DROP ROLE {name}"]
        else:
            grantee = f"{name}@'127.0.0.1'"
            made = f"CREATE USER {grantee} IDENTIFIED BY 'secret' {limit}"
            dropped = [f"DROP USER {grantee}"]
        self.once(made, f"GRANT {rights} TO {grantee}")
        url = make_url(self.url).set(username=name, password="secret")
        try:
            yield url.render_as_string(hide_password=False)
        finally:
            self.close()
            self.once(*dropped)

    def close(self) -> None:
        while self._clients:
            self._clients.pop().close()
