"""Connects take turns: while a server is there, while it is away, and when it comes back."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from typing import Any

import pytest
from sqlalchemy import event, make_url
from sqlalchemy.exc import DBAPIError

from hermetic import (
    CannotConnect,
    CommitUnknown,
    ConnectionLost,
    Database,
    DeadlineExceeded,
    FaultError,
    HermeticError,
)
from hermetic.connects import Connects, Permit
from tests.behaviour.aftermath import eventually, lent, on, on_servers
from tests.behaviour.own import Door, OwnServer
from tests.proxy import Proxy
from tests.worlds import PATIENCE, World

# MariaDB's own start may accept before it serves
_AWAY = (CannotConnect, ConnectionLost, CommitUnknown)
# On a machine with other work; the goal is a third of it.
_BACK_WITHIN = {"postgresql": 5.0, "mariadb": 8.0}


async def through(world: World, door: Door, **options: Any) -> Database:
    url = make_url(world.url).set(host="127.0.0.1", port=door.port)
    world.url = url.render_as_string(hide_password=False)
    return world.database(**options)


async def pause(world: World, seconds: float) -> None:
    if world.is_async:
        await asyncio.sleep(seconds)
    else:
        threading.Event().wait(seconds)


@on_servers
async def test_no_more_than_two_connect_at_once(own: OwnServer, own_world: World) -> None:
    world = own_world
    with Door(own.server.host, own.server.port) as door:
        db = await through(world, door, pool_size=10)
        pool: Any = (db.async_engine.sync_engine if world.is_async else db.engine).pool
        most = 0
        create = pool._invoke_creator
        under_way: list[object] = []

        async def party() -> None:
            async with world.session(db) as session:
                await session.execute("SELECT 1")

        def counted(record: Any) -> Any:
            return create(record)

        pool._invoke_creator = counted
        connect = pool._dialect.connect

        def watched(*args: Any, **kwargs: Any) -> Any:
            nonlocal most
            under_way.append(object())
            most = max(most, len(under_way))
            try:
                return connect(*args, **kwargs)
            finally:
                under_way.pop()

        pool._dialect.connect = watched
        assert await world.together(*[party] * 10) == [None] * 10
        assert 1 <= most <= 2
        assert lent(db) == []


@on_servers
@pytest.mark.slow
async def test_a_server_that_is_away_is_asked_by_one_at_a_time(
    own: OwnServer, own_world: World
) -> None:
    world = own_world
    ends: list[type[BaseException] | None] = []
    back = 0.0
    first: list[float] = []
    stop = threading.Event()

    with Door(own.server.host, own.server.port) as door:
        db = await through(world, door, pool_size=10)

        async def client() -> None:
            while not stop.is_set():
                try:
                    async with world.session(db) as session:
                        await session.execute("SELECT 1")
                except (FaultError, CommitUnknown) as error:
                    ends.append(type(error))
                else:
                    if back:
                        first.append(time.monotonic())
                        return
                await pause(world, 0.005)

        async def operator() -> None:
            nonlocal back
            try:
                assert await eventually(world, lambda: len(door.arrivals) >= 2, PATIENCE)
                await in_thread(world, own.server.halt)
                down = time.monotonic()
                await pause(world, 4.0)
                lasted = time.monotonic() - down
                tried = len([at for at in door.refused if at >= down])
                assert 2 <= tried <= 2 * lasted + 4
                await in_thread(world, own.server.start)
                back = time.monotonic()
                await eventually(world, lambda: len(first) == 20, PATIENCE)
            finally:
                stop.set()
                if own.server.pid is None:
                    await in_thread(world, own.server.start)

        assert await world.together(*[client] * 20, operator) == [None] * 21
        assert len(first) == 20
        assert min(first) - back <= _BACK_WITHIN[world.backend.family]
        assert max(first) - back <= 2 * _BACK_WITHIN[world.backend.family]
        assert all(issubclass(end, _AWAY) for end in ends if end)
        assert lent(db) == []
        world.close_observer()


async def in_thread(world: World, function: Any) -> None:
    """A server takes its time, and a loop goes on meanwhile."""
    if world.is_async:
        await asyncio.to_thread(function)
    else:
        function()


@on_servers
@pytest.mark.slow
async def test_who_waits_for_a_probe_gets_its_error(own: OwnServer, own_world: World) -> None:
    world = own_world
    with Door("127.0.0.1", 1) as door:
        db = await through(world, door, pool_size=10)

        async def client() -> None:
            async with world.session(db) as session:
                await session.execute("SELECT 1")

        begun = time.monotonic()
        ends = await world.together(*[client] * 10)
        ends += await world.together(*[client] * 10)

        assert time.monotonic() - begun < 12
        assert all(isinstance(end, FaultError) for end in ends)
        assert len({id(end) for end in ends}) == 20
        assert len(door.arrivals) <= 6
        assert lent(db) == []


@on_servers
@pytest.mark.timing
async def test_a_deadline_ends_the_wait_for_a_probe(own: OwnServer, own_world: World) -> None:
    world = own_world
    with Door("127.0.0.1", 1) as door:
        db = await through(world, door)
        engine: Any = db.async_engine.sync_engine if world.is_async else db.engine
        connects = engine.pool.connecting.connects
        connects.failed(None, OSError("away"), time.monotonic() + 5, 1.0)

        begun = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            async with world.session(db, timeout=0.2) as session:
                await session.execute("SELECT 1")

        assert time.monotonic() - begun < 4.5
        assert connects.waiting == connects.under_way == 0
        assert door.arrivals == []
        assert lent(db) == []


@on_servers
@pytest.mark.timing
async def test_a_wait_at_the_gate_and_one_for_a_probe_share_one_timeout(world: World) -> None:
    db = world.database(pool_size=1, pool_timeout=2.0)
    engine: Any = db.async_engine.sync_engine if world.is_async else db.engine
    connects = engine.pool.connecting.connects
    took = 0.0

    async def holder() -> None:
        async with world.session(db) as session:
            connection = await session.connection()
            assert await eventually(world, lambda: db.snapshot().pools[0].waiting == 1, PATIENCE)
            await pause(world, 1.4)
            connects.failed(None, OSError("away"), time.monotonic() + 60, 1.0)
            await connection.invalidate()

    async def waiter() -> None:
        nonlocal took
        await eventually(world, lambda: db.snapshot().pools[0].lent == 1, PATIENCE)
        begun = time.monotonic()
        try:
            async with world.session(db) as session:
                await session.execute("SELECT 1")
        finally:
            took = time.monotonic() - begun

    _, ended = await world.together(holder, waiter)

    assert isinstance(ended, OSError)
    assert 1.4 < took < 3.3
    assert lent(db) == []


@on_servers
async def test_those_in_line_at_the_gate_hear_of_a_failed_connect(
    own: OwnServer, own_world: World
) -> None:
    """Whoever failed lets go of its place: the next one is admitted at once, not at its timeout."""
    world = own_world
    with Door("127.0.0.1", 1) as door:
        db = await through(world, door, pool_size=1, pool_timeout=PATIENCE)

        async def client() -> None:
            async with world.session(db) as session:
                await session.execute("SELECT 1")

        begun = time.monotonic()
        ends = await world.together(*[client] * 4)

        assert time.monotonic() - begun < 12
        assert all(isinstance(end, FaultError) for end in ends)
        assert lent(db) == []


@on_servers
async def test_what_the_other_worlds_driver_said_is_told_by_this_one(world: World) -> None:
    """The connects of threads and asyncio are one line; their drivers' errors are not one class."""
    db = world.database()
    engine: Any = db.async_engine.sync_engine if world.is_async else db.engine
    connects: Connects = engine.pool.connecting.connects
    connects.failed(None, OSError("away"), time.monotonic() - 5, 0.0)
    probe = connects.ask("another pool's", time.monotonic(), lambda: lambda: True)
    assert isinstance(probe, Permit)

    async def client() -> None:
        async with world.session(db) as session:
            await session.execute("SELECT 1")

    async def prober() -> None:
        assert await eventually(world, lambda: connects.waiting == 1, PATIENCE)
        args = (2013, "lost") if world.backend.family == "mariadb" else ("lost",)
        connects.failed(probe, _ForeignError(*args), time.monotonic(), 0.0)

    told, _ = await world.together(client, prober)

    assert isinstance(told, FaultError)
    assert isinstance(told, DBAPIError)
    assert "lost" in str(told)
    assert lent(db) == []


