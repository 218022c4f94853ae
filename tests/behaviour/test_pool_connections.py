"""Which connection a scope is given: used again, replaced, or as the chosen pool class has it."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.pool import AssertionPool, NullPool, QueuePool, SingletonThreadPool, StaticPool

from hermetic import (
    CannotConnect,
    ConnectionDestroyed,
    Database,
    DeadlineExceeded,
    Event,
    PoolError,
)
from hermetic.dialects.postgresql import PostgreSQL
from tests.behaviour.aftermath import check_nothing_left, eventually, kill, lent, on, on_servers
from tests.models import User
from tests.worlds import PATIENCE, World


async def use(world: World, db: Database) -> int:
    """Use a connection; its number."""
    async with world.session(db) as session:
        await session.execute("SELECT 1")
        (mine,) = [c for c in db.snapshot().connections if c.scope == session.scope.number]
    return mine.number


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
    assert (connection.holder, connection.scope) == (None, None)


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
            "SELECT pg_terminate_backend(pid, 15000) FROM pg_stat_activity WHERE datname ="
            " current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        return
    for (connection,) in world.seen(
        "SELECT id FROM information_schema.processlist"
        " WHERE db = database() AND id <> connection_id()"
    ):
        kill(world, connection)


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
    dialect: Any = engine.dialect
    pings: list[object] = []
    ping = dialect.do_ping

    def counted(dbapi: Any) -> Any:
        pings.append(dbapi)
        return ping(dbapi)

    dialect.do_ping = counted
    return pings


@pytest.mark.timing
async def test_an_old_connection_is_replaced(world: World) -> None:
    db = world.database(pool_recycle=1)
    before = await use(world, db)
    await eventually(world, lambda: db.snapshot().connections[0].age > 2.1, PATIENCE)

    assert await use(world, db) != before
    assert len(db.snapshot().connections) == 1


# ---------------------------------------------------------------- a server that says nothing


@asynccontextmanager
async def deaf(world: World, **options: Any) -> AsyncIterator[Database]:
    """A Database on a server that takes connections and does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = make_url(world.url).set(host="127.0.0.1", port=server.getsockname()[1], query={})
        db = Database(url.render_as_string(hide_password=False), **options)
        yield db
        if world.is_async:
            await db.aclose()
        else:
            db.close()


@on_servers
@pytest.mark.slow
async def test_a_server_that_says_nothing_cannot_be_connected_to(world: World) -> None:
    async with deaf(world, connect_timeout=1) as db:
        with pytest.raises(CannotConnect):
            await use(world, db)
        assert lent(db) == []


@on_servers
@pytest.mark.slow
async def test_connecting_ends_at_the_deadline(world: World) -> None:
    async with deaf(world) as db:
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            async with world.session(db, timeout=0.5) as session:
                await session.execute("SELECT 1")
        # psycopg by itself takes 2 s for anything less
        assert time.monotonic() - began < 1.9
        assert lent(db) == []


# ---------------------------------------------------------------- a number that is another's by now


@on(lambda backend: backend.name == "psycopg")
async def test_what_breaks_a_connection_off_leaves_who_has_its_number_alone(world: World) -> None:
    """libpq closes a socket that it has found broken."""
    url = make_url(world.url).set(drivername="postgresql").render_as_string(hide_password=False)
    lost = psycopg.connect(url, autocommit=True)
    number = lost.pgconn.socket
    break_off = PostgreSQL().breaker(lost, "psycopg")
    assert break_off is not None
    kill(world, lost.info.backend_pid)
    with pytest.raises(psycopg.OperationalError):
        lost.execute("SELECT 1")

    with contextlib.ExitStack() as stack:
        for _ in range(100):
            here, there = socket.socketpair()
            stack.enter_context(here)
            stack.enter_context(there)
            if number in (here.fileno(), there.fileno()):
                break
        assert number in (here.fileno(), there.fileno())
        break_off()
        here.send(b"x")
        assert there.recv(1) == b"x"
