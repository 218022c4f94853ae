"""What happens to idle connections; pools that are warmed, resized, suspended."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import weakref
from typing import Any

import pytest
from sqlalchemy import make_url

from hermetic import Budget, CannotConnect, Database, DeadlineExceeded, InvalidOption, PoolTimeout
from tests.behaviour.aftermath import check_nothing_left, eventually, kill, lent, on, on_servers
from tests.behaviour.test_eviction import connections, numbers, use, warm
from tests.models import User
from tests.servers.process import wait_until
from tests.worlds import PATIENCE, World


def keepers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "hermetic-upkeep"]


async def warmed(world: World, db: Database, count: int, **options: Any) -> int:
    return await db.awarm(count, **options) if world.is_async else db.warm(count, **options)


# ---------------------------------------------------------------- idle connections


@on_servers
@pytest.mark.timing
async def test_those_that_are_idle_for_long_are_closed(world: World) -> None:
    db = world.database(pool_size=4, pool_idle=0.2)
    assert len(await warm(world, db, 4)) == 4

    assert await eventually(world, lambda: not numbers(db))
    assert await eventually(world, lambda: not connections(world))
    assert await use(world, db)
    await check_nothing_left(world, db)


@on_servers
@pytest.mark.timing
async def test_as_many_as_are_wanted_are_kept_and_made_again(world: World) -> None:
    db = world.database(pool_size=4, pool_min=2, pool_idle=0.2)
    before = await warm(world, db, 4)
    await eventually(world, lambda: len(numbers(db)) == 2, PATIENCE)
    kept = numbers(db)
    assert kept < before

    db.evict()
    await eventually(world, lambda: len(numbers(db) - kept) == 2, PATIENCE)

    assert len(numbers(db)) == 2
    assert not kept & numbers(db)
    assert await use(world, db) in numbers(db)
    await check_nothing_left(world, db)


@on_servers
@pytest.mark.timing
async def test_the_first_use_of_a_pool_brings_those_that_are_wanted(world: World) -> None:
    db = world.database(pool_size=5, pool_min=3)
    await use(world, db)

    await eventually(world, lambda: len(numbers(db)) == 3, PATIENCE)

    assert len(numbers(db)) == 3
    assert all(c.state == "idle" for c in db.snapshot().connections)
    await check_nothing_left(world, db)


@on_servers
@pytest.mark.timing
async def test_a_sign_of_life_keeps_a_connection(world: World) -> None:
    db = world.database(keepalive=0.1, ping_after=None)
    before = await use(world, db)
    engine: Any = db.async_engine.sync_engine if world.is_async else db.engine
    pings: list[object] = []
    ping = engine.dialect.do_ping

    def counted(dbapi: Any) -> Any:
        pings.append(dbapi)
        return ping(dbapi)

    engine.dialect.do_ping = counted
    await eventually(world, lambda: len(pings) >= 3, PATIENCE)

    assert len(pings) >= 3
    # whoever comes in that very moment gets another one
    assert before in numbers(db)
    await check_nothing_left(world, db)


@on_servers
@pytest.mark.timing
async def test_one_that_gives_no_sign_of_life_is_closed(world: World) -> None:
    db = world.database(keepalive=0.1, ping_after=None)
    before = await use(world, db)
    for (number,) in connections(world):
        kill(world, number)

    await eventually(world, lambda: before not in numbers(db), PATIENCE)

    assert before not in numbers(db)
    assert await use(world, db) != before


async def test_old_ones_are_closed_without_being_asked_for(world: World) -> None:
    db = world.database(pool_recycle=0.3, pool_idle=30)
    before = await use(world, db)
    engine: Any = db.async_engine.sync_engine if world.is_async else db.engine

    # What the clock of the upkeep would do half a minute from now.
    await eventually(world, lambda: db.snapshot().connections[0].age > 0.31, PATIENCE)
    db.server._upkeeps[engine].nudge()
    await eventually(world, lambda: before not in numbers(db), PATIENCE)

    assert numbers(db) == set()


def test_ages_differ() -> None:
    db = Database("sqlite://", pool_recycle=1000)
    found = set()
    for _ in range(20):
        with db.session() as session:
            session.execute("SELECT 1")
        (connection,) = db.registry.connections.values()
        found.add(connection.expires - connection.born)
        db.evict()

    assert len(found) == 20
    assert all(900 <= age <= 1000 for age in found)
    db.close()


# ---------------------------------------------------------------- who does it


@pytest.mark.timing
def test_the_thread_is_there_while_there_is_something_to_do(tmp_path: Any) -> None:
    for earlier in keepers():
        earlier.join(PATIENCE)
    db = Database(f"sqlite:///{tmp_path}/a.db", pool_idle=0.5)
    assert keepers() == []
    with db.session() as session:
        session.execute("SELECT 1")
    assert len(keepers()) == 1
    (thread,) = keepers()
    assert thread.daemon

    thread.join(PATIENCE)

    assert not thread.is_alive()
    assert numbers(db) == set()
    db.close()


def test_no_thread_is_begun_where_nothing_is_to_be_done(tmp_path: Any) -> None:
    for thread in keepers():
        thread.join(PATIENCE)
    db = Database(f"sqlite:///{tmp_path}/a.db", pool_idle=None)
    with db.session() as session:
        session.execute("SELECT 1")

    assert keepers() == []
    db.close()


@on(lambda backend: backend.is_async)
async def test_the_upkeep_of_a_loop_needs_no_thread(world: World) -> None:
    others = keepers()
    db = world.database(pool_idle=0.1)
    await use(world, db)

    await eventually(world, lambda: not numbers(db), PATIENCE)

    assert numbers(db) == set()
    assert [thread for thread in keepers() if thread not in others] == []


def test_a_database_that_is_forgotten_is_not_kept() -> None:
    db = Database("sqlite://")
    with db.session() as session:
        session.execute("SELECT 1")
    reference = weakref.ref(db.server)
    db.close()
    del db, session

    # the thread of the upkeep may have it in hand for a moment
    def forgotten() -> bool:
        gc.collect()
        return reference() is None

    assert wait_until(forgotten, PATIENCE)


@on(lambda backend: backend.name in ("aiosqlite", "psycopg_async", "asyncpg", "asyncmy"))
async def test_a_loop_ends_in_the_middle_of_upkeep_without_a_word(world: World) -> None:
    """Warnings and what asyncio logs at its end are errors here."""
    heard: list[Any] = []

    def live() -> None:
        async def main() -> None:
            asyncio.get_running_loop().set_exception_handler(
                lambda _, context: heard.append(context)
            )
            async with Database(world.url, pool_idle=0.05, keepalive=0.05, pool_min=1) as db:
                for _ in range(3):
                    async with db.session() as session:
                        await session.execute("SELECT 1")
                    await asyncio.sleep(0.04)

        asyncio.run(main())

    await asyncio.to_thread(live)
    gc.collect()

    assert heard == []


@on(lambda backend: backend.name in ("sqlite", "psycopg", "pymysql"))
async def test_a_forked_child_has_upkeep_of_its_own(world: World) -> None:
    db = world.database(pool_idle=0.2)
    await use(world, db)
    read, write = os.pipe()
    child = os.fork()
    if not child:
        word = b"failed"
        try:
            quiet = not keepers()
            with db.session() as session:
                session.execute("SELECT 1")
            deadline = time.monotonic() + PATIENCE
            while db.snapshot().connections and time.monotonic() < deadline:
                threading.Event().wait(0.02)
            word = b"well" if quiet and not db.snapshot().connections else b"left"
        finally:
            os.write(write, word)
            os._exit(0)
    os.waitpid(child, 0)  # noqa: ASYNC222 - this world has no loop
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        assert answer.read() == b"well"
    await eventually(world, lambda: not numbers(db), PATIENCE)
    assert numbers(db) == set()


# ---------------------------------------------------------------- by hand


@on_servers
async def test_a_pool_is_warmed(world: World) -> None:
    budget = Budget(3)
    db = world.database(pool_size=4, budget=budget)

    assert await warmed(world, db, 3) == 3
    assert budget.lent == 0
    assert await warmed(world, db, 2) == 3
    assert await warmed(world, db, 1, readonly=True) == 1

    before = numbers(db)
    assert len(before) == 4
    assert await use(world, db) in before
    assert await use(world, db, readonly=True) in before
    with pytest.raises(InvalidOption):
        await warmed(world, db, 5)
    await check_nothing_left(world, db)


@on_servers
async def test_a_server_that_is_away_cannot_be_warmed_up_to(world: World) -> None:
    url = make_url(world.url).set(host="127.0.0.1", port=1)
    db = Database(url)
    with pytest.raises(CannotConnect):
        await warmed(world, db, 2)
    assert lent(db) == []
    await db.aclose() if world.is_async else db.close()


@on_servers
@pytest.mark.timing
async def test_a_pool_is_made_smaller_and_larger(world: World) -> None:
    db = world.database(pool_size=4)
    await warm(world, db, 4)

    db.resize(pool_size=1)
    await eventually(world, lambda: len(numbers(db)) == 1, PATIENCE)
    assert len(numbers(db)) == 1
    async with world.session(db, name="first") as session:
        await session.execute("SELECT 1")
        assert db.snapshot().pools[0].limit == 1
        db.resize(pool_size=2, reader_pool_size=3)
        async with world.session(db, propagation="requires_new") as second:
            await second.execute("SELECT 1")

    assert [pool.limit for pool in db.snapshot().pools] == [2, 3]
    assert db.options.pool_size == 2
    with pytest.raises(InvalidOption):
        db.resize(pool_size=0)
    await check_nothing_left(world, db)


@on(lambda backend: backend.family == "sqlite")
async def test_the_one_writer_of_a_file_stays_one(world: World) -> None:
    with pytest.raises(InvalidOption):
        world.db.resize(pool_size=3)


@pytest.mark.timing
async def test_a_suspended_database_has_its_scopes_wait_in_order(world: World) -> None:
    db = world.database(pool_timeout=PATIENCE)
    order: list[int] = []

    def waiting() -> int:
        return sum(pool.waiting for pool in db.snapshot().pools)

    async with world.session(db) as session:
        await session.execute("SELECT 1")
        db.suspend()
        assert await session.scalar("SELECT 2") == 2  # whoever has a connection goes on

    async def party(number: int) -> None:
        await eventually(world, lambda: waiting() == number, PATIENCE)
        async with world.session(db) as session:
            await session.execute("SELECT 1")
            order.append(number)

    async def operator() -> None:
        await eventually(world, lambda: waiting() == 3, PATIENCE)
        assert order == []
        db.resume()

    ends = await world.together(*[lambda n=number: party(n) for number in range(3)], operator)

    assert ends == [None] * 4
    if world.backend.family == "sqlite":
        assert order == [0, 1, 2]
    assert sorted(order) == [0, 1, 2]
    await check_nothing_left(world, db)


@on_servers
@pytest.mark.timing
async def test_who_waited_gets_no_connection_that_was_lost_meanwhile(world: World) -> None:
    number = "pg_backend_pid()" if world.backend.family == "postgresql" else "CONNECTION_ID()"
    db = world.database(pool_size=1, pool_timeout=PATIENCE, ping_after=0.3)
    async with world.session(db) as session:
        lost = await session.scalar(f"SELECT {number}")
        await session.get(User, 1)
    db.suspend()
    given_back = time.monotonic()

    async def party() -> None:
        async with world.session(db) as session:
            assert await session.get(User, 1) is None

    async def operator() -> None:
        await eventually(world, lambda: db.snapshot().pools[0].waiting == 1, PATIENCE)
        kill(world, lost)
        await eventually(world, lambda: time.monotonic() > given_back + 0.3, PATIENCE)
        db.resume()

    assert await world.together(party, operator) == [None, None]


@pytest.mark.timing
async def test_the_wait_for_a_suspended_database_has_an_end(world: World) -> None:
    db = world.database(pool_timeout=0.1)
    db.suspend()

    with pytest.raises(PoolTimeout, match="suspended"):
        await use(world, db)
    with pytest.raises(DeadlineExceeded):
        await use(world, db, timeout=0.05)

    db.resume()
    assert await use(world, db)
