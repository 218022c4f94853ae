"""Plain sessions, outside any scope, used by two at once: refused, with both parties named."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from hermetic import ConcurrentUse, async_sessionmaker, sessionmaker
from tests.behaviour.aftermath import on_servers_in_asyncio
from tests.behaviour.watching import on_threads
from tests.models import User
from tests.worlds import PATIENCE, World


class Held:
    """A statement kept inside the driver until it is let go."""

    def __init__(self, engine: Engine) -> None:
        self.inside = threading.Event()
        self.go = threading.Event()
        self.holding = True
        event.listen(engine, "before_cursor_execute", self._hold)

    def _hold(self, *unused: Any) -> None:
        if self.holding:
            self.holding = False
            self.inside.set()
            assert self.go.wait(PATIENCE)


def in_a_thread(work: Callable[[], Any], name: str) -> tuple[threading.Thread, list[Any]]:
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread, results


@pytest.fixture
def plain_engine(world: World) -> Any:
    url = make_url(world.url)
    options = {"connect_args": {"check_same_thread": False}} if "sqlite" in world.url else {}
    engine = create_engine(url, **options)
    yield engine
    engine.dispose()


USES: dict[str, Callable[[Any], Any]] = {
    "execute": lambda s: s.execute("SELECT 2"),
    "scalars": lambda s: s.scalars("SELECT 2"),
    "get": lambda s: s.get(User, 71),
    "query": lambda s: s.query(User).all(),
    "flush": lambda s: s.flush(),
    "commit": lambda s: s.commit(),
    "rollback": lambda s: s.rollback(),
    "close": lambda s: s.close(),
    "add": lambda s: s.add(User(username="bob")),
    "merge": lambda s: s.merge(User(id=71, username="bob")),
    "connection": lambda s: s.connection(),
    "begin_nested": lambda s: s.begin_nested(),
}


@on_threads
@pytest.mark.parametrize("use", USES)
def test_a_session_at_work_in_one_thread_is_refused_to_another(
    world: World, plain_engine: Engine, use: str
) -> None:
    factory = sessionmaker(plain_engine)
    session = factory()
    session.execute("SELECT 1")
    held = Held(plain_engine)

    first, first_result = in_a_thread(lambda: session.scalar("SELECT 41 + 1"), "first")
    assert held.inside.wait(PATIENCE)
    second, second_result = in_a_thread(lambda: USES[use](session), "second")
    second.join(PATIENCE)
    held.go.set()
    first.join(PATIENCE)
    session.close()

    (error,) = second_result
    assert isinstance(error, ConcurrentUse), repr(error)
    assert "'first'" in error.owner
    assert "'second'" in error.user
    assert error.owner in str(error)
    assert error.user in str(error)
    assert first_result == [42]


@on_threads
def test_a_session_handed_from_thread_to_thread_in_turns_is_nobodys_business(
    world: World, plain_engine: Engine
) -> None:
    def add(session: Any, name: str) -> None:
        session.add(User(username=name))
        session.flush()

    with sessionmaker(plain_engine)() as session:
        for number in range(4):
            work = partial(add, session, f"user{number}")
            thread, results = in_a_thread(work, f"turn {number}")
            thread.join(PATIENCE)
            assert results == [None]
        session.commit()

    assert len(world.usernames()) == 4


@on_threads
def test_a_refused_use_does_the_session_no_harm(world: World, plain_engine: Engine) -> None:
    with sessionmaker(plain_engine)() as session:
        session.add(User(username="ann"))
        session.flush()
        held = Held(plain_engine)
        first, first_result = in_a_thread(lambda: session.scalar("SELECT 1"), "first")
        assert held.inside.wait(PATIENCE)
        with pytest.raises(ConcurrentUse):
            session.execute("SELECT 2")
        held.go.set()
        first.join(PATIENCE)

        after = session.scalar("SELECT count(*) FROM users")
        session.commit()

    assert first_result == [1]
    assert after == 1
    assert world.usernames() == ["ann"]


@on_threads
def test_a_session_is_free_again_after_an_error(world: World, plain_engine: Engine) -> None:
    with sessionmaker(plain_engine)() as session:
        with pytest.raises(Exception, match="no_such"):
            session.execute("SELECT no_such FROM users")
        session.rollback()
        thread, results = in_a_thread(lambda: session.scalar("SELECT 7"), "other")
        thread.join(PATIENCE)

    assert results == [7]


@on_threads
def test_an_autoflush_inside_a_query_is_the_same_user(world: World, plain_engine: Engine) -> None:
    with sessionmaker(plain_engine)() as session:
        session.add(User(username="ann"))
        names = [user.username for user in session.query(User)]
        session.commit()

    assert names == ["ann"]


@on_servers_in_asyncio
async def test_a_session_at_work_in_one_task_is_refused_to_another(world: World) -> None:
    engine: AsyncEngine = create_async_engine(world.url)
    slow = {"postgresql": "SELECT pg_sleep(0.3)", "mariadb": "SELECT SLEEP(0.3)"}

    async with async_sessionmaker(engine)() as session:
        await session.execute("SELECT 1")
        first = asyncio.create_task(session.execute(slow[world.backend.family]), name="first")
        await asyncio.sleep(0)
        second = asyncio.create_task(session.execute("SELECT 2"), name="second")
        results = await asyncio.gather(first, second, return_exceptions=True)
        after = await session.scalar("SELECT 3")
    await engine.dispose()

    error = results[1]
    assert isinstance(error, ConcurrentUse)
    assert "'first'" in error.owner
    assert "'second'" in error.user
    assert not isinstance(results[0], BaseException)
    assert after == 3
