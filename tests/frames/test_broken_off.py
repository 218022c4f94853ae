"""A COPY that is broken off in the middle leaves nothing for the next user of its connection."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hermetic import AsyncSession, Database, DeadlineExceeded
from hermetic.frames import read, write
from tests.behaviour.aftermath import on_postgresql
from tests.databases import FamilyUrl
from tests.frames.test_writing import USERS, call
from tests.models import User
from tests.worlds import World

# rows come from the first moment on; a series in FROM would be made as a whole before any of them
ENDLESS = "SELECT generate_series(1, 1000000000) AS i, repeat('x', 50) AS t"


@on_postgresql
async def test_a_deadline_in_the_middle_of_rows(world: World) -> None:
    db = world.database(pool_size=1)
    with pytest.raises(DeadlineExceeded):
        async with world.session(db, timeout=0.4) as session:
            await call(read, session, ENDLESS, "arrow")

    async with world.session(db) as session:
        await call(write, session, USERS, User)
        table = await call(read, session, User, "arrow")

    assert table.num_rows == 2


@pytest.mark.postgresql
@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_a_cancellation_in_the_middle_of_rows(family_url: FamilyUrl, driver: str) -> None:
    url = family_url("postgresql").replace("postgresql://", f"postgresql+{driver}://")
    begun = asyncio.Event()

    async def unit(db: Database) -> Any:
        async with db.session() as session:
            assert isinstance(session, AsyncSession)
            await session.execute("SELECT 1")
            begun.set()
            return await read(session, ENDLESS, "arrow")

    async with Database(url, pool_size=1) as db:
        task = asyncio.ensure_future(unit(db))
        await begun.wait()
        for _ in range(20):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with db.session() as session:
            table = await read(session, "SELECT 7 AS n", "arrow")

    assert table["n"].to_pylist() == [7]
