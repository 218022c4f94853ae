"""Scopes leave nothing for the garbage collector: what one makes is gone when it has ended."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import pytest
from sqlalchemy import select

from hermetic import Database
from tests.behaviour.aftermath import lent, on
from tests.models import User
from tests.worlds import World

WARM: Final = 200
MEASURED: Final = 1_000
# what is bounded, and fills slowly: prepared statements, alarms that were called off, references
# to strike out. A leak would be as many objects as there were scopes, or more
SPARE: Final = MEASURED // 3

pytestmark = pytest.mark.slow


@pytest.fixture
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def kinds() -> Counter[str]:
    return Counter([type(each).__qualname__ for each in gc.get_objects()])


def check_growth(before: Counter[str], after: Counter[str], what: str) -> None:
    grown = after - before
    assert after.total() - before.total() < SPARE, f"{what} left {grown.most_common(12)}"


class Failed(Exception):
    pass


# ---------------------------------------------------------------- threads


def read(db: Database) -> None:
    with db.session() as session:
        session.get(User, 1)
        session.scalars(select(User).where(User.id == 1)).all()


def read_only(db: Database) -> None:
    with db.session(readonly=True) as session:
        session.get(User, 1)


def write(db: Database) -> None:
    with db.session() as session:
        user = session.get(User, 1)
        assert user is not None
        user.balance += 1


def fail(db: Database) -> None:
    try:
        with db.session() as session:
            user = session.get(User, 1)
            assert user is not None
            user.balance += 1
            session.flush()
            raise Failed
    except Failed:
        pass


def empty(db: Database) -> None:
    with db.session():
        pass


def joined(db: Database) -> None:
    with db.session(), db.session() as session, db.session(propagation="nested"):
        session.get(User, 1)


WORKS: Final = (empty, read, read_only, write, fail, joined)


@on(lambda backend: backend.name in ("sqlite", "psycopg"))
@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.__name__)
def test_scopes_leave_nothing(
    world: World, work: Callable[[Database], None], uncollected: None
) -> None:
    world.do("INSERT INTO users (id, username, balance) VALUES (1, 'ann', 0)")
    db = world.database(pool_size=2)
    for _ in range(WARM):
        work(db)
    before = kinds()
    for _ in range(MEASURED):
        work(db)

    check_growth(before, kinds(), work.__name__)
    assert lent(db) == []


# ---------------------------------------------------------------- asyncio


async def read_there(db: Database) -> None:
    async with db.session() as session:
        await session.get(User, 1)
        (await session.scalars(select(User).where(User.id == 1))).all()


async def write_there(db: Database) -> None:
    async with db.session() as session:
        user = await session.get(User, 1)
        assert user is not None
        user.balance += 1


async def fail_there(db: Database) -> None:
    try:
        async with db.session() as session:
            await session.get(User, 1)
            raise Failed
    except Failed:
        pass


async def empty_there(db: Database) -> None:
    async with db.session():
        pass


async def cancelled_there(db: Database) -> None:
    at_rest = asyncio.Event()

    async def work() -> None:
        async with db.session() as session:
            await session.get(User, 1)
            at_rest.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await at_rest.wait()
    task.cancel()
    await asyncio.wait((task,))


ASYNC_WORKS: Final = (empty_there, read_there, write_there, fail_there, cancelled_there)


@on(lambda backend: backend.name in ("aiosqlite", "asyncpg"))
@pytest.mark.parametrize("work", ASYNC_WORKS, ids=lambda work: work.__name__)
async def test_scopes_of_asyncio_leave_nothing(
    world: World, work: Callable[[Database], Awaitable[Any]], uncollected: None
) -> None:
    world.do("INSERT INTO users (id, username, balance) VALUES (1, 'ann', 0)")
    db = world.database(pool_size=2)
    for _ in range(WARM):
        await work(db)
    before = kinds()
    for _ in range(MEASURED):
        await work(db)

    check_growth(before, kinds(), work.__name__)
    assert lent(db) == []