class Error(Exception):
    """The base of a driver's errors, as every driver has one."""


class _ForeignError(Error):
    pass


@on(lambda backend: backend.name == "asyncpg")
async def test_a_connection_lost_while_it_is_set_up_is_told_in_our_words(world: World) -> None:
    """SQLAlchemy registers its codecs there, and lets asyncpg's own errors through."""
    lost = []

    def lose(dbapi: Any, record: Any) -> None:
        dbapi.driver_connection.terminate()
        lost.append(dbapi)

    event.listen(world.db.async_engine.sync_engine, "connect", lose, insert=True)
    with pytest.raises((ConnectionLost, CannotConnect)):
        async with world.session() as session:
            await session.execute("SELECT 1")

    assert lost
    assert lent(world.db) == []


@on_servers
@pytest.mark.parametrize("request_", [b"(?i)select", b"(?i)version", b"(?i)rollback"])
async def test_a_server_that_freezes_while_it_is_first_looked_at_is_given_up(
    world: World, proxy: Proxy, request_: bytes
) -> None:
    """SQLAlchemy asks for version and types on an engine's first connection, and rolls that back,
    before anybody else is told of it.
    """
    db = world.database(connect_timeout=1.5)
    trap = proxy.freeze_at(re.compile(request_))

    with pytest.raises(HermeticError):
        async with world.session(db) as session:
            await session.execute("SELECT 1")

    assert trap.reached.is_set()
    proxy.thaw()
    async with world.session(db) as session:
        assert await session.scalar("SELECT 42") == 42
    assert lent(db) == []
