"""What type checkers see of rows as plain objects, and of many rows at once. Never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator
from dataclasses import dataclass
from typing import Any, NamedTuple, assert_type

from sqlalchemy import select

from hermetic import AsyncSession, OnConflict, Progress, Session
from tests.models import User


class Name(NamedTuple):
    id: int
    username: str


@dataclass
class Balance:
    balance: int


def rows_are_of_the_class_that_is_asked_for(session: Session) -> None:
    assert_type(session.rows(select(User.id, User.username), into=Name), list[Name])
    assert_type(session.rows("SELECT balance FROM users", into=Balance), list[Balance])
    assert_type(session.rows("SELECT :a AS balance", {"a": 1}, into=Balance)[0].balance, int)
    assert_type(session.rows(select(User), into=Name, stream=True), Generator[Name])
    for name in session.rows(select(User), into=Name, stream=True, batch=50):
        assert_type(name, Name)


def wrong_rows_are_rejected(session: Session) -> None:
    session.rows(select(User))  # type: ignore[call-overload]
    session.rows(select(User), into=Name(1, "ann"))  # type: ignore[call-overload]
    session.rows(5, into=Name)  # type: ignore[call-overload]
    session.rows(select(User), into=Name, batch="many")  # type: ignore[call-overload]
    assert session.rows(select(User), into=Name)[0].balance  # type: ignore[attr-defined]
    session.rows(select(User), into=Name, stream=True)[0]  # type: ignore[index]


async def rows_under_asyncio_are_awaited_and_streams_are_not(session: AsyncSession) -> None:
    assert_type(await session.rows(select(User), into=Name), list[Name])
    assert_type(session.rows(select(User), into=Name, stream=True), AsyncGenerator[Name])
    async for balance in session.rows(select(User.balance), into=Balance, stream=True):
        assert_type(balance, Balance)
    session.rows(select(User), into=Name)[0]  # type: ignore[index]


def many_rows_are_counted_or_returned(session: Session) -> None:
    found = [{"username": "ann"}, {"username": "bob"}]
    assert_type(session.insert_many(User, found), int)
    assert_type(session.insert_many(User.__table__, found, on_conflict="ignore"), int)
    assert_type(session.insert_many(User, found, returning=False, batch=100), int)
    assert_type(session.insert_many(User, found, returning=True), list[Any])
    assert_type(session.insert_many(User, found, returning=[User.id]), list[Any])
    assert_type(session.insert_many(User, (User(username=n) for n in "abc")), int)
    assert_type(session.update_many(User, [{"id": 1, "balance": 2}]), int)
    assert_type(session.update_many(User, found, key="username"), int)
    assert_type(session.delete_many(User, [1, 2, 3]), int)


def progress_is_shown_or_told(session: Session) -> None:
    def tell(progress: Progress) -> None: ...

    session.insert_many(User, [], progress=True)
    session.insert_many(User, [], progress=tell, on_conflict=OnConflict(key=["username"]))


def wrong_calls_for_many_rows_are_rejected(session: Session) -> None:
    session.insert_many(User)  # type: ignore[call-overload]
    session.insert_many(User, 5)  # type: ignore[call-overload]
    session.insert_many(User, [], on_conflict="replace")  # type: ignore[call-overload]
    session.insert_many(User, [], returning="id", progress=5)  # type: ignore[call-overload]
    session.update_many(User, [], batch="all")  # type: ignore[arg-type]
    session.delete_many(User, [1], on_conflict="ignore")  # type: ignore[call-arg]


async def many_rows_under_asyncio(session: AsyncSession, rows: AsyncIterator[Any]) -> None:
    assert_type(await session.insert_many(User, rows), int)
    assert_type(await session.insert_many(User, rows, returning=True), list[Any])
    assert_type(await session.update_many(User, rows), int)
    assert_type(await session.delete_many(User, [1]), int)


def a_sync_session_takes_no_async_rows(session: Session, rows: AsyncIterator[Any]) -> None:
    session.insert_many(User, rows)  # type: ignore[call-overload]
