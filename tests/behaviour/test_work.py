"""A unit of work whose beginning and end are two calls."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from hermetic import (
    ConcurrentUse,
    Database,
    DeadlineExceeded,
    ForeignOwner,
    Outcome,
    RetryRequested,
    ScopeControls,
    ScopeEnded,
    ScopeRefused,
    UniqueViolation,
)
from tests.behaviour.aftermath import lent, on, on_sqlite
from tests.models import User
from tests.worlds import World

on_threads = on(lambda backend: not backend.is_async)
on_asyncio = on(lambda backend: backend.name in ("aiosqlite", "asyncpg"))


def _written(world: World) -> list[str]:
    return world.usernames()


@on_threads
def test_it_ends_by_its_own_call(world: World) -> None:
    db = world.db
    work = db.work(name="by hand")
    assert not work.opened
    work.end()  # nothing was opened
    session = work.session()
    assert work.session() is session is db.current
    session.add(User(username="ann"))
    work.end()
    assert work.outcome is Outcome.COMMITTED
    assert _written(world) == ["ann"]
    work.end()  # it ends once
    with pytest.raises(ScopeEnded):
        session.scalar("SELECT 1")
    assert lent(db) == []


@on_threads
def test_an_error_rolls_it_back_and_is_not_raised(world: World) -> None:
    work = world.db.work()
    work.session().add(User(username="ann"))
    work.session().flush()
    work.end(ValueError())
    assert work.outcome is Outcome.NOT_COMMITTED
    work = world.db.work()
    work.session().add(User(username="bob"))
    work.rollback_only()
    work.end()
    assert _written(world) == []


@on_threads
def test_a_commit_that_fails_is_raised(world: World) -> None:
    world.do("INSERT INTO users (username, balance) VALUES ('ann', 0)")
    work = world.db.work()
    work.session().add(User(username="ann"))
    with pytest.raises(UniqueViolation):
        work.end()
    assert work.outcome is Outcome.NOT_COMMITTED
    assert lent(world.db) == []


@on_asyncio
async def test_it_is_one_of_asyncio_where_that_is_asked_for(world: World) -> None:
    db = world.db
    work = db.work()
    session = await work.asession()
    session.add(User(username="ann"))
    assert await work.asession(readonly=None) is session is db.current
    with pytest.raises(ScopeRefused, match="has one of asyncio"):
        work.session()
    with pytest.raises(ScopeControls):
        work.end()
    await work.aend()
    assert _written(world) == ["ann"]
    assert lent(db) == []


@on_threads
def test_threads_with_its_context_have_it_in_turn(world: World) -> None:
    async def main() -> None:
        work = world.db.work()
        session = work.session()
        for name in ("ann", "bob"):
            await asyncio.to_thread(session.add, User(username=name))
        # a text flushes nothing on SQLAlchemy 2.0
        await asyncio.to_thread(session.flush)
        assert await asyncio.to_thread(session.scalar, "SELECT count(*) FROM users") == 2
        # the loop itself would be blocked by it
        with pytest.raises(ForeignOwner):
            session.scalar("SELECT 1")
        # a thread that nobody has given the context to
        with pytest.raises(ForeignOwner):
            await asyncio.get_running_loop().run_in_executor(None, session.scalar, "SELECT 1")
        # one that joins it
        await asyncio.to_thread(_join, world.db)
        await work.aend()
        assert work.outcome is Outcome.COMMITTED

    asyncio.run(main())
    assert _written(world) == ["ann", "bob", "cyd"]
    assert lent(world.db) == []


def _join(db: Database) -> None:
    with db.session() as session:
        session.add(User(username="cyd"))


@on_sqlite
async def test_its_end_waits_for_the_thread_that_is_inside(world: World) -> None:
    db = world.database(cleanup_timeout=5.0)
    inside, go_on = threading.Event(), threading.Event()

    def given() -> Any:
        inside.set()
        assert go_on.wait(10)
        yield User(username="ann")

    if not world.is_async:
        work = db.work()
        session = work.session()
        session.add_all(given_at_once := [User(username="ann")])
        assert given_at_once
        work.end(ValueError())
    else:
        work = db.work()
        session = work.session()
        adding = asyncio.create_task(asyncio.to_thread(session.add_all, given()))
        assert await asyncio.to_thread(inside.wait, 10)
        with pytest.raises(ConcurrentUse):
            await asyncio.to_thread(session.scalar, "SELECT 1")
        ending = asyncio.create_task(work.aend(ValueError()))
        done, _ = await asyncio.wait((ending,), timeout=0.05)
        assert not done
        go_on.set()
        await ending
        await adding
    assert work.outcome is Outcome.NOT_COMMITTED
    assert lent(db) == []


@on_threads
def test_a_demand_that_is_not_met_is_refused(world: World) -> None:
    work = world.db.work(readonly=True)
    work.session()
    work.session(readonly=True)
    with pytest.raises(ScopeRefused):
        work.session(readonly=False)
    work.end()


@on_threads
def test_it_is_run_again_by_its_policy(world: World) -> None:
    work = world.db.work(retry=3)
    pauses = []
    for _ in range(4):
        work.session().add(User(username="ann"))
        asked = RetryRequested()
        work.end(asked)
        pauses.append(work.again(asked))
    assert [pause is None for pause in pauses] == [False, False, True, True]
    # what is committed is not
    work = world.db.work(retry=3)
    work.session().add(User(username="ann"))
    work.end()
    assert work.again(RetryRequested()) is None
    assert _written(world) == ["ann"]


@on_threads
def test_its_time_may_be_given_as_a_moment(world: World) -> None:
    work = world.db.work(until=time.monotonic() - 1, timeout=60)
    with pytest.raises(DeadlineExceeded):
        work.session().scalar("SELECT 1")
    work.end(ValueError())
    assert lent(world.db) == []


@on_threads
def test_the_function_whose_work_it_is_is_named(world: World) -> None:
    work = world.db.work(of=_join)
    work.session()
    assert work.scope is not None
    assert "test_work.py" in str(work.scope.place)
    assert work.scope.name == "_join"
    work.end()


# ---------------------------------------------------------------- hooks that ask for its session


@on_threads
def test_hooks_before_its_commit_have_its_session(world: World) -> None:
    db = world.db
    work = db.work()
    session = work.session()
    session.add(User(username="ann"))

    @session.before_commit
    def audit() -> None:
        assert work.session() is session
        work.session().add(User(username="audit"))

    work.end()
    assert work.outcome is Outcome.COMMITTED
    assert not work.opened
    assert db.snapshot().scopes == ()
    with db.session() as after:
        assert after is not session
    assert _written(world) == ["ann", "audit"]


@on_threads
def test_hooks_after_its_end_have_no_session_of_it(world: World) -> None:
    work = world.db.work()
    session = work.session()
    session.add(User(username="ann"))
    session.on_commit(work.end)  # it ends already
    session.on_commit(work.session)
    work.end()
    assert session.scope is not None
    (error,) = session.scope.hook_errors
    assert isinstance(error, ScopeEnded)
    assert not work.opened
    assert lent(world.db) == []
    # afterwards it may be begun anew
    assert work.session() is not session
    work.end()


@on_threads
def test_an_attempt_whose_hooks_asked_for_its_session_is_followed_by_another(world: World) -> None:
    work = world.db.work(retry=2)
    sessions = []

    def fail() -> None:
        sessions.append(work.session())
        if len(sessions) == 1:
            raise RetryRequested

    with pytest.raises(RetryRequested) as caught:
        work.session().before_commit(fail)
        work.end()
    assert work.again(caught.value) is not None
    work.session().add(User(username="ann"))
    work.session().before_commit(fail)
    work.end()
    assert work.outcome is Outcome.COMMITTED
    assert sessions[0] is not sessions[1]
    assert _written(world) == ["ann"]


@on_asyncio
async def test_hooks_of_asyncio_have_its_session_while_it_ends(world: World) -> None:
    work = world.db.work()
    session = await work.asession()
    session.add(User(username="ann"))
    asked: list[Any] = []

    @session.before_commit
    async def audit() -> None:
        asked.append(await work.asession())
        asked[0].add(User(username="audit"))

    session.on_commit(work.asession)
    await work.aend()
    assert asked == [session]
    assert session.scope is not None
    assert [type(error) for error in session.scope.hook_errors] == [ScopeEnded]
    assert not work.opened
    assert world.usernames() == ["ann", "audit"]
    assert lent(world.db) == []
