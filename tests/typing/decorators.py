"""What type checkers see of decorated functions: all but the session. Never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, assert_type

from sqlalchemy.ext.asyncio import AsyncSession as PlainAsyncSession
from sqlalchemy.orm import Session as PlainSession

from hermetic import AsyncSession, Database, Session

db = Database("sqlite://")


# Functions


@db.session(isolation="SERIALIZABLE", retry=5)
def transfer(session: Session, source: str, target: str, amount: int = 1, *, note: str) -> float:
    return 1.0


def a_function_keeps_its_other_parameters_and_its_result() -> None:
    assert_type(transfer("ann", "bob", 10, note="rent"), float)
    assert_type(transfer("ann", target="bob", note="rent"), float)


def wrong_arguments_are_rejected(session: Session) -> None:
    transfer("ann", 5, note="rent")  # type: ignore[arg-type]
    transfer("ann", "bob", "ten", note="rent")  # type: ignore[arg-type]
    transfer("ann", "bob", note=5)  # type: ignore[arg-type]
    transfer("ann", note="rent")  # type: ignore[call-arg]
    transfer("ann", "bob")  # type: ignore[call-arg]
    transfer("ann", "bob", note="rent", nothing=1)  # type: ignore[call-arg]
    transfer(session, "ann", "bob", note="rent")  # type: ignore[arg-type]
    transfer("ann", "bob", note="rent", session=session)  # type: ignore[call-arg]
    name: str = transfer("ann", "bob", note="rent")  # type: ignore[assignment]
    takes_a_string(name)


def takes_a_string(name: str) -> None: ...


@db.session()
def nothing(session: Session) -> None: ...


assert_type(nothing, Callable[[], None])


# Coroutine functions


@db.session()
async def find(session: AsyncSession, name: str, *, exact: bool = True) -> list[str]:
    return [name]


async def a_coroutine_function_stays_one() -> None:
    unawaited: Coroutine[Any, Any, list[str]] = find("ann", exact=False)
    assert_type(await unawaited, list[str])


async def wrong_arguments_of_a_coroutine_function_are_rejected(session: AsyncSession) -> None:
    await find(5)  # type: ignore[arg-type]
    await find("ann", True)  # type: ignore[call-arg]
    await find("ann", exact="yes")  # type: ignore[arg-type]
    await find(session, "ann")  # type: ignore[arg-type, call-arg]
    find("ann")  # type: ignore[unused-coroutine]


# Methods


class Repository:
    @db.session()
    def count(self, session: Session, prefix: str = "") -> int:
        return 1

    @db.session()
    async def acount(self, session: AsyncSession, prefix: str = "") -> int:
        return 1

    @classmethod
    @db.session()
    def of_class(cls, session: Session, prefix: str) -> int:
        return 1

    @staticmethod
    @db.session()
    def of_nothing(session: Session, prefix: str) -> int:
        return 1


async def methods_keep_their_other_parameters_and_their_result(repository: Repository) -> None:
    assert_type(repository.count(), int)
    assert_type(repository.count("a"), int)
    assert_type(repository.count(prefix="a"), int)
    assert_type(await repository.acount(prefix="a"), int)
    assert_type(Repository.of_class("a"), int)
    assert_type(Repository.of_nothing("a"), int)
    assert_type(Repository.count(repository, "a"), int)


def wrong_arguments_of_methods_are_rejected(repository: Repository) -> None:
    repository.count(5)  # type: ignore[arg-type]
    repository.count("a", "b")  # type: ignore[call-arg]
    Repository.of_class(5)  # type: ignore[arg-type]
    Repository.of_nothing()  # type: ignore[call-arg]
    Repository.count("a")  # type: ignore[arg-type]


# Functions that were written for SQLAlchemy's classes


@db.session()
def plain(session: PlainSession, name: str) -> int:
    return 1


@db.session()
async def plain_async(session: PlainAsyncSession, name: str) -> int:
    return 1


async def sqlalchemys_annotations_do() -> None:
    assert_type(plain("ann"), int)
    assert_type(await plain_async("ann"), int)


# What cannot be decorated


@db.session()  # type: ignore[arg-type]
def without_session(name: str) -> int:
    return 1


@db.session()  # type: ignore[arg-type]
def of_the_other_world(session: AsyncSession, name: str) -> int:
    return 1


@db.session()  # type: ignore[arg-type]
async def generator(session: AsyncSession) -> AsyncIterator[int]:
    yield 1
