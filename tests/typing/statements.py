"""What type checkers see of statements: strings are taken, selects keep their types. Never run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_type

from sqlalchemy import Engine, Row, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from hermetic import (
    AsyncSession,
    Database,
    Fault,
    FaultError,
    FaultKind,
    Session,
    async_scoped_session,
    async_sessionmaker,
    classify,
    frames,
    scoped_session,
    sessionmaker,
)
from tests.models import User

db = Database("sqlite://")


def a_plain_string_is_a_statement(session: Session) -> None:
    session.execute("DELETE FROM users")
    rows: Sequence[Row[*tuple[Any, ...]]] = session.execute("SELECT * FROM users").all()
    for row in session.execute("SELECT * FROM users WHERE id = :id", {"id": 1}):
        assert_type(row.username, Any)
    session.execute("INSERT INTO users (username) VALUES (:name)", [{"name": "a"}, {"name": "b"}])
    assert_type(session.scalar("SELECT 1"), Any)
    assert_type(session.scalars("SELECT 1").all(), Sequence[Any])
    assert_type(len(rows), int)


async def a_plain_string_is_a_statement_under_asyncio(session: AsyncSession) -> None:
    await session.execute("DELETE FROM users")
    result = await session.execute("SELECT * FROM users WHERE id = :id", {"id": 1})
    for row in result:
        assert_type(row.username, Any)
    assert_type(await session.scalar("SELECT 1"), Any)
    assert_type((await session.scalars("SELECT 1")).all(), Sequence[Any])
    async for number in await session.stream_scalars("SELECT 1"):
        assert_type(number, Any)
    await session.stream("SELECT 1")


def what_is_no_statement_is_rejected(session: Session) -> None:
    session.execute(5)  # type: ignore[call-overload]
    session.execute(b"SELECT 1")  # type: ignore[call-overload]
    session.scalar(None)  # type: ignore[call-overload]


def a_select_keeps_its_types(session: Session) -> None:
    assert_type(session.scalars(select(User)).all(), Sequence[User])
    assert_type(session.scalars(select(User.username)).first(), str | None)
    assert_type(session.get(User, 1), User | None)
    for name, balance in session.execute(select(User.username, User.balance)):
        assert_type(name, str)
        assert_type(balance, int)
    session.execute(text("SELECT 1"))
    session.execute(insert(User), [{"username": "ann"}])
    # as SQLAlchemy's own, seen by mypy; pyright knows better
    counted = session.scalar(select(func.count(User.id)))
    assert_type(counted, Any | None)  # pyright: ignore[reportAssertTypeFailure]


async def a_select_keeps_its_types_under_asyncio(session: AsyncSession) -> None:
    assert_type((await session.scalars(select(User))).all(), Sequence[User])
    assert_type(await session.get(User, 1), User | None)
    for name, balance in await session.execute(select(User.username, User.balance)):
        assert_type(name, str)
        assert_type(balance, int)


def factories_take_strings_too(engine: Engine) -> None:
    make = sessionmaker(bind=engine)
    with make() as session:
        session.execute("SELECT 1")
    with make.begin() as session:
        session.execute("SELECT 1")
    registry = scoped_session(make)
    registry.execute("SELECT 1")
    assert_type(registry.scalars(select(User)).all(), Sequence[User])
    registry.remove()


async def async_factories_take_strings_too(engine: AsyncEngine) -> None:
    make = async_sessionmaker(engine)
    async with make() as session:
        await session.execute("SELECT 1")
    registry = async_scoped_session(make)
    await registry.execute("SELECT 1")
    await registry.remove()


def a_frame_is_a_frame(session: Session) -> None:
    import pandas as pd

    assert_type(frames.read(session, "users"), pd.DataFrame)


async def an_async_frame_is_awaited(session: AsyncSession) -> None:
    import pandas as pd

    assert_type(await frames.read(session, select(User)), pd.DataFrame)


def faults_have_words(error: Exception) -> None:
    assert_type(classify(error), Fault | None)
    if isinstance(error, FaultError):
        assert_type(error.fault, Fault | None)
        assert_type(error.kind, FaultKind)
