"""The life of a Database: opened late, drained, closed, and used by one world after another."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text

from hermetic import Database, DatabaseClosed, HermeticError, NoScope, Outcome, RolledBack
from tests.backends import Backend
from tests.behaviour.aftermath import check_nothing_left, eventually, lent, on, on_asyncio
from tests.databases import FamilyUrl, FreshUrl
from tests.loop import run_async
from tests.models import Base, User
from tests.worlds import PATIENCE, World

on_threads = on(lambda backend: not backend.is_async)


async def close(world: World, db: Database) -> None:
    if world.is_async:
        await db.aclose()
    else:
        db.close()


# ---------------------------------------------------------------- close


async def test_nothing_is_connected_before_the_first_statement(world: World) -> None:
    db = world.database()

    async with world.session(db):
        inside = db.snapshot().connections

    assert inside == db.snapshot().connections == ()


async def test_a_closed_database_has_no_connections_and_takes_no_scopes(world: World) -> None:
    db = world.database()
    async with world.session(db) as session:
        session.add(User(username="ann"))

    await close(world, db)

    assert db.snapshot().connections == ()
    with pytest.raises(DatabaseClosed, match="closed"):
        async with world.session(db):
            pass
    with pytest.raises(DatabaseClosed, match="closed"):
        _ = db.async_engine if world.is_async else db.engine
    assert "closed" in repr(db)
    await close(world, db)


async def test_a_closed_database_was_never_opened(world: World) -> None:
    db = world.database()

    await close(world, db)

    with pytest.raises(DatabaseClosed):
        async with world.session(db):
            pass


async def test_a_unit_of_a_closed_database_is_refused_and_not_run_again(world: World) -> None:
    db = world.database(retry=3)
    bodies = 0

    @world.unit(db)
    async def unit(session: Any) -> None:
        nonlocal bodies
        bodies += 1

    await close(world, db)

    with pytest.raises(DatabaseClosed):
        await unit()
    assert bodies == 0


@on_threads
def test_a_with_block_closes_its_database(world: World) -> None:
    with Database(world.url) as db, db.session() as session:
        session.add(User(username="ann"))

    assert world.usernames() == ["ann"]
    assert db.snapshot().connections == ()
    with pytest.raises(DatabaseClosed), db.session():
        pass


@on_asyncio
async def test_an_async_with_block_closes_its_database(world: World) -> None:
    async with Database(world.url) as db, db.session() as session:
        session.add(User(username="ann"))

    assert world.usernames() == ["ann"]
    assert db.snapshot().connections == ()
    with pytest.raises(DatabaseClosed):
        async with db.session():
            pass


@on_asyncio
async def test_close_is_refused_where_a_loop_still_uses_the_database(world: World) -> None:
    async with world.session() as session:
        await session.execute("SELECT 1")

    with pytest.raises(HermeticError, match="aclose"):
        world.db.close()

    # It is as open as before.
    async with world.session() as session:
        await session.execute("SELECT 1")


async def test_no_scope_is_current_outside_any(world: World) -> None:
    async with world.session():
        pass

    with pytest.raises(NoScope):
        _ = world.db.current


# ---------------------------------------------------------------- drain


async def drain(world: World, db: Database, timeout: float) -> Any:
    return await db.adrain(timeout) if world.is_async else db.drain(timeout)


async def test_draining_waits_for_the_open_scopes_and_takes_no_new_ones(world: World) -> None:
    db = world.database()
    opened, leave, refused = world.signal(), world.signal(), world.signal()

    async def worker() -> None:
        async with world.session(db) as session:
            session.add(User(username="ann"))
            opened.set()
            await leave.wait()
            # A joined scope is no new one.
            async with world.session(db) as inner:
                inner.add(User(username="bob"))

    async def closer() -> Any:
        await opened.wait()
        return await drain(world, db, PATIENCE)

    async def late() -> None:
        await opened.wait()
        assert await eventually(world, lambda: "draining" in repr(db), PATIENCE)
        try:
            async with world.session(db):
                pass
        finally:
            refused.set()
            leave.set()

    worked, inside, came_late = await world.together(worker, closer, late)

    assert worked is None
    assert inside == ()
    assert isinstance(came_late, DatabaseClosed)
    assert "draining" in str(came_late)
    assert world.usernames() == ["ann", "bob"]
    assert db.snapshot().connections == ()


@pytest.mark.timing
async def test_draining_tells_who_was_still_inside_and_cuts_them_off(world: World) -> None:
    db = world.database()
    opened, leave = world.signal(), world.signal()
    sessions: list[Any] = []

    async def worker() -> None:
        async with world.session(db, name="the slow one") as session:
            sessions.append(session)
            session.add(User(username="ann"))
            await session.flush()
            opened.set()
            await leave.wait()

    async def closer() -> Any:
        await opened.wait()
        begun = time.monotonic()
        try:
            inside = await drain(world, db, 0.1)
        finally:
            leave.set()
        assert time.monotonic() - begun < 10
        return inside

    worked, inside = await world.together(worker, closer)

    (info,) = inside
    assert info.name == "the slow one"
    assert info.statements == 1
    assert "INSERT" in (info.last_statement or "")
    # Cut off, so that nothing of it is there, and it was told.
    assert isinstance(worked, Exception)
    assert sessions[0].outcome is not Outcome.COMMITTED
    assert world.usernames() == []
    assert await eventually(world, lambda: not db.snapshot().connections)


async def test_draining_an_idle_database_ends_at_once(world: World) -> None:
    db = world.database()
    async with world.session(db) as session:
        session.add(User(username="ann"))

    assert await drain(world, db, PATIENCE) == ()
    assert db.snapshot().connections == ()


# ---------------------------------------------------------------- several loops, both worlds


def test_one_database_serves_one_loop_after_another(
    async_backend: Backend, fresh_url: FreshUrl
) -> None:
    db = Database(fresh_url(async_backend))

    seen: list[list[str]] = []

    async def work(name: str) -> None:
        async with db.async_engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with db.session() as session:
            session.add(User(username=name))
            await session.flush()
            found = await session.scalars(text("SELECT username FROM users ORDER BY username"))
            seen.append(list(found))

    # Neither loop closes it, as in a program that calls asyncio.run() where it needs it.
    run_async(work, name="ann")
    run_async(work, name="bob")
    run_async(db.aclose)

    assert seen == [["ann"], ["ann", "bob"]]
    assert db.snapshot().connections == ()
    # Whatever was left to finalisers is heard here.
    gc.collect()


def test_one_database_serves_threads_and_a_loop(family: str, family_url: FamilyUrl) -> None:
    db = Database(family_url(family))
    Base.metadata.create_all(db.engine)

    def thread(number: int) -> None:
        with db.session() as session:
            session.add(User(username=f"thread {number}"))

    async def tasks() -> None:
        async def task(number: int) -> None:
            async with db.session() as session:
                session.add(User(username=f"task {number}"))

        await asyncio.gather(*(task(number) for number in range(4)))
        with ThreadPoolExecutor() as pool:
            loop = asyncio.get_running_loop()
            await asyncio.gather(*(loop.run_in_executor(pool, thread, n) for n in range(4)))
        await db.aclose()

    run_async(tasks)

    assert db.snapshot().connections == ()
    assert db.snapshot().counters["committed"] == 8


def test_a_database_in_memory_is_shared_by_threads_and_a_loop() -> None:
    db = Database("sqlite://")
    Base.metadata.create_all(db.engine)

    def thread() -> None:
        with db.session() as session:
            session.add(User(username="thread"))

    seen: list[list[str]] = []

    async def loop() -> None:
        async with db.session() as session:
            session.add(User(username="task"))
        async with db.session(readonly=True) as session:
            found = await session.scalars(text("SELECT username FROM users ORDER BY username"))
            seen.append(list(found))
        await db.aclose()

    worker = threading.Thread(target=thread)
    worker.start()
    worker.join(PATIENCE)
    run_async(loop)

    assert seen == [["task", "thread"]]


def test_two_databases_in_memory_share_nothing() -> None:
    with Database("sqlite://") as first, Database("sqlite:///:memory:") as second:
        Base.metadata.create_all(first.engine)
        with first.session() as session:
            session.add(User(username="ann"))

        with pytest.raises(Exception, match="no such table"), second.session() as session:
            session.execute(text("SELECT * FROM users"))


async def test_a_database_can_be_used_up_and_refilled(world: World) -> None:
    """Many failing scopes leave as much room as there was."""
    db = world.database(pool_size=2, pool_timeout=5)

    for turn in range(20):
        with pytest.raises((ZeroDivisionError, RolledBack)):
            async with world.session(db) as session:
                session.add(User(username=f"user {turn}"))
                await session.flush()
                if turn % 2:
                    session.scope.boundary.doom(ValueError("doomed"))
                else:
                    _ = 1 / 0

    assert lent(db) == []
    assert len(db.snapshot().connections) == 1
    assert world.usernames() == []
    await check_nothing_left(world, db)
