"""What a Database sends and holds, seen from beside it."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import pytest
from sqlalchemy import Engine, event

from hermetic import Database, DeadlineExceeded, Session, execution
from tests.behaviour.aftermath import on
from tests.worlds import PATIENCE, World

# How late a deadline may strike before a case calls it missed; the machine may be busy.
SLACK = 2.0

on_threads: Final = on(lambda backend: not backend.is_async)

# Statements that run until somebody ends them. SQLite knows no sleep.
SLOW = {
    "sqlite": "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) "
    "SELECT count(*) FROM c",
    "postgresql": "SELECT pg_sleep(60)",
    "mariadb": "SELECT SLEEP(60)",
}


@pytest.fixture
def servers_own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watchdog leaves a server time for its own limit, as a busy machine may need it.

    It shuts a connection 0.1 s after a deadline, which else may come first.
    """
    monkeypatch.setattr(execution, "GRACE", 1.5)


class Boom(Exception):
    """What a case raises on purpose."""


def engine_of(world: World, db: Database | None = None, *, reader: bool = False) -> Engine:
    """The engine under a Database's scopes in the case's world."""
    server = (db or world.db).server
    if world.is_async:
        return server.async_engine(reader=reader).sync_engine
    return server.engine(reader=reader)


def plain_session(session: Any) -> Session:
    """The sync session under what a case was given."""
    found: Session = session.sync_session
    return found


class Sent:
    """What the engines of a Database sent since this was made."""

    def __init__(self, world: World, db: Database | None = None) -> None:
        self.statements: list[str] = []
        self.connected = 0
        self.lent = 0
        for reader in (False, True):
            engine = engine_of(world, db, reader=reader)
            event.listen(engine, "before_cursor_execute", self._statement)
            event.listen(engine, "connect", self._connect)
            event.listen(engine, "checkout", self._checkout)
            event.listen(engine, "commit", lambda conn: self.statements.append("COMMIT"))
            event.listen(engine, "rollback", lambda conn: self.statements.append("ROLLBACK"))

    def _statement(
        self, conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
    ) -> None:
        self.statements.append(statement)

    def _connect(self, dbapi: Any, record: Any) -> None:
        self.connected += 1

    def _checkout(self, dbapi: Any, record: Any, proxy: Any) -> None:
        self.lent += 1

    @property
    def nothing(self) -> bool:
        return not (self.statements or self.connected or self.lent)


@asynccontextmanager
async def another(world: World, url: str, **options: Any) -> AsyncIterator[Database]:
    """One more Database beside the case's own, at another address."""
    db = Database(url, **options)
    try:
        yield db
    finally:
        if world.is_async:
            await db.aclose()
        else:
            db.close()


async def elsewhere(world: World, party: Any) -> Any:
    """What a child that inherits the context gets: a task, or a thread given a copy."""
    context = contextvars.copy_context()
    if world.is_async:
        (result,) = await world.together(party)
    else:
        results: list[Any] = []

        def run() -> None:
            try:
                party().send(None)
            except StopIteration as done:
                results.append(done.value)
            except BaseException as error:
                results.append(error)

        thread = threading.Thread(target=lambda: context.run(run), name="child", daemon=True)
        thread.start()
        thread.join(PATIENCE)
        (result,) = results
    return result


@contextmanager
def ends_near(seconds: float) -> Iterator[pytest.ExceptionInfo[DeadlineExceeded]]:
    """The block ends with DeadlineExceeded, not before that time and not long after it."""
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded) as caught:
        yield caught
    elapsed = time.monotonic() - started
    assert seconds - 0.05 <= elapsed, f"ended after {elapsed:.2f} s already"
    assert elapsed < seconds + SLACK, f"ended after {elapsed:.2f} s only"
