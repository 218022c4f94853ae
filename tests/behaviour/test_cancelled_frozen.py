"""Cancelled on a server that answers no more: the end comes in time all the same."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import pytest

from hermetic import Outcome
from tests.behaviour.aftermath import (
    check_nothing_left,
    eventually,
    happened,
    lent,
    on_servers_in_asyncio,
)
from tests.models import User
from tests.proxy import ROLLBACK, Proxy
from tests.worlds import PATIENCE, World

# The scope's own limit for cleaning up, what it may take beyond it, and the last second that a
# hanging end is given when its socket was destroyed.
CLEANUP = 0.3
SLACK = 2.0

# a statement of nothing, not the BEGIN that an adapter puts before it; or MariaDB's COM_PING
PING = re.compile(rb"(?<![A-Z]);\x00|SELECT 1\x00|\x0e")


async def turns(number: int = 20) -> None:
    """Let everything go on that is able to."""
    for _ in range(number):
        await asyncio.sleep(0)


@on_servers_in_asyncio
@pytest.mark.timing
@pytest.mark.parametrize("stage", ["statement", "commit", "rollback", "savepoint"])
async def test_a_cancelled_scope_on_a_frozen_server_ends_in_time(
    world: World, proxy: Proxy, stage: str
) -> None:
    db = world.database(cleanup_timeout=CLEANUP, pool_size=1)
    sessions: list[Any] = []
    frozen = asyncio.Event()

    async def unit() -> None:
        async with world.session(db) as session:
            sessions.append(session)
            session.add(User(username="ann"))
            await session.flush()
            if stage == "savepoint":
                async with world.session(db, propagation="nested"):
                    await session.execute("SELECT 1")
                    freeze()
                return
            freeze()
            if stage == "statement":
                await session.execute("SELECT 1")
            elif stage == "rollback":
                await asyncio.Event().wait()

    def freeze() -> None:
        proxy.freeze()
        frozen.set()

    async with asyncio.timeout(PATIENCE):
        async with world.session(db) as warm:
            await warm.execute("SELECT 1")
        (used,) = db.snapshot().connections
        task = asyncio.create_task(unit())
        await frozen.wait()
        await turns()
        begun = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        took = time.monotonic() - begun

    assert task.cancelled()
    assert took < CLEANUP + SLACK
    expected = Outcome.UNKNOWN if stage == "commit" else Outcome.NOT_COMMITTED
    assert sessions[0].outcome is expected
    assert lent(db) == []
    assert used.number not in {connection.number for connection in db.snapshot().connections}
    proxy.thaw()
    await check_nothing_left(world, db)


@on_servers_in_asyncio
@pytest.mark.timing
async def test_a_rollback_on_a_frozen_server_ends_in_time_and_hides_no_error(
    world: World, proxy: Proxy
) -> None:
    db = world.database(cleanup_timeout=CLEANUP, pool_size=1)

    begun = time.monotonic()
    with pytest.raises(ZeroDivisionError) as caught:
        async with world.session(db) as session:
            session.add(User(username="ann"))
            await session.flush()
            proxy.freeze()
            begun = time.monotonic()
            _ = 1 / 0
    took = time.monotonic() - begun

    assert took < CLEANUP + SLACK
    assert any("rollback failed" in note for note in caught.value.__notes__)
    assert session.outcome is Outcome.NOT_COMMITTED
    assert lent(db) == []
    proxy.thaw()
    await check_nothing_left(world, db)


@on_servers_in_asyncio
async def test_a_rollback_whose_answer_is_held_back_can_be_cancelled(
    world: World, proxy: Proxy
) -> None:
    db = world.database(cleanup_timeout=CLEANUP)
    held: list[Any] = []

    async def unit() -> None:
        async with world.session(db) as session:
            session.add(User(username="ann"))
            await session.flush()
            held.append(proxy.hold(ROLLBACK))
            raise ZeroDivisionError

    task = asyncio.create_task(unit())
    await eventually(world, lambda: held, PATIENCE)
    await happened(world, held[0].reached)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task

    assert isinstance(caught.value.__context__, ZeroDivisionError)
    assert world.usernames() == []
    held[0].release()
    await check_nothing_left(world, db)


@on_servers_in_asyncio
async def test_a_cancellation_during_a_ping_is_not_lost_with_the_connection(
    world: World, proxy: Proxy
) -> None:
    db = world.database(ping_after=0.0, pool_size=1)
    async with world.session(db) as warm:
        await warm.execute("SELECT 1")
    held = proxy.hold(PING)

    async def unit() -> None:
        async with world.session(db) as session:
            await session.execute("SELECT 1")

    async with asyncio.timeout(PATIENCE):
        task = asyncio.create_task(unit())
        await happened(world, held.reached)
        task.cancel()
        await turns()
        # whatever the ping's own cleanup waits for fails
        proxy.cut_all()
        held.release()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert lent(db) == []
    await check_nothing_left(world, db)
