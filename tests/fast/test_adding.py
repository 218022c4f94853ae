"""``add_all`` adds what ``add`` adds."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import ForeignKey, create_engine, select
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    relationship,
    sessionmaker,
)

import hermetic


class Base(DeclarativeBase):
    pass


class Box(Base):
    """Its things do not know it."""

    __tablename__ = "boxes"

    id: Mapped[int] = mapped_column(primary_key=True)
    things: Mapped[list[Thing]] = relationship(cascade="all, delete-orphan")


class Thing(Base):
    __tablename__ = "things"

    id: Mapped[int] = mapped_column(primary_key=True)
    box_id: Mapped[int | None] = mapped_column(ForeignKey("boxes.id"))


def _taken_out() -> Thing:
    box, thing = Box(), Thing()
    box.things.append(thing)
    box.things.remove(thing)
    return thing


def _added(session: Session, way: str) -> None:
    if way == "add":
        session.add(_taken_out())
    else:
        session.add_all([Thing(), _taken_out(), Thing()])


@pytest.mark.parametrize("factory", [sessionmaker, hermetic.sessionmaker])
@pytest.mark.parametrize(("way", "rows"), [("add", 1), ("add_all", 3)])
def test_what_was_taken_out_of_a_collection_is_written(factory: Any, way: str, rows: int) -> None:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with factory(engine)() as session:
        _added(session, way)
        session.commit()
        assert len(session.scalars(select(Thing)).all()) == rows
    engine.dispose()
