"""A result that was not read to its end keeps nothing of its scope, however long it is kept."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from hermetic import Database, sessionmaker
from tests.behaviour.aftermath import on
from tests.models import User
from tests.worlds import World

on_threads = on(lambda backend: not backend.is_async)
on_aiosqlite = on(lambda backend: backend.name == "aiosqlite")

NAMES = text("SELECT username FROM users ORDER BY username")
LEAST = "SELECT min(balance) FROM users"


def _fill(db: Database) -> None:
    with db.session() as session:
        session.insert_many(User, [{"username": f"u{n:04}"} for n in range(500)])


@on_threads
@pytest.mark.parametrize("readonly", [True, False])
def test_what_comes_later_sees_what_was_committed_meanwhile(world: World, readonly: bool) -> None:
    db = world.db
    _fill(db)
    with db.session(readonly=readonly) as session:
        result = session.execute(NAMES)
        assert result.fetchone() == ("u0000",)

    world.do("UPDATE users SET balance = 7")
    with db.session(readonly=True) as session:
        assert session.scalar(LEAST) == 7
    with db.session() as session:
        session.execute("UPDATE users SET balance = balance + 1")
        assert session.scalar(LEAST) == 8
    with db.session(readonly=True) as session:
        assert session.scalar(LEAST) == 8
    assert result is not None


@on_threads
def test_results_of_other_sessions_go_on(world: World) -> None:
    """What a scope ends is its own alone."""
    _fill(world.db)
    with sessionmaker(world.observer)() as loose:
        result: Any = loose.execute(NAMES)
        result.fetchone()
        with world.db.session(readonly=True) as session:
            session.execute(NAMES).fetchone()
        assert len(result.fetchall()) == 499


@on_aiosqlite
async def test_a_stream_of_asyncio_that_was_left_keeps_no_snapshot(world: World) -> None:
    async with world.session() as session:
        session.add_all([User(username=f"u{n:04}") for n in range(500)])
    async with world.session(readonly=True) as session:
        result = await session.stream(NAMES)
        assert await result.fetchone() == ("u0000",)

    world.do("UPDATE users SET balance = 7")
    async with world.session(readonly=True) as session:
        assert await session.scalar(LEAST) == 7
    assert result is not None
