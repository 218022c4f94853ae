"""What cannot be given a session and a scope is refused where it is decorated."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from sqlalchemy.orm import Session as PlainSession

from hermetic import AsyncSession, ConfigurationError, Database, Session


@pytest.fixture
def db() -> Iterator[Database]:
    with Database("sqlite://") as database:
        yield database


def test_a_generator_function_is_refused(db: Database) -> None:
    def numbers(session: Session) -> Iterator[int]:
        yield 1

    with pytest.raises(ConfigurationError, match="numbers is a generator function") as caught:
        db.session()(numbers)

    assert "return a list" in caught.value.hint


def test_an_async_generator_function_is_refused(db: Database) -> None:
    async def numbers(session: AsyncSession) -> AsyncIterator[int]:
        yield 1

    with pytest.raises(ConfigurationError, match="numbers is a generator function"):
        db.session()(numbers)  # type: ignore[arg-type]


def test_a_generator_function_in_disguise_is_refused(db: Database) -> None:
    def numbers(step: int, session: Session) -> Iterator[int]:
        yield step

    with pytest.raises(ConfigurationError, match="generator function"):
        db.session()(functools.partial(numbers, 2))


def test_a_class_is_refused(db: Database) -> None:
    class Repository:
        def __init__(self, session: Session) -> None: ...

    with pytest.raises(ConfigurationError, match="Repository is not a function"):
        db.session()(Repository)


@pytest.mark.parametrize("thing", [None, 5, "find", {}], ids=repr)
def test_what_cannot_be_called_is_refused(db: Database, thing: Any) -> None:
    with pytest.raises(ConfigurationError, match="is not a function"):
        db.session()(thing)


def test_a_function_without_a_place_for_the_session_is_refused(db: Database) -> None:
    def find() -> None: ...

    def find_by_keyword(*, name: str) -> None: ...

    class Repository:
        def find(self) -> None: ...

    decorate: Any = db.session()
    for function in (find, find_by_keyword, Repository.find):
        with pytest.raises(ConfigurationError, match="no parameter for the session") as caught:
            decorate(function)
        assert "find" in str(caught.value)
        assert "Add one called 'session'" in caught.value.hint


def test_a_keyword_only_session_is_supplied(db: Database) -> None:
    def one(name: str, *, session: Session) -> tuple[str, Any]:
        return name, session.scalar("SELECT 1")

    decorate: Any = db.session()
    find = decorate(one)

    assert find("ann") == ("ann", 1)


@pytest.mark.parametrize("kind", [classmethod, staticmethod])
def test_the_other_order_of_decorators_is_refused_with_the_right_one(
    db: Database, kind: Any
) -> None:
    def find(session: Session) -> None: ...

    with pytest.raises(ConfigurationError, match=f"is a {kind.__name__} already") as caught:
        db.session()(kind(find))

    assert caught.value.hint == f"Put @{kind.__name__} above @db.session(…)."


def test_the_right_order_of_decorators_works(db: Database) -> None:
    class Repository:
        @classmethod
        @db.session()
        def of_class(cls, session: Session, name: str) -> tuple[str, str, Any]:
            return cls.__name__, name, session.scalar("SELECT 1")

        @staticmethod
        @db.session()
        def of_nothing(session: Session, name: str) -> tuple[str, Any]:
            return name, session.scalar("SELECT 1")

    assert Repository.of_class("ann") == ("Repository", "ann", 1)
    assert Repository.of_nothing("ann") == ("ann", 1)


def test_a_session_is_not_passed_by_callers(db: Database) -> None:
    def echo(session: Session, name: str) -> str:
        return name

    find: Any = db.session()(echo)
    given: list[tuple[tuple[object, ...], dict[str, object]]] = [
        ((PlainSession(), "ann"), {}),
        ((), {"name": "ann", "session": PlainSession()}),
        ((), {}),
    ]

    for args, kwargs in given:
        with pytest.raises(TypeError):
            find(*args, **kwargs)
