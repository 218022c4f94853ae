"""Who gets a connection next, who is told that he will not, and which connection it is."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from typing import Any

import pytest

from hermetic import (
    Database,
    DeadlineExceeded,
    PoolOverloaded,
    PoolSelfDeadlock,
    PoolTimeout,
)
from tests.behaviour.aftermath import check_nothing_left, eventually, lent, on, on_servers
from tests.worlds import PATIENCE, World


def waiting(db: Database) -> int:
    return sum(pool.waiting for pool in db.snapshot().pools)


async def use(world: World, db: Database, **options: Any) -> int:
    """Use a connection; its number."""
    async with world.session(db, **options) as session:
        await session.execute("SELECT 1")
        (mine,) = [c for c in db.snapshot().connections if c.scope == session.scope.number]
    return mine.number


# ---------------------------------------------------------------- order and bounds


async def test_who_came_first_is_served_first(world: World) -> None:
    db = world.database(pool_size=1)
    order: list[int] = []
    done = world.signal()
    queued = [world.signal() for _ in range(6)]
    queued[0].set()

    async def holder() -> None:
        async with world.session(db) as session:
            await session.execute("SELECT 1")
            queued[1].set()
            await done.wait()

    async def waiter(number: int) -> None:
        await queued[number].wait()
        async with world.session(db) as session:
            await session.execute("SELECT 1")
            order.append(number)

    async def usher() -> None:
        """Lets each waiter into the queue when the one before it is in."""
        await queued[1].wait()
        for number in range(1, 6):
            queued[number].set()
            assert await eventually(world, lambda n=number: waiting(db) == n, PATIENCE)  # type: ignore[misc]
        done.set()

    ends = await world.together(
        holder, usher, *[lambda n=number: waiter(n) for number in (3, 1, 5, 2, 4)]
    )

    assert ends == [None] * 7
    assert order == [1, 2, 3, 4, 5]
    (writer, *_) = db.snapshot().pools
    assert writer.waited == 5
    assert writer.wait_seconds > 0
    await check_nothing_left(world, db)


async def test_somebody_who_comes_later_does_not_overtake(world: World) -> None:
    """The one that lets go asks again at once, while another already waits."""
    db = world.database(pool_size=1)
    order: list[str] = []
    taken = world.signal()

    async def greedy() -> None:
        for turn in range(3):
            async with world.session(db) as session:
                await session.execute("SELECT 1")
                order.append("greedy")
                taken.set()
                if turn == 0:
                    assert await eventually(world, lambda: waiting(db) == 1, PATIENCE)

    async def patient() -> None:
        await taken.wait()
        async with world.session(db) as session:
            await session.execute("SELECT 1")
            order.append("patient")

    assert await world.together(greedy, patient) == [None, None]
    assert order[:2] == ["greedy", "patient"]


async def test_no_more_than_the_limit_are_out_at_once(world: World) -> None:
    limit = 1 if world.backend.family == "sqlite" else 3
    db = world.database(pool_size=3)
    most = 0

    async def party() -> None:
        nonlocal most
        async with world.session(db) as session:
            await session.execute("SELECT 1")
            out = [c for c in db.snapshot().connections if c.state != "idle"]
            most = max(most, len(out))

    assert await world.together(*[party] * 12) == [None] * 12
    assert most <= limit
    assert len(db.snapshot().connections) <= limit
    (writer, *_) = db.snapshot().pools
    assert (writer.limit, writer.lent, writer.admitted) == (limit, 0, 12)
    await check_nothing_left(world, db)


async def hold(world: World, db: Database, meanwhile: Any, **options: Any) -> Any:
    """What a party raises while another one holds the only writer's connection."""
    taken, done = world.signal(), world.signal()

    async def holder() -> None:
        async with world.session(db, name="the holder") as session:
            await session.execute("SELECT 1")
            taken.set()
            await done.wait()

    async def party() -> Any:
        await taken.wait()
        try:
            return await meanwhile()
        finally:
            done.set()

    held, answer = await world.together(holder, party)
    assert held is None
    return answer


async def test_one_more_than_may_wait_is_refused_at_once(world: World) -> None:
    db = world.database(pool_size=1, max_waiting=0)

    error = await hold(world, db, lambda: use(world, db))

    assert isinstance(error, PoolOverloaded)
    assert error.limit == 1
    assert db.snapshot().pools[0].refused == 1
    await check_nothing_left(world, db)


