"""aiosqlite opens files in a thread; a task that is cancelled meanwhile leaves none open."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from hermetic import Database

pytestmark = pytest.mark.sqlite


class Thread:
    """What the thread does, and when."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.opened = threading.Event()
        self.closed = threading.Event()

    def factory(self, *args: Any, **kwargs: Any) -> sqlite3.Connection:
        outer = self
        self.itself = threading.current_thread()

        class Told(sqlite3.Connection):
            def close(self) -> None:
                super().close()
                outer.closed.set()

        self.entered.set()
        assert self.go_on.wait(30)
        made = Told(*args, **kwargs)
        self.opened.set()
        return made


async def _connecting(db: Database) -> None:
    async with db.session() as session:
        await session.scalar("SELECT 1")


@pytest.mark.parametrize("more", [{}, {"check_same_thread": True}], ids=["plain", "checked"])
@pytest.mark.parametrize("opened_before", [True, False], ids=["opened", "opening"])
async def test_a_file_opened_for_a_cancelled_task_is_closed(
    opened_before: bool, more: dict[str, bool], tmp_path: Path
) -> None:
    thread = Thread()
    url = f"sqlite+aiosqlite:///{tmp_path / 'main.db'}"
    async with Database(url, connect_args={"factory": thread.factory, **more}) as db:
        task = asyncio.create_task(_connecting(db))
        await asyncio.to_thread(thread.entered.wait, 30)
        if opened_before:
            # the loop does not hear of it: it waits here
            thread.go_on.set()
            assert thread.opened.wait(30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        thread.go_on.set()

        assert await asyncio.to_thread(thread.closed.wait, 30)
        # it has yet to tell the loop
        await asyncio.to_thread(thread.itself.join, 30)
