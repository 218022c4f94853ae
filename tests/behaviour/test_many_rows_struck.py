"""Many rows written, and something strikes in the middle: a deadline, a cancellation, a kill."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from sqlalchemy import text

from hermetic import ConnectionLost, DeadlineExceeded, RolledBack, UniqueViolation
from tests.behaviour.manyrows import Thing, create
from tests.proxy import Proxy
from tests.worlds import PATIENCE, World


@pytest.fixture(autouse=True)
def tables(world: World) -> None:
    create(world.observer)


def rows(number: int) -> list[dict[str, Any]]:
    return [{"label": f"t{each}", "size": 1} for each in range(number)]


def count(world: World) -> int:
    found: int = world.seen("SELECT count(*) FROM things")[0][0]
    return found


async def writes_again(world: World) -> None:
    """The pool's connections are good for the next one."""
    async with world.session() as session:
        await session.insert_many(Thing, rows(300))
    assert count(world) == 300


@pytest.mark.timing
async def test_a_deadline_that_passes_between_batches(world: World) -> None:
    async def slowly() -> None:
        async with world.session(timeout=0.3) as session:

            def given() -> Iterator[dict[str, Any]]:
                yield from rows(150)
                time.sleep(0.35)
                yield {"label": "late"}

            await session.insert_many(Thing, given(), batch=100)

    with pytest.raises(DeadlineExceeded):
        await slowly()
    assert count(world) == 0
    await writes_again(world)


@pytest.mark.timing
async def test_a_deadline_ends_a_copy_that_waits_for_a_lock(world: World) -> None:
    if world.backend.family != "postgresql":
        pytest.skip("a COPY is PostgreSQL's")
    with world.observer.begin() as other:
        other.execute(text("LOCK TABLE things IN EXCLUSIVE MODE"))
        with pytest.raises(DeadlineExceeded):
            async with world.session(timeout=0.3) as session:
                await session.insert_many(Thing, rows(300))
    assert count(world) == 0
    await writes_again(world)


@pytest.mark.timing
async def test_a_task_that_is_cancelled_leaves_nothing(world: World) -> None:
    if not world.is_async or world.backend.family == "sqlite":
        pytest.skip("the lock of another connection is waited for by a task")
    world.database(lock_timeout=PATIENCE)
    waiting = asyncio.Event()

    async def write() -> None:
        async with world.session() as session:
            await session.insert_many(Thing, [{"label": "first"}])
            waiting.set()
            await session.insert_many(Thing, [*rows(300), {"label": "locked"}])

    with world.observer.begin() as other:
        sql = "INSERT INTO things (name, size, token) VALUES ('locked', 1, :token)"
        other.execute(text(sql), {"token": str(uuid.uuid4())})
        task = asyncio.create_task(write())
        await waiting.wait()
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        other.rollback()
    assert count(world) == 0
    await writes_again(world)


async def test_a_link_that_breaks_in_the_middle_leaves_nothing(world: World, proxy: Proxy) -> None:
    if world.backend.family == "sqlite":
        pytest.skip("SQLite has no link")

    def given() -> Iterator[dict[str, Any]]:
        yield from rows(150)
        proxy.cut_all()
        yield {"label": "late"}

    with pytest.raises((ConnectionLost, RolledBack)):
        async with world.session() as session:
            await session.insert_many(Thing, given(), batch=100)
    assert count(world) == 0
    await writes_again(world)


async def test_a_failing_copy_inside_a_nested_scope_is_undone_with_it(world: World) -> None:
    async with world.session() as session:
        await session.insert_many(Thing, rows(120))
        with pytest.raises(UniqueViolation):
            async with world.session(propagation="nested") as inner:
                await inner.insert_many(Thing, [{"label": "inner"}])
                await inner.insert_many(Thing, [{"label": f"u{n}"} for n in range(120)])
                await inner.insert_many(Thing, [{"label": "t5"}])
        await session.insert_many(Thing, [{"label": "after"}])
    assert count(world) == 121


async def test_an_asynchronous_iterable_that_is_cancelled(world: World) -> None:
    if not world.is_async:
        pytest.skip("threads await nothing")
    forever = asyncio.Event()
    reached = asyncio.Event()

    async def given() -> AsyncIterator[dict[str, Any]]:
        for row in rows(150):
            yield row
        reached.set()
        await forever.wait()

    async def write() -> None:
        async with world.session() as session:
            await session.insert_many(Thing, given(), batch=50)

    task = asyncio.create_task(write())
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert count(world) == 0
    await writes_again(world)


async def test_statements_of_a_scope_are_counted(world: World) -> None:
    async with world.session() as session:
        await session.insert_many(Thing, rows(300), batch=150)
        assert session.scope.statements >= 2
    assert count(world) == 300