@pytest.mark.timing
async def test_a_wait_ends_with_the_names_of_those_who_hold(world: World) -> None:
    db = world.database(pool_size=1, pool_timeout=0.2)

    begun = time.monotonic()
    error = await hold(world, db, lambda: use(world, db, name="the waiter"))
    took = time.monotonic() - begun

    assert isinstance(error, PoolTimeout)
    assert isinstance(error, TimeoutError)
    assert 0.2 <= took < PATIENCE
    assert (error.limit, error.waiting) == (1, 0)
    assert error.scope is not None
    assert error.scope.name == "the waiter"
    (holder,) = error.holders
    assert "the holder" in holder
    assert re.search(r"opened at \S+\.py:\d+ in ", holder)
    assert holder in str(error)
    await check_nothing_left(world, db)


@pytest.mark.timing
async def test_the_deadline_of_a_scope_ends_its_wait(world: World) -> None:
    db = world.database(pool_size=1, pool_timeout=30)

    begun = time.monotonic()
    error = await hold(world, db, lambda: use(world, db, timeout=0.2))
    took = time.monotonic() - begun

    assert isinstance(error, DeadlineExceeded)
    assert isinstance(error.__cause__, PoolTimeout)
    assert took < PATIENCE
    await check_nothing_left(world, db)


# ---------------------------------------------------------------- waiting for oneself


async def test_a_scope_that_would_wait_for_itself_is_told_at_once(world: World) -> None:
    db = world.database(pool_size=1, pool_timeout=30)

    begun = time.monotonic()
    with pytest.raises(PoolSelfDeadlock) as caught:
        async with world.session(db, name="outer") as outer:
            await outer.execute("SELECT 1")
            async with world.session(db, propagation="requires_new") as inner:
                await inner.execute("SELECT 1")

    assert time.monotonic() - begun < PATIENCE
    assert "outer" in str(caught.value)
    await check_nothing_left(world, db)


@on_servers
async def test_scopes_that_would_all_wait_for_each_other_are_told(world: World) -> None:
    """Every place is held by somebody who waits for another one."""
    db = world.database(pool_size=3, pool_timeout=30)
    signals = [world.signal() for _ in range(3)]

    async def party(number: int) -> None:
        async with world.session(db) as outer:
            await outer.execute("SELECT 1")
            signals[number].set()
            for signal in signals:
                await signal.wait()
            async with world.session(db, propagation="requires_new") as inner:
                await inner.execute("SELECT 1")

    begun = time.monotonic()
    ends = await world.together(*[lambda n=number: party(n) for number in range(3)])

    assert time.monotonic() - begun < PATIENCE
    assert any(isinstance(end, PoolSelfDeadlock) for end in ends)
    assert all(end is None or isinstance(end, PoolSelfDeadlock) for end in ends)
    # Whoever was told has let go, and the others went on.
    assert None in ends
    await check_nothing_left(world, db)


async def test_a_reader_inside_a_writer_has_a_pool_of_its_own(world: World) -> None:
    db = world.database(pool_size=1)

    async with world.session(db) as outer:
        await outer.execute("SELECT 1")
        assert await use(world, db, propagation="requires_new", readonly=True)

    await check_nothing_left(world, db)


# ---------------------------------------------------------------- both worlds


@on(lambda backend: backend.name in ("aiosqlite", "psycopg_async", "asyncmy"))
async def test_threads_and_tasks_of_one_database_wait_in_one_queue(world: World) -> None:
    # Without a driver, so that each world takes its own.
    scheme, rest = world.url.split("://")
    db = Database(f"{scheme.partition('+')[0]}://{rest}", pool_size=1, pool_timeout=PATIENCE)
    order: list[str] = []
    taken, done = threading.Event(), threading.Event()

    def thread() -> None:
        with db.session() as session:
            session.execute("SELECT 1")
            order.append("thread")
            taken.set()
            done.wait(PATIENCE)

    async def task() -> None:
        async with db.session() as session:
            await session.execute("SELECT 1")
            order.append("task")

    async with asyncio.timeout(2 * PATIENCE):
        first = asyncio.create_task(asyncio.to_thread(thread))
        await asyncio.to_thread(taken.wait, PATIENCE)
        second = asyncio.create_task(task())
        assert await eventually(world, lambda: waiting(db) == 1, PATIENCE)
        third = asyncio.create_task(asyncio.to_thread(thread))
        assert await eventually(world, lambda: waiting(db) == 2, PATIENCE)
        (writer,) = [pool for pool in db.snapshot().pools if pool.lent]
        done.set()
        await asyncio.gather(first, second, third)

    assert (writer.limit, writer.lent, writer.waiting) == (1, 1, 2)
    assert order == ["thread", "task", "thread"]
    assert {connection.world for connection in db.snapshot().connections} == {"threads", "asyncio"}
    assert lent(db) == []
    await db.aclose()
    assert db.snapshot().connections == ()
