"""Listeners that come and go at any moment are noticed by the next unit of work, or by this one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from hermetic import Database, Session


class Base(DeclarativeBase):
    pass


class Thing(Base):
    __tablename__ = "thing"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with Database(f"sqlite:///{tmp_path}/things.db") as database:
        Base.metadata.create_all(database.engine)
        with database.session() as session:
            session.add(Thing(id=1, name="one"))
        assert in_hand(database)
        yield database


def in_hand(db: Database) -> bool:
    """Whether a small unit of work went the short way."""

    def count() -> int:
        return db.snapshot().paths.get("read:in hand", 0)

    before = count()
    with db.session() as session:
        found = session.get(Thing, 1)
    assert found is not None
    assert found.name == "one"
    return count() == before + 1


class Ears:
    """Listens for as long as it is told to."""

    def __init__(self, target: Any, name: str) -> None:
        self.target, self.name = target, name
        self.heard = 0

    def __call__(self, *told: Any) -> None:
        self.heard += 1

    def listen(self) -> None:
        event.listen(self.target, self.name, self)

    def stop(self) -> None:
        event.remove(self.target, self.name, self)


TARGETS: dict[str, Callable[[Database], tuple[Any, str]]] = {
    "the class of sessions": lambda db: (Session, "after_begin"),
    "the mapped class": lambda db: (Thing, "load"),
    "the pool": lambda db: (db.engine.pool, "checkout"),
}


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
def test_whoever_comes_is_told_and_whoever_goes_is_forgotten(
    db: Database, target: Callable[[Database], tuple[Any, str]]
) -> None:
    ears = Ears(*target(db))
    for round_ in range(1, 4):
        ears.listen()
        try:
            assert not in_hand(db)
            assert ears.heard == round_
        finally:
            ears.stop()
        assert in_hand(db)
        assert ears.heard == round_


@pytest.mark.parametrize("name", ["before_commit", "after_commit"])
@pytest.mark.parametrize("of_class", [True, False])
def test_one_that_comes_in_the_middle_is_told_of_the_commit(
    db: Database, name: str, of_class: bool
) -> None:
    with db.session() as session:
        session.get(Thing, 1)
        ears = Ears(Session if of_class else session, name)
        ears.listen()
    if of_class:
        ears.stop()
    assert ears.heard == 1
    assert in_hand(db)


def test_one_that_goes_in_the_middle_is_not_told_of_the_commit(db: Database) -> None:
    ears = Ears(Session, "after_commit")
    ears.listen()
    with db.session() as session:
        session.get(Thing, 1)
        ears.stop()
    assert ears.heard == 0


def test_a_class_made_later_has_the_listeners_of_those_it_comes_from(db: Database) -> None:
    ears = Ears(Session, "after_begin")
    ears.listen()
    try:
        later = type("Later", (Session,), {})
        with later(db.engine) as session:
            session.get(Thing, 1)
        assert ears.heard == 1
    finally:
        ears.stop()


def test_a_pool_that_took_the_place_of_another_is_listened_to_as_well(db: Database) -> None:
    db.engine.dispose()
    in_hand(db)  # connects
    assert in_hand(db)
    ears = Ears(db.engine.pool, "checkout")
    ears.listen()
    assert not in_hand(db)
    assert ears.heard == 1


def test_the_dialects_listeners_are_noticed(db: Database) -> None:
    ears = Ears(db.engine, "do_execute")
    ears.listen()
    assert not in_hand(db)
    assert ears.heard


def test_an_engine_that_begins_to_echo(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="sqlalchemy.engine"):
        db.engine.echo = True
        try:
            assert not in_hand(db)
        finally:
            db.engine.echo = False
    assert any("SELECT" in record.getMessage() for record in caplog.records)
    assert in_hand(db)
