"""Classes of sessions: with methods of their own they are asked, and nothing of ours keeps them."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, ForeignKey, create_engine, event, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from hermetic import Session, sessionmaker


class Base(DeclarativeBase):
    pass


class Thing(Base):
    __tablename__ = "thing"
    id: Mapped[int] = mapped_column(primary_key=True)
    parts: Mapped[list[Part]] = relationship(order_by="Part.id")


class Part(Base):
    __tablename__ = "part"
    id: Mapped[int] = mapped_column(primary_key=True)
    thing_id: Mapped[int] = mapped_column(ForeignKey("thing.id"))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = create_engine(f"sqlite:///{tmp_path}/things.db")
    Base.metadata.create_all(made)
    with sessionmaker(made).begin() as session:
        session.add(Thing(id=1, parts=[Part(), Part()]))
    yield made
    made.dispose()


def test_a_factory_made_for_every_session_is_forgotten_with_it(engine: Engine) -> None:
    known: weakref.WeakSet[type] = weakref.WeakSet()

    def use() -> None:
        with sessionmaker(engine)() as session:
            known.add(type(session))
            session.add_all([Thing()])
            session.flush()
            session.get_one(Thing, 1).parts  # noqa: B018
            session.scalars(select(Thing).where(Thing.id == 1)).all()

    for _ in range(3):
        use()
    gc.collect()

    assert len(known) == 0


def test_its_listeners_are_heard_after_another_class_of_the_same_name(engine: Engine) -> None:
    heard: list[Any] = []
    for turn in range(20):
        factory = sessionmaker(engine)
        if turn % 2:
            event.listen(factory, "do_orm_execute", lambda state, turn=turn: heard.append(turn))
        with factory() as session:
            session.get(Thing, 1)
        del session, factory
        gc.collect()

    assert heard == [*range(1, 20, 2)]


def test_an_execute_of_its_own_is_called_where_sqlalchemy_calls_it(engine: Engine) -> None:
    executed: list[str] = []

    class Own(Session):
        def execute(self, statement: Any, *args: Any, **more: Any) -> Any:
            executed.append(str(statement).partition("FROM ")[2].split()[0])
            return super().execute(statement, *args, **more)

    for _ in range(3):
        executed.clear()
        with sessionmaker(engine, class_=Own)() as session:
            thing = session.get_one(Thing, 1)
            assert len(thing.parts) == 2
            assert session.get(Thing, 1) is thing
        assert executed == ["thing", "part"]
