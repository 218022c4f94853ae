"""SQLite has one writer: a sandbox that could only wait for its own code is refused."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

import pytest

from hermetic import Database
from hermetic.testing import SandboxBusy, SandboxError, outside, sandbox
from tests.behaviour.aftermath import on_servers, on_sqlite
from tests.testing.boxes import add, boxed, names
from tests.worlds import World


@on_sqlite
async def test_one_inside_of_another_is_refused_at_once(world: World) -> None:
    async with boxed(world, name="around"):
        with pytest.raises(SandboxError, match="inside of 'around'") as caught:
            async with boxed(world, name="inner"):
                pass
        assert not isinstance(caught.value, SandboxBusy)
        with outside(), pytest.raises(SandboxError, match="inside of 'around'"):
            async with boxed(world):
                pass
        await add(world, "ann")
        assert await names(world) == ["ann"]
    async with boxed(world):
        assert await names(world) == []


@on_servers
async def test_on_a_server_it_has_rows_of_its_own(world: World) -> None:
    async with boxed(world):
        await add(world, "ann")
        async with boxed(world):
            assert await names(world) == []
            await add(world, "bob")
        assert await names(world) == ["ann"]


async def test_one_of_the_other_world_is_refused_too(tmp_path: Path) -> None:
    async with Database(f"sqlite:///{tmp_path}/a.db") as db:
        with sandbox(db, name="around"), pytest.raises(SandboxError, match="inside of 'around'"):
            async with sandbox(db):
                pass
        async with sandbox(db, name="around"):
            with pytest.raises(SandboxError, match="inside of 'around'"), sandbox(db):
                pass


def test_one_that_has_waited_long_enough_says_for_what(tmp_path: Path) -> None:
    refused: list[str] = []

    def late(db: Database) -> None:
        try:
            with sandbox(db, name="late", wait=0.01):
                pass
        except SandboxBusy as busy:
            refused.append(str(busy))

    with Database(f"sqlite:///{tmp_path}/a.db") as db:
        with sandbox(db):
            thread = Thread(target=late, args=(db,))
            thread.start()
            thread.join()
        assert "Sandbox 'late' could not begin: Database 'a.db' has one writer" in refused[0]
        with sandbox(db), db.session() as session:
            assert session.scalar("SELECT 1") == 1


def test_outside_of_asyncio_it_says_whose_the_drivers_are(tmp_path: Path) -> None:
    with Database(f"sqlite:///{tmp_path}/a.db") as db:
        # as trio runs it: without a loop of asyncio's
        opening = sandbox(db).__aenter__()
        with pytest.raises(SandboxError, match="not by trio"):
            opening.send(None)
