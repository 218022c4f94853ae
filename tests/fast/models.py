"""Mapped classes of many kinds, with rows, for comparing what is loaded by whom."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import uuid
from typing import Any

from sqlalchemy import JSON, Engine, ForeignKey, Integer, PickleType, String, TypeDecorator
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    column_property,
    composite,
    deferred,
    mapped_column,
    relationship,
)


class Base(DeclarativeBase):
    pass


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Money(TypeDecorator[decimal.Decimal]):
    """A type whose values are made by a function of Python."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: decimal.Decimal | None, dialect: Any) -> int | None:
        return None if value is None else int(value * 100)

    def process_result_value(self, value: int | None, dialect: Any) -> decimal.Decimal | None:
        return None if value is None else decimal.Decimal(value) / 100


class Parent(Base):
    """As plain as can be, with collections and references."""

    __tablename__ = "fast_parents"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    active: Mapped[bool | None]
    age: Mapped[int | None]
    children: Mapped[list[Child]] = relationship(back_populates="parent", order_by="Child.id")


class Child(Base):
    __tablename__ = "fast_children"
    id: Mapped[int] = mapped_column(primary_key=True)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("fast_parents.id"))
    name: Mapped[str] = mapped_column(String(50))
    parent: Mapped[Parent | None] = relationship(back_populates="children")


class Typed(Base):
    """Columns whose values are made of what the driver gives."""

    __tablename__ = "fast_typed"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    amount: Mapped[decimal.Decimal] = mapped_column(Money())
    made: Mapped[dt.datetime]
    day: Mapped[dt.date]
    colour: Mapped[Colour]
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
    thing: Mapped[Any] = mapped_column(PickleType)
    flag: Mapped[bool]


class Lazy(Base):
    """Columns that are not loaded at first, and one that is computed."""

    __tablename__ = "fast_lazy"
    first: Mapped[int] = mapped_column(primary_key=True)
    second: Mapped[str] = mapped_column(String(10), primary_key=True)
    note: Mapped[str] = deferred(mapped_column(String(50)))
    size: Mapped[int] = mapped_column()
    double: Mapped[int] = column_property(size * 2)


class Point:
    def __init__(self, x: int, y: int) -> None:
        self.x, self.y = x, y

    def __repr__(self) -> str:
        return f"Point({self.x}, {self.y})"

    def __composite_values__(self) -> tuple[int, int]:
        return self.x, self.y

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and (self.x, self.y) == (other.x, other.y)

    __hash__ = None  # type: ignore[assignment]


class Placed(Base):
    """A composite, which SQLAlchemy makes by listening to loads."""

    __tablename__ = "fast_placed"
    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[Point] = composite(Point, mapped_column("x", Integer), mapped_column("y", Integer))


class Animal(Base):
    __tablename__ = "fast_animals"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}  # noqa: RUF012


class Dog(Animal):
    tricks: Mapped[int | None]
    __mapper_args__ = {"polymorphic_identity": "dog"}  # noqa: RUF012


class Versioned(Base):
    __tablename__ = "fast_versioned"
    id: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column()
    name: Mapped[str] = mapped_column(String(50))
    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012


class Odd(Base):
    """A class that is told of every attribute that is set on it."""

    __tablename__ = "fast_odd"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        self.__dict__.setdefault("told", []).append(name)


def _rows() -> list[Any]:
    day = dt.date(2020, 1, 1)
    return [
        *(
            Parent(id=n, name=f"p{n}", active=[True, False, None][n % 3], age=n)
            for n in range(1, 9)
        ),
        *(Child(id=n, parent_id=n % 8 or None, name=f"c{n}") for n in range(1, 25)),
        *(
            Typed(
                id=uuid.UUID(int=n),
                amount=decimal.Decimal(n) / 4,
                made=dt.datetime(2020, 1, n, 12),  # noqa: DTZ001 - a column without a time zone
                day=day + dt.timedelta(days=n),
                colour=Colour(n % 2 + 1),
                data={"n": n},
                thing=(n,),
                flag=n % 2 == 0,
            )
            for n in range(1, 9)
        ),
        *(Lazy(first=n, second=f"s{n}", note=f"note {n}", size=n) for n in range(1, 9)),
        *(Placed(id=n, at=Point(n, -n)) for n in range(1, 9)),
        *(Animal(id=n) if n % 2 else Dog(id=n, tricks=n) for n in range(1, 9)),
        *(Versioned(id=n, name=f"v{n}") for n in range(1, 9)),
        *(Odd(id=n, name=f"o{n}") for n in range(1, 9)),
    ]


def fill(engine: Engine) -> None:
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all(_rows())
        session.commit()
