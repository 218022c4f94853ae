"""Row 11, under asyncio: one session per task, with scoped_session and async_scoped_session."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import AsyncAdaptedQueuePool, Engine, QueuePool
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from hermetic import async_scoped_session, async_sessionmaker, scoped_session, sessionmaker
from tests.dropin.ground import Ground
from tests.dropin.tasks import eventually
from tests.dropin.threads import PATIENCE
from tests.models import User


def lent(engine: Engine | AsyncEngine) -> int:
    pool = engine.pool
    assert isinstance(pool, (QueuePool, AsyncAdaptedQueuePool))
    return pool.checkedout()


async def test_each_task_gets_its_own_session(ground: Ground) -> None:
    ready = asyncio.Barrier(3)

    async def work(Session: Any) -> tuple[Any, str]:  # noqa: N803 - as the articles write it
        session = Session()
        await ready.wait()
        assert Session() is session
        printed = repr(Session())
        await Session.remove()
        return session, printed

    async with ground.async_engine() as engine, asyncio.timeout(PATIENCE):
        registry = async_scoped_session(async_sessionmaker(bind=engine))
        results = await asyncio.gather(*(work(registry) for _ in range(3)))

    assert len({id(session) for session, _ in results}) == 3
    assert len({printed for _, printed in results}) == 3


async def test_a_tasks_session_says_whose_it_is_and_in_what_state(ground: Ground) -> None:
    async def work(Session: Any) -> tuple[str, str, str]:  # noqa: N803
        session = Session()
        new = repr(session)
        await session.execute("SELECT 1")
        at_work = repr(session)
        await session.close()
        return new, at_work, repr(session)

    async with ground.async_engine() as engine:
        registry = async_scoped_session(async_sessionmaker(bind=engine))
        task = asyncio.create_task(work(registry), name="the reporter")
        new, at_work, closed = await task

    for printed in (new, at_work, closed):
        assert printed.startswith("<AsyncSession")
        assert "'the reporter'" in printed
    assert "idle" in new
    assert "in transaction" in at_work
    assert "idle" in closed


async def test_the_registry_prints_the_session_that_is_here(ground: Ground) -> None:
    async with ground.async_engine() as engine:
        Session = async_scoped_session(async_sessionmaker(bind=engine))  # noqa: N806
        empty = repr(Session)
        session = Session()
        printed = repr(Session)
        await Session.remove()

    assert repr(session) in printed
    assert repr(Session) == empty


async def test_a_changed_task_is_unseen_by_the_others(ground: Ground) -> None:
    async def add(Session: Any) -> None:  # noqa: N803
        Session.add(User(username="ann"))
        await Session.flush()
        await Session.remove()

    async with ground.async_engine() as engine:
        Session = async_scoped_session(async_sessionmaker(bind=engine))  # noqa: N806
        mine = Session()
        await asyncio.create_task(add(Session))
        pending = len(mine.new)
        count = await Session.scalar("SELECT count(*) FROM users")
        await Session.remove()

    assert (pending, count) == (0, 0)


async def test_a_task_that_ends_without_removing_has_its_session_closed(ground: Ground) -> None:
    async def work(Session: Any) -> Any:  # noqa: N803
        await Session.execute("SELECT 1")
        return Session()

    async with ground.async_engine() as engine:
        registry = async_scoped_session(async_sessionmaker(bind=engine))
        kept = await asyncio.create_task(work(registry))
        given_back = await eventually(lambda: lent(engine) == 0)
        printed = repr(kept)

    assert given_back
    assert "idle" in printed


@pytest.mark.parametrize("how", ["raises", "is cancelled"])
async def test_a_task_that_ends_badly_has_its_session_closed(ground: Ground, how: str) -> None:
    reached = asyncio.Event()

    async def work(Session: Any) -> None:  # noqa: N803
        await Session.execute("SELECT 1")
        reached.set()
        if how == "raises":
            raise LookupError
        await asyncio.Event().wait()

    async with ground.async_engine() as engine:
        registry = async_scoped_session(async_sessionmaker(bind=engine))
        task = asyncio.create_task(work(registry))
        await reached.wait()
        task.cancel()
        with pytest.raises((LookupError, asyncio.CancelledError)):
            await task
        given_back = await eventually(lambda: lent(engine) == 0)

    assert given_back


async def test_a_hundred_tasks_that_never_remove_cost_the_pool_and_no_more(ground: Ground) -> None:
    async def work(Session: Any) -> None:  # noqa: N803
        await Session.execute("SELECT 1")

    async with ground.async_engine() as engine:
        registry = async_scoped_session(async_sessionmaker(bind=engine))
        async with asyncio.timeout(2 * PATIENCE):
            await asyncio.gather(*(work(registry) for _ in range(100)))
        given_back = await eventually(lambda: lent(engine) == 0)
        connections = ground.connections()

    assert given_back
    # SQLAlchemy's default pool: 5, and 10 that it does not keep
    assert connections <= 15


def test_the_task_that_a_loop_was_run_for_has_its_session_closed_too(ground: Ground) -> None:
    engine = create_async_engine(ground.async_url)
    Session = async_scoped_session(async_sessionmaker(bind=engine))  # noqa: N806

    async def use() -> None:
        await Session.execute("SELECT 1")

    async def look() -> bool:
        given_back = await eventually(lambda: lent(engine) == 0)
        await engine.dispose()
        return given_back

    with asyncio.Runner() as runner:
        runner.run(use())
        given_back = runner.run(look())

    assert given_back


# The sync registry under asyncio: short statements on the loop's thread


async def test_the_sync_registry_tells_tasks_apart_too(engine: Engine) -> None:
    Session = scoped_session(sessionmaker(bind=engine))  # noqa: N806
    ready = asyncio.Barrier(3)

    async def work() -> tuple[Any, str]:
        session = Session()
        await ready.wait()
        assert Session() is session
        return session, repr(session)

    results = await asyncio.gather(*(work() for _ in range(3)))

    assert len({id(session) for session, _ in results}) == 3
    assert len({printed for _, printed in results}) == 3


async def test_a_sync_session_is_closed_when_its_task_is_done(engine: Engine) -> None:
    Session = scoped_session(sessionmaker(bind=engine))  # noqa: N806

    async def work() -> Any:
        Session.execute("SELECT 1")
        return Session()

    kept = await asyncio.create_task(work())
    await asyncio.sleep(0)

    assert lent(engine) == 0
    assert "idle" in repr(kept)
