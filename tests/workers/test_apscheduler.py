"""APScheduler: each run of a job is a unit of work, in threads and in a loop."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.schedulers.background import BackgroundScheduler

from hermetic import UniqueViolation
from hermetic.integrations.tasks import Sessions
from tests.behaviour.aftermath import on
from tests.models import User
from tests.worlds import PATIENCE, World

in_threads = on(lambda backend: backend.name == "sqlite")
in_asyncio = on(lambda backend: backend.name == "aiosqlite")


@in_threads
def test_runs_in_threads(world: World) -> None:
    sessions = Sessions(world.db)
    told: list[Any] = []
    twice = threading.Event()

    @sessions.task
    def add(name: str) -> None:
        world.db.current.add(User(username=name))

    def note(event: Any) -> None:
        told.append((event.code, type(event.exception), world.usernames()))
        if len(told) == 2:
            twice.set()

    scheduler = BackgroundScheduler()
    scheduler.add_listener(note, EVENT_JOB_EXECUTED | EVENT_JOB_ERROR)
    scheduler.start()
    try:
        scheduler.add_job(add, args=("ann",), trigger="interval", seconds=0.05)
        assert twice.wait(PATIENCE)
    finally:
        scheduler.shutdown()
    # it is told of after the commit, and of a commit that has failed
    assert told[:2] == [
        (EVENT_JOB_EXECUTED, type(None), ["ann"]),
        (EVENT_JOB_ERROR, told[1][1], ["ann"]),
    ]
    assert issubclass(told[1][1], UniqueViolation)


@in_asyncio
async def test_runs_in_a_loop(world: World) -> None:
    sessions = Sessions(world.db)
    done = asyncio.Event()

    @sessions.task
    async def add(name: str) -> None:
        world.db.current.add(User(username=name))
        world.db.current.on_commit(done.set)

    scheduler = AsyncIOScheduler()
    scheduler.start()
    try:
        scheduler.add_job(add, args=("ann",))
        await asyncio.wait_for(done.wait(), PATIENCE)
    finally:
        scheduler.shutdown()
    assert world.usernames() == ["ann"]
