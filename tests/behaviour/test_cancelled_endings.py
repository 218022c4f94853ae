"""Cancelled while a scope ends, or by somebody else's limit: once, afterwards, and in time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hermetic import Database, Outcome, Retry
from tests.behaviour.aftermath import (
    at_work,
    check_nothing_left,
    eventually,
    happened,
    on_asyncio,
    on_servers_in_asyncio,
)
from tests.models import User
from tests.proxy import COMMIT, Proxy
from tests.worlds import PATIENCE, World

# Runs until somebody ends it.
ENDLESS = {
    "sqlite": "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)"
    " SELECT count(*) FROM c",
    "postgresql": "SELECT pg_sleep(60)",
    "mariadb": "SELECT sleep(60)",
}


async def turns(number: int = 20) -> None:
    """Let everything go on that is able to."""
    for _ in range(number):
        await asyncio.sleep(0)


# ---------------------------------------------------------------- a COMMIT under way


@on_servers_in_asyncio
async def test_a_cancelled_commit_is_finished_and_known(world: World, proxy: Proxy) -> None:
    sessions: list[Any] = []
    hooks: list[str] = []

    async def unit() -> None:
        async with world.session() as session:
            sessions.append(session)
            session.on_commit(lambda: hooks.append("commit"))
            session.on_rollback(lambda: hooks.append("rollback"))
            session.add(User(username="ann"))
            await session.flush()
            held.append(proxy.hold(COMMIT))

    held: list[Any] = []
    task = asyncio.create_task(unit())
    await eventually(world, lambda: held, PATIENCE)
    await happened(world, held[0].reached)
    task.cancel()
    await turns()
    done_too_early = task.done()
    held[0].release()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task

    assert not done_too_early
    assert task.cancelled()
    assert sessions[0].outcome is Outcome.COMMITTED
    assert any("committed" in note for note in getattr(caught.value, "__notes__", []))
    assert hooks == ["commit"]
    assert world.usernames() == ["ann"]
    await check_nothing_left(world)


@on_servers_in_asyncio
async def test_a_commit_that_is_cancelled_twice_is_finished_and_raises_once(
    world: World, proxy: Proxy
) -> None:
    deliveries: list[str] = []
    held: list[Any] = []

    async def unit() -> None:
        try:
            async with world.session() as session:
                session.add(User(username="ann"))
                await session.flush()
                held.append(proxy.hold(COMMIT))
        except asyncio.CancelledError:
            deliveries.append("first")
            try:
                await turns(3)
            except asyncio.CancelledError:
                deliveries.append("second")
            raise

    task = asyncio.create_task(unit())
    await eventually(world, lambda: held, PATIENCE)
    await happened(world, held[0].reached)
    for _ in range(3):
        task.cancel()
        await turns()
    held[0].release()
    await asyncio.wait({task}, timeout=PATIENCE)

    assert task.cancelled()
    assert deliveries == ["first"]
    assert world.usernames() == ["ann"]
    await check_nothing_left(world)


@on_servers_in_asyncio
async def test_a_timeout_that_strikes_in_a_commit_is_raised_after_it(
    world: World, proxy: Proxy
) -> None:
    held: list[Any] = []

    async def release() -> None:
        await eventually(world, lambda: held, PATIENCE)
        await happened(world, held[0].reached)
        limit.reschedule(asyncio.get_running_loop().time())
        assert await eventually(world, limit.expired)
        await turns()
        held[0].release()

    helper = asyncio.create_task(release())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as limit:
            async with world.session() as session:
                session.add(User(username="ann"))
                await session.flush()
                held.append(proxy.hold(COMMIT))
    await helper

    assert limit.expired()
    assert session.outcome is Outcome.COMMITTED
    assert world.usernames() == ["ann"]
    await check_nothing_left(world)


# ---------------------------------------------------------------- limits and groups around scopes


@on_asyncio
async def test_a_timeout_around_a_scope_ends_its_statement_and_rolls_back(
    world: World,
) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            async with world.session() as session:
                session.add(User(username="ann"))
                await session.flush()
                await session.execute(ENDLESS[world.backend.family])

    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    await check_nothing_left(world)


@on_asyncio
async def test_a_timeout_inside_a_scope_leaves_it_to_be_rolled_back(
    world: World,
) -> None:
    """The statement was broken off: what it left of the transaction nobody knows."""

    with pytest.raises(Exception, match=r"not committed|rolled back|given up|not sent"):
        async with world.session() as session:
            session.add(User(username="ann"))
            await session.flush()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await session.execute(ENDLESS[world.backend.family])

    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    await check_nothing_left(world)


@on_asyncio
async def test_wait_for_around_a_unit_cancels_it(
    world: World,
) -> None:
    bodies = 0

    @world.unit(retry=Retry(attempts=5))
    async def unit(session: Any) -> None:
        nonlocal bodies
        bodies += 1
        session.add(User(username="ann"))
        await session.flush()
        await session.execute(ENDLESS[world.backend.family])

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(unit(), 0.5)

    assert bodies == 1
    assert world.usernames() == []
    await check_nothing_left(world)


@on_asyncio
async def test_a_failing_sibling_of_a_task_group_cancels_a_scope_cleanly(
    world: World,
) -> None:
    started = asyncio.Event()
    sessions: list[Any] = []

    async def unit() -> None:
        async with world.session() as session:
            sessions.append(session)
            session.add(User(username="ann"))
            await session.flush()
            started.set()
            await session.execute(ENDLESS[world.backend.family])

    async def sibling() -> None:
        await started.wait()
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            group.create_task(unit())
            group.create_task(sibling())

    assert [type(error) for error in caught.value.exceptions] == [ZeroDivisionError]
    assert sessions[0].outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    await check_nothing_left(world)


@on_asyncio
async def test_one_of_many_scopes_of_a_group_is_cancelled_alone(
    world: World,
) -> None:
    endless = ENDLESS[world.backend.family]

    async def unit(name: str) -> None:
        async with world.session() as session:
            session.add(User(username=name))
            await session.flush()
            if name == "victim":
                await session.execute(endless)

    victim = asyncio.create_task(unit("victim"))
    others = [asyncio.create_task(unit(f"other {number}")) for number in range(5)]

    def it_runs() -> bool:
        if world.backend.family == "sqlite":
            return any(s.last_statement == endless for s in world.db.snapshot().scopes)
        return any(endless in row for row in at_work(world))

    assert await eventually(world, it_runs, PATIENCE, every=0.15)
    victim.cancel()
    await asyncio.wait({victim, *others}, timeout=PATIENCE)

    assert victim.cancelled()
    assert [task.exception() for task in others] == [None] * 5
    assert world.usernames() == [f"other {number}" for number in range(5)]
    await check_nothing_left(world)


@on_asyncio
async def test_a_task_waiting_in_line_can_be_cancelled_and_keeps_nobody_waiting(
    world: World,
) -> None:
    db = world.database(pool_size=1)
    taken, done = asyncio.Event(), asyncio.Event()

    async def holder() -> None:
        async with world.session(db) as session:
            await session.execute("SELECT 1")
            taken.set()
            await done.wait()

    async def waiter() -> None:
        async with world.session(db) as session:
            await session.execute("SELECT 1")

    holding = asyncio.create_task(holder())
    await taken.wait()
    victim, other = asyncio.create_task(waiter()), asyncio.create_task(waiter())
    await eventually(world, lambda: waiting(db) == 2, PATIENCE)
    victim.cancel()
    await asyncio.wait({victim}, timeout=PATIENCE)
    still_waiting = waiting(db)
    done.set()
    await asyncio.wait({holding, other}, timeout=PATIENCE)

    assert victim.cancelled()
    assert still_waiting == 1
    assert holding.exception() is other.exception() is None
    await check_nothing_left(world, db)


@on_asyncio
async def test_a_place_that_came_in_the_moment_of_cancellation_goes_on(world: World) -> None:
    """Released and cancelled in the same turn of the loop: the place must not be lost."""
    db = world.database(pool_size=1)
    taken, done = asyncio.Event(), asyncio.Event()

    async def holder() -> None:
        async with world.session(db) as session:
            await session.execute("SELECT 1")
            taken.set()
            await done.wait()

    async def waiter() -> None:
        async with world.session(db) as session:
            await session.execute("SELECT 1")

    holding = asyncio.create_task(holder())
    await taken.wait()
    victim = asyncio.create_task(waiter())
    await eventually(world, lambda: waiting(db) == 1, PATIENCE)
    # The waker is called from the holder's end, in the loop's own turn.
    holding.add_done_callback(lambda _: victim.cancel())
    done.set()
    await asyncio.wait({holding, victim}, timeout=PATIENCE)

    assert victim.cancelled() or victim.exception() is None
    await check_nothing_left(world, db)


@on_servers_in_asyncio
@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancellation_in_the_moment_of_a_connection_is_not_swallowed(
    world: World, fails: bool
) -> None:
    """As asyncio.wait_for does it on Python 3.11, which drivers use."""
    loop: Any = asyncio.get_running_loop()
    connect = loop.create_connection

    async def unit() -> None:
        async with world.session() as session:
            await session.execute("SELECT 1")

    task = asyncio.create_task(unit())

    async def create_connection(*args: Any, **options: Any) -> Any:
        made = None if fails else await connect(*args, **options)
        task.cancel()
        if made is None:
            raise ConnectionRefusedError("the server is away")
        return made

    loop.create_connection = create_connection
    try:
        await asyncio.wait({task}, timeout=PATIENCE)
    finally:
        loop.create_connection = connect

    # psycopg makes its connections beside the loop
    assert task.cancelled() or world.backend.name == "psycopg_async"
    await check_nothing_left(world)


def waiting(db: Database) -> int:
    return sum(pool.waiting for pool in db.snapshot().pools)
