"""A plain SQL string goes wherever a statement goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import ArgumentError, StatementError

from hermetic import (
    AsyncSession,
    Database,
    Session,
    async_scoped_session,
    async_sessionmaker,
    scoped_session,
    sessionmaker,
)
from hermetic.release import IS_2_0
from tests.dropin.ground import Ground
from tests.models import User

INSERT = "INSERT INTO users (username, balance) VALUES (:username, :balance)"
PEOPLE = [{"username": "ann", "balance": 1}, {"username": "bob", "balance": 2}]
NAMES = "SELECT username FROM users WHERE balance >= :least ORDER BY id"


@pytest.fixture(params=["Session", "sessionmaker", "scoped_session"])
def session(request: pytest.FixtureRequest, engine: Engine) -> Iterator[Any]:
    registry = scoped_session(sessionmaker(engine))
    made: Any = registry
    if request.param == "Session":
        made = Session(engine)
    elif request.param == "sessionmaker":
        made = sessionmaker(engine)()
    made.execute(INSERT, PEOPLE)
    yield made
    made.close()
    registry.remove()


def test_execute_scalar_and_scalars_take_strings(session: Any) -> None:
    assert [row.username for row in session.execute(NAMES, {"least": 2})] == ["bob"]
    assert session.scalar(NAMES, {"least": 1}) == "ann"
    assert session.scalars(NAMES, {"least": 1}).all() == ["ann", "bob"]


def test_parameters_are_named_params_too(session: Any) -> None:
    assert session.execute(NAMES, params={"least": 2}).scalar() == "bob"


def test_options_travel_with_a_string(session: Any) -> None:
    result = session.execute(NAMES, {"least": 1}, execution_options={"note": "here"})

    assert result.context.execution_options["note"] == "here"
    assert result.scalars().all() == ["ann", "bob"]


def test_a_subclass_of_str_is_a_string(session: Any) -> None:
    class Sql(str):
        __slots__ = ()

    assert session.scalar(Sql("SELECT 1")) == 1


def test_what_is_no_statement_is_refused_as_ever(session: Any) -> None:
    for wrong in (7, None, b"SELECT 1", ["SELECT 1"]):
        with pytest.raises(ArgumentError):
            session.execute(wrong)


def test_positional_parameters_are_refused_as_ever(session: Any) -> None:
    with pytest.raises((ArgumentError, StatementError)):
        session.execute("SELECT * FROM users WHERE username = :username", ("ann",))


def test_a_string_does_what_text_does(session: Any) -> None:
    for sql in ("SELECT count(*) FROM users", "SELECT 'a\\:b'", "SELECT 5 % 3"):
        assert session.scalar(sql) == session.scalar(text(sql))


def test_a_string_flushes_what_is_pending_as_text_does(session: Any) -> None:
    counts = []
    for username, statement in (
        ("cid", text("SELECT count(*) FROM users")),
        ("dan", "SELECT count(*) FROM users"),
    ):
        session.add(User(username=username))
        counts.append(session.scalar(statement))

    # SQLAlchemy 2.0 flushes nothing for a text, and so for no string
    assert counts == ([2, 2] if IS_2_0 else [3, 4])


def test_a_string_that_changes_rows_is_committed_with_the_rest(
    ground: Ground, engine: Engine
) -> None:
    with sessionmaker(engine).begin() as session:
        session.execute(INSERT, PEOPLE[0])
        session.add(User(username="cid"))
        session.execute("UPDATE users SET balance = 7")

    assert ground.seen("SELECT username, balance FROM users ORDER BY id") in (
        [("ann", 7), ("cid", 7)],
        [("ann", 7), ("cid", 0)],
    )


def test_objects_are_loaded_from_a_string(session: Any) -> None:
    statement = select(User).from_statement(text("SELECT * FROM users WHERE balance = :b"))

    assert session.scalars(statement, {"b": 2}).one().username == "bob"


def test_a_scope_takes_strings(db: Database) -> None:
    with db.session() as session:
        session.execute(INSERT, PEOPLE)
        names = session.scalars(NAMES, {"least": 1}).all()
        count = session.scalar("SELECT count(*) FROM users")

    assert (names, count) == (["ann", "bob"], 2)


@pytest.fixture
def db(ground: Ground) -> Database:
    return ground.database()


# asyncio


@pytest.mark.parametrize("kind", ["AsyncSession", "async_sessionmaker", "async_scoped_session"])
async def test_every_async_method_takes_strings(ground: Ground, kind: str) -> None:
    async with ground.async_engine() as engine:
        session: Any = async_scoped_session(async_sessionmaker(engine))
        if kind == "AsyncSession":
            session = AsyncSession(engine)
        elif kind == "async_sessionmaker":
            session = async_sessionmaker(engine)()
        await session.execute(INSERT, PEOPLE)
        executed = (await session.execute(NAMES, {"least": 1})).scalars().all()
        scalar = await session.scalar(NAMES, {"least": 2})
        scalars = (await session.scalars(NAMES, {"least": 1})).all()
        stream = await session.stream(NAMES, {"least": 1})
        streamed = [row.username async for row in stream]
        stream_scalars = await session.stream_scalars(NAMES, {"least": 1})
        streamed_scalars = [name async for name in stream_scalars]
        await session.close()

    assert executed == scalars == streamed == streamed_scalars == ["ann", "bob"]
    assert scalar == "bob"


async def test_run_sync_takes_strings(ground: Ground) -> None:
    def work(sync: Session) -> Any:
        return sync.execute("SELECT 42").scalar()

    async with ground.async_engine() as engine, AsyncSession(engine) as session:
        # run_sync is SQLAlchemy's, and so is the session in its types
        untyped: Any = session
        answer = await untyped.run_sync(work)

    assert answer == 42


async def test_a_scope_in_a_task_takes_strings(ground: Ground) -> None:
    db = Database(ground.bare_url)

    async with db.session() as session:
        await session.execute(INSERT, PEOPLE)
        streamed = [row[0] async for row in await session.stream(NAMES, {"least": 1})]
        count = await session.scalar("SELECT count(*) FROM users")
    await db.aclose()

    assert (streamed, count) == (["ann", "bob"], 2)
