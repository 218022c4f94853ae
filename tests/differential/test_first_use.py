"""What SQLAlchemy does at the first use of a model it does at ours too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import ForeignKey, create_engine, select
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from hermetic import Database


class Models:
    """Models that nobody has used: their mappers are not configured."""

    def __init__(self, *, target: str = "Parent") -> None:
        class Base(DeclarativeBase):
            pass

        class Parent(Base):
            __tablename__ = "parents"

            id: Mapped[int] = mapped_column(primary_key=True)

        class Child(Base):
            __tablename__ = "children"

            id: Mapped[int] = mapped_column(primary_key=True)
            parent_id: Mapped[int | None] = mapped_column(ForeignKey("parents.id"))
            parent: Mapped[Any] = relationship(target)

        self.base, self.parent, self.child = Base, Parent, Child


@pytest.fixture
def db(tmp_path: Path) -> Database:
    engine = create_engine(f"sqlite:///{tmp_path}/first.db")
    Models().base.metadata.create_all(engine)
    engine.dispose()
    return Database(f"sqlite:///{tmp_path}/first.db")


def test_get_may_be_the_first_use_of_a_model(db: Database) -> None:
    models = Models()

    with db.session() as session:
        found = session.get(models.child, 1)

    assert found is None
    db.close()


def test_a_select_may_be_the_first_use_of_a_model(db: Database) -> None:
    models = Models()

    with db.session() as session:
        found = session.scalars(select(models.child)).all()

    assert found == []
    db.close()


def test_an_object_may_be_the_first_use_of_a_model(db: Database) -> None:
    models = Models()

    with db.session() as session:
        session.add(models.child(parent=models.parent()))

    with db.session() as session:
        assert session.get_one(models.child, 1).parent_id == 1
    db.close()


def test_a_model_that_cannot_be_configured_says_so_at_every_use(db: Database) -> None:
    models = Models(target="Nowhere")

    for _ in range(2):
        with pytest.raises(InvalidRequestError, match="Nowhere"), db.session() as session:
            session.get(models.child, 1)
    db.close()
