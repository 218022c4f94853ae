"""Which connections are replaced, when, and by what they are told apart."""

from __future__ import annotations

import time
from typing import Any

import pytest

from hermetic import ConnectionDestroyed, Database, Event, FaultError, ReadOnlyScope, ReadOnlyServer
from tests.behaviour.aftermath import check_nothing_left, eventually, lent, on, on_servers
from tests.behaviour.own import OwnServer
from tests.models import User
from tests.servers.postgresql import ADMINISTRATOR
from tests.worlds import World


async def use(world: World, db: Database, **options: Any) -> int:
    """Use a connection; its number."""
    async with world.session(db, **options) as session:
        await session.get(User, 1)
        await session.execute("SELECT 1")
        (mine,) = [c for c in db.snapshot().connections if c.scope == session.scope.number]
    return mine.number


async def warm(world: World, db: Database, count: int) -> set[int]:
    """Have so many connections idle; their numbers."""
    if not count:
        return numbers(db)  # all are out: none can be taken for one that is idle for too long
    async with world.session(db, propagation="requires_new") as session:
        await session.execute("SELECT 1")
        return await warm(world, db, count - 1)


def numbers(db: Database) -> set[int]:
    return {c.number for c in db.snapshot().connections}


# ---------------------------------------------------------------- by hand


async def test_every_idle_connection_is_replaced_by_hand(world: World) -> None:
    db = world.database(pool_size=3)
    events: list[Event] = []
    db.listen(events.append)
    before = await warm(world, db, 1 if world.backend.family == "sqlite" else 3)

    db.evict()
    after = await use(world, db)

    assert after not in before
    await use(world, db)
    assert await use(world, db) == after
    await check_nothing_left(world, db)


async def test_one_in_use_is_replaced_when_it_comes_back(world: World) -> None:
    db = world.database()

    async with world.session(db) as session:
        session.add(User(username="ann"))
        await session.flush()
        (before,) = numbers(db)
        db.evict()
        session.add(User(username="bob"))
    assert world.usernames() == ["ann", "bob"]

    assert await use(world, db) != before
    assert before not in numbers(db)
    await check_nothing_left(world, db)


async def test_one_that_only_reads_is_replaced_when_it_comes_back(world: World) -> None:
    """The way of the fast paths, which give it back themselves."""
    db = world.database()
    async with world.session(db) as session:
        await session.get(User, 1)
    (before,) = numbers(db)

    async with world.session(db) as session:
        await session.get(User, 1)
        db.evict()
        await session.get(User, 2)
    async with world.session(db) as session:
        await session.get(User, 1)

    assert before not in numbers(db)
    assert lent(db) == []


@on(lambda backend: not backend.is_async and backend.family != "sqlite")
async def test_idle_connections_of_threads_are_closed_at_once(world: World) -> None:
    db = world.database(pool_size=3)
    await warm(world, db, 3)

    db.evict()

    assert numbers(db) == set()
    assert await use(world, db)


@on(lambda backend: backend.is_async and backend.family != "sqlite")
async def test_idle_connections_of_tasks_end_at_once(world: World) -> None:
    db = world.database(pool_size=3)
    await warm(world, db, 3)
    assert len(connections(world)) == 3

    db.evict()

    assert await eventually(world, lambda: not connections(world))
    assert await use(world, db)


def connections(world: World) -> list[Any]:
    if world.backend.family == "postgresql":
        return world.seen(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            f" AND application_name <> '{ADMINISTRATOR}'"
        )
    return world.seen(
        "SELECT id FROM information_schema.processlist"
        " WHERE db = database() AND id <> connection_id()"
    )


@on_servers
async def test_readers_are_replaced_too(world: World) -> None:
    db = world.database()
    before = await use(world, db, readonly=True)

    db.evict()

    assert await use(world, db, readonly=True) != before


@on_servers
async def test_sqlalchemys_own_eviction_is_that_of_the_pool(world: World) -> None:
    db = world.database(pool_size=3)
    before = await warm(world, db, 3)
    engine: Any = db.async_engine.sync_engine if world.is_async else db.engine

    engine.pool._invalidate(None)

    assert await use(world, db) not in before


