"""What a Database sends and holds, seen from beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from hermetic import Database
from tests.behaviour.aftermath import on
from tests.worlds import World

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


class Boom(Exception):
    """What a case raises on purpose."""


def engine_of(world: World, db: Database | None = None, *, reader: bool = False) -> Engine:
    """The engine under a Database's scopes in the case's world."""
    server = (db or world.db).server
    if world.is_async:
        return server.async_engine(reader=reader).sync_engine
    return server.engine(reader=reader)


def plain_session(session: Any) -> Session:
    """SQLAlchemy's session under what a case was given."""
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
            for end in ("commit", "rollback"):
                event.listen(engine, end, lambda _, word=end.upper(): self.statements.append(word))

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
