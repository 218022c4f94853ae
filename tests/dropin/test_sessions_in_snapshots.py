"""Sessions outside any scope that are in a transaction appear in every Database's snapshot."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, orm, text

from hermetic import (
    AsyncSession,
    Database,
    Session,
    SessionInfo,
    async_scoped_session,
    async_sessionmaker,
    scoped_session,
    sessionmaker,
)
from tests.dropin.ground import Ground
from tests.dropin.threads import in_thread
from tests.models import User


@pytest.fixture
def watch(ground: Ground) -> Iterator[Database]:
    """A Database whose snapshots are looked at; it does nothing else."""
    # sessions that others forgot must not be counted here
    gc.collect()
    db = ground.database()
    assert db.snapshot().sessions == ()
    yield db
    assert db.snapshot().sessions == ()


def only(db: Database) -> SessionInfo:
    (info,) = db.snapshot().sessions
    return info


def test_a_session_is_listed_while_it_is_in_a_transaction(engine: Engine, watch: Database) -> None:
    session = Session(engine)
    new = watch.snapshot().sessions
    session.execute("SELECT 1")
    first = only(watch)
    session.commit()
    idle = watch.snapshot().sessions
    session.execute("SELECT 1")
    second = only(watch)
    session.close()

    assert new == idle == ()
    assert first.state == second.state == "in transaction"
    assert first.session.startswith("<Session ")
    assert 0 <= second.age <= first.age + 60


@pytest.mark.parametrize("begin", ["begin", "execute", "add", "query", "connection", "get"])
def test_the_line_is_the_one_that_began_the_transaction(
    engine: Engine, watch: Database, begin: str
) -> None:
    def begin_here(session: Any) -> None:
        if begin == "begin":
            session.begin()
        elif begin == "execute":
            session.execute("SELECT 1")
        elif begin == "add":
            session.add(User(username="ann"))
        elif begin == "query":
            session.query(User).all()
        elif begin == "connection":
            session.connection()
        else:
            session.get(User, 1)

    session = sessionmaker(engine)()
    begin_here(session)
    info = only(watch)
    session.close()

    assert info.opened_at.startswith(__file__)
    assert info.opened_at.endswith("in begin_here")


def test_the_owner_is_the_thread_that_began_it(engine: Engine, watch: Database) -> None:
    session = sessionmaker(engine)()

    in_thread(lambda: session.execute("SELECT 1"), name="the beginner")
    info = only(watch)
    session.close()

    assert info.owner == "thread 'the beginner'"


def test_sessions_of_every_factory_are_listed(engine: Engine, watch: Database) -> None:
    registry = scoped_session(sessionmaker(engine))
    sessions = [Session(engine), sessionmaker(engine)(), registry()]
    for session in sessions:
        session.execute("SELECT 1")

    listed = watch.snapshot().sessions

    assert sorted(info.session for info in listed) == sorted(map(repr, sessions))
    for session in sessions:
        session.close()
    registry.remove()


def test_a_session_on_somebody_elses_connection_is_listed(engine: Engine, watch: Database) -> None:
    with engine.connect() as connection, Session(bind=connection) as session:
        session.execute("SELECT 1")

        assert only(watch).session == repr(session)


def test_the_sessions_of_scopes_are_listed_as_scopes(watch: Database) -> None:
    with watch.session() as session:
        session.execute("SELECT 1")
        snapshot = watch.snapshot()

    assert snapshot.sessions == ()
    assert len(snapshot.scopes) == 1


def test_sessions_of_sqlalchemys_own_class_are_nobodys_business(
    engine: Engine, watch: Database
) -> None:
    with orm.Session(engine) as session:
        session.execute(text("SELECT 1"))

        assert watch.snapshot().sessions == ()


def test_no_password_is_listed(ground: Ground, engine: Engine, watch: Database) -> None:
    with Session(engine) as session:
        session.execute("SELECT 1")

        assert "p%40ss" not in repr(watch.snapshot())


def test_a_session_that_was_lost_is_not_kept_alive(engine: Engine, watch: Database) -> None:
    Session(engine).execute("SELECT 1").close()

    gc.collect()

    assert watch.snapshot().sessions == ()


# asyncio


@pytest.mark.parametrize("begin", ["begin", "execute", "add", "stream", "get"])
async def test_the_line_of_an_async_session_is_the_tasks(ground: Ground, begin: str) -> None:
    watch = Database(ground.bare_url)

    async def begin_here(session: Any) -> None:
        if begin == "begin":
            await session.begin()
        elif begin == "execute":
            await session.execute("SELECT 1")
        elif begin == "add":
            session.add(User(username="ann"))
        elif begin == "stream":
            await (await session.stream("SELECT 1")).close()
        else:
            await session.get(User, 1)

    async with ground.async_engine() as engine, async_sessionmaker(engine)() as session:
        await begin_here(session)
        info = only(watch)

    assert watch.snapshot().sessions == ()
    assert info.opened_at.startswith(__file__)
    assert info.opened_at.endswith("in begin_here")
    watch.close()


async def test_the_owner_of_an_async_session_is_its_task(ground: Ground) -> None:
    watch = Database(ground.bare_url)

    async def work(registry: Any) -> SessionInfo:
        await registry.execute("SELECT 1")
        info = only(watch)
        await registry.remove()
        return info

    async with ground.async_engine() as engine:
        registry = async_scoped_session(async_sessionmaker(engine))
        info = await asyncio.create_task(work(registry), name="the beginner")

    assert info.owner == "task 'the beginner' of thread 'MainThread'"
    assert watch.snapshot().sessions == ()
    watch.close()


async def test_an_async_session_is_listed_once(ground: Ground) -> None:
    watch = Database(ground.bare_url)

    async with ground.async_engine() as engine, AsyncSession(engine) as session:
        await session.execute("SELECT 1")
        info, printed = only(watch), repr(session)

    assert printed.endswith(info.session.removeprefix("<"))
    watch.close()
