"""The fast flush steps aside for whoever would see it, and writes for a scope what it wrote."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import create_engine, event, select, text
from sqlalchemy.orm import Mapper
from sqlalchemy.orm.exc import StaleDataError

import hermetic
from hermetic import Database
from hermetic.fast import private_flush
from hermetic.fast.counts import counts
from tests.fast.writing import Base, User

SESSION_EVENTS = ["before_flush", "after_flush", "after_flush_postexec", "pending_to_persistent"]
MAPPER_EVENTS = ["before_insert", "after_insert"]
ENGINE_EVENTS = ["before_execute", "after_cursor_execute"]


def written_fast(listen: Callable[[Any, Any], None]) -> bool:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    before = counts.get("flush:fast", 0)
    with hermetic.Session(engine) as session:
        listen(session, engine)
        session.add(User(name="a"))
        session.commit()
    engine.dispose()
    return counts.get("flush:fast", 0) > before


def test_without_listeners_it_is_fast() -> None:
    assert written_fast(lambda session, engine: None)


@pytest.mark.parametrize("name", SESSION_EVENTS)
def test_a_sessions_listener_is_told(name: str) -> None:
    told: list[Any] = []

    assert not written_fast(lambda session, _: event.listen(session, name, _teller(told)))
    assert told


@pytest.mark.parametrize("name", MAPPER_EVENTS)
@pytest.mark.parametrize("target", [User, Mapper], ids=["entity", "all"])
def test_a_mappers_listener_is_told(name: str, target: Any) -> None:
    told: list[Any] = []
    listener = _teller(told)
    event.listen(target, name, listener)
    try:
        assert not written_fast(lambda session, engine: None)
    finally:
        event.remove(target, name, listener)
    assert told


@pytest.mark.parametrize("name", ENGINE_EVENTS)
def test_an_engines_listener_is_told(name: str) -> None:
    told: list[Any] = []

    assert not written_fast(lambda _, engine: event.listen(engine, name, _teller(told)))
    assert told


def _teller(told: list[Any]) -> Callable[..., None]:
    def tell(*arguments: Any) -> None:
        told.append(arguments)

    tell.__signature__ = None  # type: ignore[attr-defined]
    return tell


def test_sqlalchemy_is_what_it_was() -> None:
    assert private_flush.why_off() is None


# ---------------------------------------------------------------- in a scope


@pytest.fixture
def db(tmp_path: Any) -> Any:
    database = Database(f"sqlite:///{tmp_path}/app.db")
    with database.engine.begin() as connection:
        Base.metadata.create_all(connection)
    yield database
    database.close()


def names(db: Any) -> list[str]:
    with db.session() as session:
        return list(session.scalars(select(User.name).order_by(User.id)))


def test_a_scope_writes_and_commits(db: Any) -> None:
    before = counts.get("flush:fast", 0)
    with db.session() as session:
        session.add(User(name="a"))
    with db.session() as session:
        session.add_all([User(name="b"), User(name="c")])
    with db.session() as session:
        session.get(User, 1).name = "d"

    assert counts["flush:fast"] == before + 3
    assert names(db) == ["d", "b", "c"]


def test_a_scope_that_fails_after_a_flush_leaves_nothing(db: Any) -> None:
    with pytest.raises(ZeroDivisionError), db.session() as session:
        session.add(User(name="a"))
        session.flush()
        raise ZeroDivisionError

    assert names(db) == []


def test_a_violation_in_a_scope_is_raised_as_always(db: Any) -> None:
    with db.session() as session:
        session.add(User(name="a"))
    with pytest.raises(hermetic.UniqueViolation), db.session() as session:
        session.add(User(name="b"))
        session.flush()
        session.add(User(name="a"))

    assert names(db) == ["a"]


def test_a_row_that_is_gone_rolls_the_scope_back(db: Any) -> None:
    with db.session() as session:
        session.add_all([User(name="a"), User(name="b")])
    with pytest.raises(StaleDataError), db.session() as session:
        user = session.get(User, 1)
        session.get(User, 2).age = 5
        session.flush()
        session.execute(text("DELETE FROM users WHERE id = 1"))
        user.age = 7

    assert names(db) == ["a", "b"]