async def test_one_that_is_invalidated_softly_is_replaced(world: World) -> None:
    db = world.database()

    async with world.session(db) as session:
        connection = await session.connection()
        raw = connection if not world.is_async else connection.sync_connection
        raw._dbapi_connection.invalidate(soft=True)
        (before,) = numbers(db)

    assert await use(world, db) != before
    await check_nothing_left(world, db)


# ---------------------------------------------------------------- clocks


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
async def test_a_clock_that_jumps_replaces_nothing(
    world: World, jump: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = world.database(pool_recycle=1800)
    before = await use(world, db)
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + jump)

    assert await use(world, db) == before
    await check_nothing_left(world, db)


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
async def test_a_clock_that_jumps_keeps_nothing(
    world: World, jump: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = world.database()
    before = await use(world, db)
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + jump)

    db.evict()

    after = await use(world, db)
    assert after != before
    assert await use(world, db) == after


# ---------------------------------------------------------------- faults


@on_servers
@pytest.mark.slow
async def test_a_demoted_primary_costs_every_connection_once(
    own: OwnServer, own_world: World
) -> None:
    world = own_world
    db = world.database(pool_size=5)
    events: list[Event] = []
    db.listen(events.append)
    before = await warm(world, db, 5)
    assert len(before) == 5
    own.demote()
    try:
        with pytest.raises(ReadOnlyServer):
            async with world.session(db) as session:
                session.add(User(username="ann"))
    finally:
        own.promote()

    async with world.session(db) as session:
        session.add(User(username="bob"))

    assert world.usernames() == ["bob"]
    await warm(world, db, 5)
    assert not before & numbers(db)
    gone = {event.connection for event in events if isinstance(event, ConnectionDestroyed)}
    assert gone <= before
    assert lent(db) == []


@on_servers
@pytest.mark.slow
async def test_a_unit_with_a_policy_goes_on_where_the_primary_is(
    own: OwnServer, own_world: World
) -> None:
    world = own_world
    await warm(world, world.database(pool_size=2), 2)
    own.demote()
    runs = 0
    try:
        async for attempt in world.attempts(world.db, retry=3):
            async with attempt as session:
                runs += 1
                session.add(User(username="ann"))
                try:
                    await session.flush()
                finally:
                    own.promote()
    finally:
        own.promote()

    assert runs == 2
    assert world.usernames() == ["ann"]
    assert lent(world.db) == []


@on_servers
@pytest.mark.slow
async def test_a_stray_write_is_no_reason_to_run_a_unit_again(
    own: OwnServer, own_world: World
) -> None:
    runs = 0
    with pytest.raises(ReadOnlyScope):
        async for attempt in own_world.attempts(retry=3, readonly=True):
            async with attempt as session:
                runs += 1
                await session.execute("INSERT INTO users (username, balance) VALUES ('ann', 0)")

    assert runs == 1


@on_servers
@pytest.mark.slow
async def test_after_a_restart_one_scope_fails_at_most(own: OwnServer, own_world: World) -> None:
    world = own_world
    db = world.database(pool_size=5)
    before = await warm(world, db, 5)
    own.server.restart()
    world.close_observer()

    failed = 0
    for _ in range(5):
        try:
            async with world.session(db) as session:
                await session.execute("SELECT 1")
        except FaultError:
            failed += 1
    # The first to ask may meet the end of its own connection, and that says nothing but that it is
    # lost; the others are tested before they are lent.
    assert failed <= 1

    async with world.session(db) as session:
        session.add(User(username="bob"))
    assert not before & {await use(world, db)}
    assert lent(db) == []


@on(lambda backend: backend.name == "asyncpg")
async def test_a_server_that_is_gone_is_left_without_a_word(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import asyncpg

    closed = asyncpg.Connection.close

    async def close(self: Any, *, timeout: float | None = None) -> None:
        await closed(self, timeout=timeout)
        raise BrokenPipeError

    await warm(world, world.db, 1)
    monkeypatch.setattr(asyncpg.Connection, "close", close)
    world.db.evict()
    await world.db.aclose()

    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
