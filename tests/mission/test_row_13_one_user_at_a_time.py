"""Row 13: a session is for one thread at a time: other use is refused, with both parties named."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event, select

from hermetic import (
    AsyncSession,
    ConcurrentUse,
    Database,
    ForeignOwner,
    Session,
    sessionmaker,
)
from tests.dropin.ground import Ground
from tests.dropin.threads import PATIENCE, in_thread, wait_for
from tests.models import User

# What a stranger may try on a session


def add(session: Any) -> None:
    session.add(User(username="bob"))


def execute(session: Any) -> None:
    session.execute("SELECT 1")


def scalar(session: Any) -> None:
    session.scalar("SELECT 1")


def query(session: Any) -> None:
    session.query(User).all()


def get(session: Any) -> None:
    session.get(User, 1)


def flush(session: Any) -> None:
    session.add(User(username="cid"))
    session.flush()


def begin_nested(session: Any) -> None:
    session.begin_nested()


def connection(session: Any) -> None:
    session.connection()


def expire_all(session: Any) -> None:
    session.expire_all()


def commit(session: Any) -> None:
    session.commit()


def rollback(session: Any) -> None:
    session.rollback()


def close(session: Any) -> None:
    session.close()


def merge(session: Any) -> None:
    session.merge(User(id=1, username="dan"))


Use = Callable[[Any], None]

SENDING: list[Use] = [execute, scalar, query, flush, begin_nested, merge]
ENDING: list[Use] = [commit, rollback, close]
CHANGING: list[Use] = [add, get, connection, expire_all]


# The scopes of a Database


@pytest.mark.parametrize("use", [*SENDING, *CHANGING], ids=lambda use: use.__name__)
def test_the_session_of_a_scope_refuses_another_thread(db: Database, use: Use) -> None:
    with db.session() as session:
        session.execute("SELECT 1")
        with pytest.raises(ForeignOwner) as raised:
            in_thread(lambda: use(session), name="the stranger")

    assert "'MainThread'" in raised.value.owner
    assert "'the stranger'" in raised.value.user
    assert "'MainThread'" in str(raised.value)
    assert "'the stranger'" in str(raised.value)


def test_the_owner_of_a_scope_is_not_disturbed_by_a_stranger(ground: Ground, db: Database) -> None:
    with db.session() as session:
        session.add(User(username="ann"))
        for use in (execute, flush, add):
            with pytest.raises(ForeignOwner):
                in_thread(lambda use=use: use(session))  # type: ignore[misc]

    assert ground.usernames() == ["ann"]


def test_the_current_session_is_not_another_threads(db: Database) -> None:
    with db.session() as session:
        mine = db.current

        def theirs() -> Any:
            with db.session(readonly=True):
                return db.current

        others = in_thread(theirs)

    assert mine is session
    assert others is not mine


async def test_the_session_of_a_scope_refuses_another_task(ground: Ground) -> None:
    db = Database(ground.bare_url)

    async def work(session: AsyncSession) -> None:
        await session.execute("SELECT 1")

    async with db.session() as session:
        task = asyncio.current_task()
        assert task is not None
        task.set_name("the owner")
        with pytest.raises(ForeignOwner) as raised:
            await asyncio.create_task(work(session), name="the stranger")
    await db.aclose()

    assert "'the owner'" in raised.value.owner
    assert "'the stranger'" in raised.value.user


async def test_a_gathered_task_does_not_inherit_the_current_session(ground: Ground) -> None:
    db = Database(ground.bare_url)

    async def work() -> None:
        await db.current.execute("SELECT 1")

    async with db.session():
        with pytest.raises(ForeignOwner):
            await asyncio.gather(work())
    await db.aclose()


def test_a_session_can_be_handed_over_by_name(ground: Ground, db: Database) -> None:
    with db.session() as session:
        loan = session.lend()

        def borrow() -> None:
            with loan as lent:
                lent.add(User(username="ann"))

        in_thread(borrow)

    assert ground.usernames() == ["ann"]


# The sessions of a factory


@contextmanager
def at_work(engine: Engine, work: Callable[[], Any], name: str = "the first") -> Iterator[None]:
    """A thread does something with a session, and stands in the middle of its statement."""
    inside, let_go = threading.Event(), threading.Event()
    errors: list[BaseException] = []

    def hold(*unused: Any) -> None:
        if threading.current_thread().name == name:
            inside.set()
            wait_for(let_go)

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    event.listen(engine, "before_cursor_execute", hold)
    worker = threading.Thread(target=run, name=name, daemon=True)
    worker.start()
    try:
        wait_for(inside)
        yield
    finally:
        let_go.set()
        worker.join(PATIENCE)
    assert errors == []


@pytest.mark.parametrize("use", [*SENDING, *ENDING, *CHANGING], ids=lambda use: use.__name__)
def test_a_session_at_work_refuses_a_second_thread(engine: Engine, use: Use) -> None:
    session = sessionmaker(bind=engine)()
    session.execute("SELECT 1")

    with (
        at_work(engine, lambda: session.execute("SELECT 2")),
        pytest.raises(ConcurrentUse) as raised,
    ):
        in_thread(lambda: use(session), name="the second")

    assert "'the first'" in raised.value.owner
    assert "'the second'" in raised.value.user
    assert "'the first'" in str(raised.value)
    assert "'the second'" in str(raised.value)
    session.close()


def test_the_first_thread_is_not_disturbed(ground: Ground, engine: Engine) -> None:
    session = sessionmaker(bind=engine)()
    results: list[Any] = []

    def work() -> None:
        session.add(User(username="ann"))
        session.flush()
        results.append(session.execute("SELECT username FROM users").scalars().all())
        session.commit()

    with at_work(engine, work):
        for use in (execute, commit, rollback, close):
            with pytest.raises(ConcurrentUse):
                in_thread(lambda use=use: use(session))  # type: ignore[misc]

    assert results == [["ann"]]
    assert ground.usernames() == ["ann"]
    session.close()


def test_a_session_may_go_from_thread_to_thread_one_after_another(
    ground: Ground, engine: Engine
) -> None:
    session = sessionmaker(bind=engine)()

    in_thread(lambda: session.add(User(username="ann")))
    in_thread(session.flush)
    in_thread(session.commit)
    in_thread(session.close)

    assert ground.usernames() == ["ann"]


def test_a_lazy_load_is_use_like_any_other(engine: Engine) -> None:
    with Session(engine) as session:
        session.add(User(username="ann"))
        session.commit()
        user = session.scalars(select(User)).one()
        with (
            at_work(engine, lambda: session.scalar("SELECT 2")),
            pytest.raises(ConcurrentUse),
        ):
            in_thread(lambda: user.orders)


async def test_a_session_at_work_refuses_a_second_task(ground: Ground) -> None:
    async def work(session: AsyncSession) -> None:
        await session.execute("SELECT 1")

    async with ground.async_engine() as engine, AsyncSession(engine) as session:
        await session.execute("SELECT 1")
        tasks = [
            asyncio.create_task(work(session), name=name) for name in ("the first", "the second")
        ]
        results = await asyncio.gather(*tasks, return_exceptions=True)

    refused = [result for result in results if result is not None]
    assert len(refused) == 1
    (error,) = refused
    assert isinstance(error, ConcurrentUse)
    assert {error.owner.partition(" of ")[0], error.user.partition(" of ")[0]} == {
        "task 'the first'",
        "task 'the second'",
    }
