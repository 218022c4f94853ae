"""What the benchmarks load and write: mapped classes, and the rows in their tables.

SQLAlchemy and hermetic each have classes of their own for the same tables: whatever a library does
to the classes that it works with, the other does not gain or lose by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, ForeignKey, String, insert
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

COLUMNS = "username, email, age, active, score"
_CHILDREN = 5


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many rows the works on many rows have.

    Users 1 to ``small`` are what the small units get, by turns.
    """

    rows: int = 50_000
    changed: int = 5_000
    parents: int = 1_000
    small: int = 100


@dataclass(frozen=True, slots=True)
class Entities:
    """One contender's mapped classes."""

    base: Any
    user: Any
    person: Any
    parent: Any
    child: Any


class Columns:
    """A string, another, an int, a bool and a float; an int key makes six."""

    username: Mapped[str] = mapped_column(String(50))
    email: Mapped[str] = mapped_column(String(100))
    age: Mapped[int]
    active: Mapped[bool]
    score: Mapped[float]


def declare() -> Entities:
    """A new set of classes, with a registry of its own."""

    class Base(DeclarativeBase):
        pass

    class User(Columns, Base):  # read by the works: its keys are given
        __tablename__ = "bench_users"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)

    class Person(Columns, Base):  # written by the works: its keys are the database's
        __tablename__ = "bench_people"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Parent(Columns, Base):
        __tablename__ = "bench_parents"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        children = relationship("Child", back_populates="parent")

    class Child(Columns, Base):
        __tablename__ = "bench_children"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        parent_id: Mapped[int] = mapped_column(ForeignKey("bench_parents.id"), index=True)
        parent = relationship("Parent", back_populates="children")

    # registries know their classes weakly: now the related ones keep each other
    Base.registry.configure()
    return Entities(Base, User, Person, Parent, Child)


def values(number: int) -> dict[str, Any]:
    """The columns of row ``number`` beside its key."""
    return {
        "username": f"user{number}",
        "email": f"user{number}@example.org",
        "age": 20 + number % 60,
        "active": number % 2 == 0,
        "score": number / 8,
    }


def fill(engine: Engine, sizes: Sizes) -> None:
    """Make the tables anew, with their rows.

    The first children are one of each parent, so that as many lazy loads find as many parents.
    """
    entities = declare()
    keyed = [{"id": number, **values(number)} for number in range(1, sizes.rows + 1)]
    parents = sizes.parents
    children = [
        {"id": number, "parent_id": 1 + (number - 1) % parents, **values(number)}
        for number in range(1, parents * _CHILDREN + 1)
    ]
    entities.base.metadata.drop_all(engine)
    entities.base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(entities.user), keyed)
        connection.execute(insert(entities.parent), keyed[:parents])
        connection.execute(insert(entities.child), children)
        if engine.dialect.name != "mysql":
            # or the server does it in the middle of a measurement
            connection.exec_driver_sql("ANALYZE")
