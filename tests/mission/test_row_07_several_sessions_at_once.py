"""Row 7: several sessions at once, independent of each other, with raw SQL strings."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from typing import Any

from sqlalchemy import Engine

from hermetic import Database, async_sessionmaker, sessionmaker
from tests.dropin.ground import Ground
from tests.dropin.threads import PATIENCE, together, wait_for
from tests.mission.children import add_user, count_when_asked

COUNT = "SELECT count(*) FROM users"
INSERT = "INSERT INTO users (username, balance) VALUES (:username, 0)"

# A child must not inherit connections, locks or threads.
spawn = multiprocessing.get_context("spawn")


def test_several_sessions_are_several_transactions(ground: Ground, engine: Engine) -> None:
    Session = sessionmaker(bind=engine)  # noqa: N806 - as the articles write it
    session1, session2, session3 = Session(), Session(), Session()

    answers = [
        session.execute(f"SELECT {number}").scalar()
        for number, session in enumerate((session1, session2, session3), 1)
    ]

    assert answers == [1, 2, 3]
    assert ground.connections() == 3
    for session in (session1, session2, session3):
        session.close()


def test_a_change_is_unseen_by_others_until_it_is_committed(engine: Engine) -> None:
    Session = sessionmaker(bind=engine)  # noqa: N806
    session1, session2 = Session(), Session()

    session1.execute(INSERT, {"username": "ann"})
    own = session1.execute(COUNT).scalar()
    before = session2.execute(COUNT).scalar()
    session2.rollback()
    session1.commit()
    after = session2.execute(COUNT).scalar()

    assert (own, before, after) == (1, 0, 1)
    session1.close()
    session2.close()


def test_a_change_that_was_rolled_back_is_never_seen(engine: Engine) -> None:
    Session = sessionmaker(bind=engine)  # noqa: N806
    session1, session2 = Session(), Session()

    session1.execute(INSERT, {"username": "ann"})
    session1.rollback()
    session2.execute(INSERT, {"username": "bob"})
    session2.commit()

    assert [row.username for row in session1.execute("SELECT username FROM users")] == ["bob"]
    session1.close()
    session2.close()


def test_each_session_ends_for_itself(ground: Ground, engine: Engine) -> None:
    Session = sessionmaker(bind=engine)  # noqa: N806
    sessions = [Session() for _ in range(3)]

    for number, session in enumerate(sessions):
        session.execute(INSERT, {"username": f"user {number}"})
        if number == 1:
            session.rollback()
        else:
            session.commit()
        session.close()

    assert ground.usernames() == ["user 0", "user 2"]


# Threads


def test_threads_see_each_others_changes_only_when_committed(engine: Engine) -> None:
    Session = sessionmaker(bind=engine)  # noqa: N806
    written, looked, committed = threading.Event(), threading.Event(), threading.Event()

    def write() -> None:
        with Session() as session:
            session.execute(INSERT, {"username": "ann"})
            written.set()
            wait_for(looked)
            session.commit()
            committed.set()

    def look() -> tuple[Any, Any]:
        with Session() as session:
            wait_for(written)
            before = session.execute(COUNT).scalar()
            session.rollback()
            looked.set()
            wait_for(committed)
            return before, session.execute(COUNT).scalar()

    _, seen = together(write, look)

    assert seen == (0, 1)


def test_many_threads_write_at_once(ground: Ground, db: Database) -> None:
    ready = threading.Barrier(8, timeout=PATIENCE)

    def write() -> None:
        with db.session() as session:
            ready.wait()
            session.execute(INSERT, {"username": threading.current_thread().name})

    together(*[write] * 8)

    assert ground.usernames() == [f"party-{number}" for number in range(8)]


# Tasks


async def test_tasks_see_each_others_changes_only_when_committed(ground: Ground) -> None:
    written, looked, committed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def write(Session: Any) -> None:  # noqa: N803
        async with Session() as session:
            await session.execute(INSERT, {"username": "ann"})
            written.set()
            await looked.wait()
            await session.commit()
            committed.set()

    async def look(Session: Any) -> tuple[int, int]:  # noqa: N803
        async with Session() as session:
            await written.wait()
            before = await session.scalar(COUNT)
            await session.rollback()
            looked.set()
            await committed.wait()
            return before, await session.scalar(COUNT)

    async with ground.async_engine() as engine, asyncio.timeout(PATIENCE):
        factory = async_sessionmaker(bind=engine)
        _, seen = await asyncio.gather(write(factory), look(factory))

    assert seen == (0, 1)


async def test_many_tasks_write_at_once(ground: Ground) -> None:
    db = Database(ground.bare_url)
    ready = asyncio.Barrier(8)

    async def write(username: str) -> None:
        async with db.session() as session:
            await ready.wait()
            await session.execute(INSERT, {"username": username})

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(write(f"user {number}") for number in range(8)))
    await db.aclose()

    assert ground.usernames() == [f"user {number}" for number in range(8)]


async def test_threads_and_tasks_work_on_one_database_at_once(ground: Ground) -> None:
    db = Database(ground.bare_url)

    def in_a_thread(username: str) -> None:
        with db.session() as session:
            session.execute(INSERT, {"username": username})

    async def in_a_task(username: str) -> None:
        async with db.session() as session:
            await session.execute(INSERT, {"username": username})

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(
            *(asyncio.to_thread(in_a_thread, f"thread {number}") for number in range(4)),
            *(in_a_task(f"task {number}") for number in range(4)),
        )
    await db.aclose()

    assert len(ground.usernames()) == 8


# Processes


def test_processes_see_each_others_changes_only_when_committed(
    ground: Ground, engine: Engine
) -> None:
    session = sessionmaker(bind=engine)()
    here, there = spawn.Pipe()
    child = spawn.Process(target=count_when_asked, args=(ground.url, there), daemon=True)
    child.start()

    def asked() -> int:
        here.send(True)
        assert here.poll(PATIENCE), "the child does not answer"
        answer: int = here.recv()
        return answer

    session.execute(INSERT, {"username": "ann"})
    before = asked()
    session.commit()
    after = asked()
    here.send(False)
    child.join(PATIENCE)
    session.close()

    assert (before, after) == (0, 1)
    assert child.exitcode == 0


def test_processes_write_at_once(ground: Ground) -> None:
    children = [
        spawn.Process(target=add_user, args=(ground.bare_url, f"user {number}"), daemon=True)
        for number in range(2)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(PATIENCE)

    assert [child.exitcode for child in children] == [0, 0]
    assert ground.usernames() == ["user 0", "user 1"]
