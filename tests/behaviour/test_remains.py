"""What goes on in a server whose client was cancelled is ended there, where it is surely its."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import make_url

from hermetic import LockTimeout, Outcome
from hermetic.dialects import mysql_remains
from tests.behaviour.aftermath import check_nothing_left, eventually, on, on_mariadb
from tests.proxy import Proxy
from tests.worlds import PATIENCE, World

AT_WORK = (
    "SELECT id, substring_index(host, ':', -1) FROM information_schema.processlist"
    " WHERE info LIKE 'UPDATE users SET balance = sleep%'"
)
# KILL marks a thread before it answers; the thread itself sees the mark a little later
SPARED = AT_WORK + " AND command <> 'Killed'"
# keeps its row's lock for as long as it sleeps
SLOW = "UPDATE users SET balance = sleep(60) WHERE username = 'ann'"

on_asyncmy = on(lambda backend: backend.name == "asyncmy")


@pytest.fixture
def ann(world: World) -> None:
    world.do("INSERT INTO users (username, balance) VALUES ('ann', 7)")


async def cancelled_at_work(world: World, **options: Any) -> Any:
    """A session whose statement was cancelled in the middle."""
    sessions: list[Any] = []

    async def unit() -> None:
        async with world.session(**options) as session:
            sessions.append(session)
            await session.execute(SLOW)

    task = asyncio.create_task(unit())
    assert await eventually(world, lambda: world.seen(AT_WORK), PATIENCE)
    task.cancel()
    await asyncio.wait({task}, timeout=PATIENCE)
    assert task.cancelled()
    return sessions[0]


@on_asyncmy
@pytest.mark.usefixtures("ann")
async def test_a_cancelled_request_keeps_no_row_locks(world: World) -> None:
    session = await cancelled_at_work(world)

    # long before the statement would have ended by itself
    world.do("SET STATEMENT innodb_lock_wait_timeout = 10 FOR UPDATE users SET balance = 8")
    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.seen("SELECT balance FROM users") == [(8,)]
    await check_nothing_left(world)


@on_asyncmy
@pytest.mark.usefixtures("ann")
async def test_many_that_are_cancelled_at_once_leave_nothing_at_work(world: World) -> None:
    db = world.database(pool_size=6)
    world.do("INSERT INTO users (username, balance) VALUES ('bob', 0), ('cid', 0), ('dan', 0)")

    async def unit(name: str) -> None:
        async with db.session() as session:
            await session.execute(SLOW.replace("ann", name))

    async with asyncio.timeout(PATIENCE):
        tasks = [asyncio.create_task(unit(name)) for name in ("ann", "bob", "cid", "dan")]
        await eventually(world, lambda: len(world.seen(AT_WORK)) == 4, PATIENCE)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    assert await eventually(world, lambda: not world.seen(AT_WORK))
    await check_nothing_left(world, db)


@on_asyncmy
@pytest.mark.usefixtures("ann")
async def test_what_may_be_somebody_elses_is_let_alone(world: World, proxy: Proxy) -> None:
    """Behind a proxy a connection's number may be another's: there the statement goes on."""
    session = await cancelled_at_work(world)

    at_work = world.seen(AT_WORK)
    assert len(at_work) == 1
    world.do(f"KILL CONNECTION {at_work[0][0]}")
    assert session.outcome is Outcome.NOT_COMMITTED
    assert await eventually(world, lambda: not world.seen(AT_WORK), PATIENCE)
    await check_nothing_left(world)


@on_asyncmy
@pytest.mark.usefixtures("ann")
@pytest.mark.parametrize("wrong", ["number", "port", "age", None])
async def test_what_is_ended_has_number_port_and_age_of_ours(
    world: World, wrong: str | None
) -> None:
    task = asyncio.create_task(_work(world))
    (number, port), *_ = await eventually(world, lambda: world.seen(AT_WORK), PATIENCE)

    with world.observer.connect() as other:
        mysql_remains.end(
            other,
            number + 1_000_000 if wrong == "number" else number,
            str(int(port) + 1) if wrong == "port" else port,
            10.0**9 if wrong == "age" else 0.0,
        )
    ended = not world.seen(SPARED)
    task.cancel()
    await asyncio.wait({task})

    assert ended == (wrong is None)


async def _work(world: World) -> None:
    async with world.session() as session:
        await session.execute(SLOW)


@on_mariadb
@pytest.mark.usefixtures("ann")
async def test_what_the_server_itself_has_ended_is_not_asked_for(world: World) -> None:
    db = world.database(lock_timeout=1)
    made = db.snapshot().counters["destroyed"]

    async with world.session(db) as holder:
        await holder.execute("UPDATE users SET balance = 1")
        with pytest.raises(LockTimeout):
            async with world.session(db, propagation="requires_new") as session:
                await session.execute("UPDATE users SET balance = 2")

    assert db.snapshot().counters["destroyed"] == made
    await check_nothing_left(world, db)


@on_asyncmy
@pytest.mark.usefixtures("ann")
async def test_by_a_unix_socket_there_is_nobody_else(world: World) -> None:
    path = world.seen("SELECT @@socket")[0][0]
    url = make_url(world.url).set(host=None, port=None, query={"unix_socket": path})
    world.url = url.render_as_string(hide_password=False)

    await cancelled_at_work(world)

    assert await eventually(world, lambda: not world.seen(AT_WORK))
    await check_nothing_left(world)
