"""Who gets a connection next, who is told that he will not, and which connection it is."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.pool import AssertionPool, NullPool, QueuePool, SingletonThreadPool, StaticPool

from hermetic import (
    ConnectionDestroyed,
    Database,
    Event,
    PoolError,
    PoolOverloaded,
    PoolSelfDeadlock,
    PoolTimeout,
)
from tests.behaviour.aftermath import check_nothing_left, eventually, lent, on, on_servers
from tests.models import User
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
    assert 0.2 <= took < 1.2
    assert (error.limit, error.waiting) == (1, 0)
    assert error.scope is not None
    assert error.scope.name == "the waiter"
    (holder,) = error.holders
    assert "the holder" in holder
    assert f"{__file__}:" in holder
    assert holder in str(error)
    await check_nothing_left(world, db)


@pytest.mark.timing
async def test_the_deadline_of_a_scope_ends_its_wait(world: World) -> None:
    from hermetic import DeadlineExceeded

    db = world.database(pool_size=1, pool_timeout=30)

    begun = time.monotonic()
    error = await hold(world, db, lambda: use(world, db, timeout=0.2))
    took = time.monotonic() - begun

    assert isinstance(error, DeadlineExceeded)
    assert isinstance(error.__cause__, PoolTimeout)
    assert took < 1.2
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

    assert time.monotonic() - begun < 5
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

    assert time.monotonic() - begun < 10
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


# ---------------------------------------------------------------- SQLAlchemy's pool classes


@on_servers
async def test_a_chosen_pool_that_keeps_nothing_closes_each_connection(world: World) -> None:
    db = world.database(poolclass=NullPool)

    first, second = await use(world, db), await use(world, db)

    assert first != second
    assert db.snapshot().connections == ()
    await check_nothing_left(world, db)


@on(lambda backend: backend.name == "sqlite")
async def test_a_chosen_static_pool_shares_its_one_connection(world: World) -> None:
    db = world.database(poolclass=StaticPool)

    assert await use(world, db) == await use(world, db)
    assert len(db.snapshot().connections) == 1
    await check_nothing_left(world, db)


@on(lambda backend: not backend.is_async)
@pytest.mark.parametrize(
    "poolclass", [QueuePool, NullPool, StaticPool, AssertionPool, SingletonThreadPool]
)
async def test_every_pool_class_commits_and_lets_go(world: World, poolclass: Any) -> None:
    db = world.database(poolclass=poolclass)

    for name in ("ann", "bob"):
        async with world.session(db) as session:
            session.add(User(username=name))

    assert world.usernames() == ["ann", "bob"]
    assert lent(db) == []
    assert [pool.lent for pool in db.snapshot().pools] == [0, 0]


@on(lambda backend: backend.name == "psycopg")
def test_a_chosen_pool_still_has_the_gate_in_front_of_it(world: World) -> None:
    db = world.database(poolclass=NullPool, pool_size=1, max_waiting=0)

    with (
        db.engine.connect() as connection,
        pytest.raises(PoolError),
    ):
        connection.execute(text("SELECT 1"))
        db.engine.connect()

    assert lent(db) == []


# ---------------------------------------------------------------- which connection


async def test_connections_are_used_again(world: World) -> None:
    db = world.database()

    numbers = {await use(world, db) for _ in range(5)}

    assert len(numbers) == 1
    (connection,) = db.snapshot().connections
    assert (connection.state, connection.role) == ("idle", "writer")
    assert connection.world == ("asyncio" if world.is_async else "threads")
    assert connection.holder is connection.scope is None


@on_servers
async def test_a_connection_that_died_idle_is_replaced_before_it_is_lent(world: World) -> None:
    db = world.database(ping_after=0)
    events: list[Event] = []
    db.listen(events.append)
    before = await use(world, db)
    kill_all(world)

    async with world.session(db) as session:
        session.add(User(username="ann"))
    after = await use(world, db)

    assert after != before
    assert world.usernames() == ["ann"]
    (destroyed,) = [event for event in events if isinstance(event, ConnectionDestroyed)]
    assert destroyed.connection == before
    await check_nothing_left(world, db)


@on_servers
async def test_several_dead_connections_are_replaced_at_once(world: World) -> None:
    db = world.database(ping_after=0, pool_size=3)
    async with world.session(db) as first:
        await first.execute("SELECT 1")
        async with world.session(db, propagation="requires_new") as second:
            await second.execute("SELECT 1")
    assert len(db.snapshot().connections) == 2
    kill_all(world)

    for name in ("ann", "bob", "cyd"):
        async with world.session(db) as session:
            session.add(User(username=name))

    assert world.usernames() == ["ann", "bob", "cyd"]
    await check_nothing_left(world, db)


def kill_all(world: World) -> None:
    """End every connection of the test's database but the observer's own."""
    if world.backend.family == "postgresql":
        world.seen(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname ="
            " current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        return
    for (connection,) in world.seen(
        "SELECT id FROM information_schema.processlist"
        " WHERE db = database() AND id <> connection_id()"
    ):
        world.do(f"KILL {connection}")


async def test_a_connection_that_was_used_just_now_is_not_pinged(world: World) -> None:
    for ping_after, expected in ((1000.0, 0), (None, 0), (0, 3)):
        db = world.database(ping_after=ping_after)
        await use(world, db)
        pings = count_pings(world, db)
        for _ in range(3):
            await use(world, db)

        assert len(pings) == expected, ping_after


def count_pings(world: World, db: Database) -> list[object]:
    engine = db.async_engine.sync_engine if world.is_async else db.engine
    pings: list[object] = []
    ping = engine.dialect.do_ping

    def counted(dbapi: Any) -> bool:
        pings.append(dbapi)
        return ping(dbapi)

    engine.dialect.do_ping = counted  # type: ignore[method-assign]
    return pings


@pytest.mark.timing
async def test_an_old_connection_is_replaced(world: World) -> None:
    db = world.database(pool_recycle=1)
    before = await use(world, db)
    await eventually(world, lambda: db.snapshot().connections[0].age > 2.1, PATIENCE)

    assert await use(world, db) != before
    assert len(db.snapshot().connections) == 1
