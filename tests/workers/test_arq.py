"""arq: a worker in this process, whose jobs are cancelled, and run again.

arq asks for an older client of Redis than the cache, so that it is not installed beside it:
`make arq` runs these tests in an environment of their own, and `make test` ends with it. Elsewhere
they are skipped.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

pytest.importorskip(
    "arq", reason="arq does not fit beside the cache's Redis client; `make arq` runs its tests"
)

from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker, func

from hermetic import CommitUnknown, RetryRequested, UniqueViolation
from hermetic.integrations.arq import Sessions, retried
from hermetic.outbox import Inbox
from tests.behaviour.aftermath import lent, on
from tests.models import User
from tests.proxy import Proxy
from tests.worlds import PATIENCE, World

in_asyncio = on(lambda backend: backend.name == "aiosqlite")
on_asyncpg = on(lambda backend: backend.name == "asyncpg")


class Desk:
    """A queue of its own, with a worker for the time that a job takes."""

    def __init__(self, broker: str, sessions: Sessions, *functions: Any) -> None:
        self.settings = RedisSettings.from_dsn(broker)
        self.sessions = sessions
        self.functions = [func(each, name=each.__name__) for each in functions]

    async def done(self, name: str, *args: Any, **options: Any) -> Any:
        pool = await create_pool(self.settings)
        try:
            job = await pool.enqueue_job(name, *args)
            assert job is not None
            given = {"max_tries": 3, "poll_delay": 0.01, "handle_signals": False, **options}
            worker = Worker(self.functions, redis_pool=pool, burst=True, **given)
            async with asyncio.timeout(PATIENCE):
                await worker.main()
            return await job.result(timeout=0)
        finally:
            await pool.aclose()


@in_asyncio
async def test_jobs(world: World, broker: str) -> None:
    sessions = Sessions(world.db)
    runs: list[str] = []

    @sessions.task
    async def add(ctx: dict[str, Any], name: str, then: str = "") -> int:
        runs.append(name)
        session = world.db.current
        session.add(User(username=name))
        await session.flush()
        if then == "ask" and len(runs) < 2:
            raise RetryRequested
        if then == "wait":
            await asyncio.Event().wait()
        return len(runs)

    @sessions.task
    @retried(3)
    async def persist(ctx: dict[str, Any], name: str) -> int:
        runs.append(name)
        world.db.current.add(User(username=name))
        if len(runs) < 3:
            raise RetryRequested
        return int(ctx["job_try"])

    desk = Desk(broker, sessions, add, persist)
    assert await desk.done("add", "ann") == 1
    runs.clear()
    assert await desk.done("add", "bob", "ask") == 2
    runs.clear()
    assert await desk.done("persist", "cyd") == 1
    assert world.usernames() == ["ann", "bob", "cyd"]
    runs.clear()
    with pytest.raises(UniqueViolation):
        await desk.done("add", "ann")
    assert len(runs) == 1
    with pytest.raises(TimeoutError):
        await desk.done("add", "dan", "wait", job_timeout=0.2)
    assert world.usernames() == ["ann", "bob", "cyd"]
    assert lent(world.db) == []


@on_asyncpg
async def test_a_job_that_is_cancelled_while_its_commit_is_lost_is_not_run_again(
    world: World,
) -> None:
    with Proxy(world.url) as proxy:
        world.url = proxy.url
        db = world.database(cleanup_timeout=0.3)
        sessions = Sessions(db)
        trap = proxy.freeze_at()

        @sessions.task
        async def add(ctx: dict[str, Any]) -> None:
            db.current.add(User(username="ann"))

        given = {"job_id": "1", "job_try": 1, "enqueue_time": datetime.now(UTC)}
        job = asyncio.create_task(add(given))
        assert await asyncio.to_thread(trap.reached.wait, PATIENCE)
        job.cancel()
        # whatever is cancelled arq runs again
        with pytest.raises(CommitUnknown):
            await job
        proxy.thaw()
        await db.aclose()


@pytest.mark.parametrize("once", [False, True])
@on_asyncpg
async def test_a_commit_whose_answer_is_lost(world: World, broker: str, once: bool) -> None:
    with Proxy(world.url) as proxy:
        world.url = proxy.url
        db = world.database()
        inbox = Inbox(db)
        await inbox.acreate()
        sessions = Sessions(db, once=inbox if once else None)
        runs: list[int] = []

        @sessions.task
        async def add(ctx: dict[str, Any]) -> None:
            runs.append(1)
            db.current.add(User(username="ann"))

        desk = Desk(broker, sessions, add)
        proxy.cut_after()
        if once:
            await desk.done("add")
        else:
            with pytest.raises(CommitUnknown):
                await desk.done("add")
        assert (len(runs), world.usernames()) == (1, ["ann"])
        await db.aclose()
