"""What type checkers see of blocks and loops. Never run."""

from __future__ import annotations

from typing import assert_type

from sqlalchemy.ext.asyncio import AsyncSession as PlainAsyncSession
from sqlalchemy.orm import Session as PlainSession

from hermetic import (
    AsyncSession,
    Attempt,
    Database,
    Outcome,
    Retry,
    Scope,
    Session,
    Snapshot,
    Unit,
)

db = Database("sqlite://")


def a_block_gives_a_session() -> int:
    assert_type(db.session(), Unit)
    with db.session(readonly=True) as session:
        assert_type(session, Session)
        assert_type(session.scope, Scope | None)
        assert_type(session.outcome, Outcome | None)
        # an exception is never swallowed, so nothing is missing after the block
        return 1


async def an_async_block_gives_an_async_session() -> int:
    async with db.session(readonly=True) as session:
        assert_type(session, AsyncSession)
        assert_type(session.sync_session, Session)
        assert_type(session.scope, Scope | None)
        assert_type(session.outcome, Outcome | None)
        return 1


def a_loop_gives_attempts() -> None:
    for attempt in db.attempts(retry=Retry(attempts=3)):
        assert_type(attempt, Attempt)
        assert_type(attempt.number, int)
        with attempt as session:
            assert_type(session, Session)


async def an_async_loop_gives_attempts() -> None:
    async for attempt in db.attempts():
        assert_type(attempt, Attempt)
        async with attempt as session:
            assert_type(session, AsyncSession)


def takes_sqlalchemys(session: PlainSession) -> None: ...


async def takes_sqlalchemys_async(session: PlainAsyncSession) -> None: ...


def a_session_is_sqlalchemys(session: Session) -> None:
    takes_sqlalchemys(session)


async def an_async_session_is_sqlalchemys(session: AsyncSession) -> None:
    await takes_sqlalchemys_async(session)


def the_worlds_are_kept_apart(session: Session, other: AsyncSession) -> None:
    takes_sqlalchemys(other)  # type: ignore[arg-type]
    with db as same:
        assert_type(same, Database)


async def a_sync_block_is_none_of_asyncio() -> None:
    async with db as same:
        assert_type(same, Database)
    with db.session() as session:
        await session.execute("SELECT 1")  # type: ignore[misc]


def hooks_decorate(session: Session) -> None:
    @session.on_commit
    def send() -> int:
        return 1

    assert_type(send(), int)


def what_a_database_tells() -> None:
    assert_type(db.snapshot(), Snapshot)
    assert_type(db.explain(), str)
    assert_type(db.name, str)
    assert_type(Database.from_env(), Database)
    assert_type(Database.from_toml("app.toml"), Database)


class Own(Database):
    pass


def a_subclass_stays_one() -> None:
    assert_type(Own.from_env(), Own)
    with Own("sqlite://") as own:
        assert_type(own, Own)
