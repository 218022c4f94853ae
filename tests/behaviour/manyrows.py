"""The table that many rows are written to: a column of every kind, and constraints to be broken."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import uuid
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    JSON,
    CheckConstraint,
    Engine,
    ForeignKey,
    LargeBinary,
    Numeric,
    String,
    TypeDecorator,
    Uuid,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    pass


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


class Shouted(TypeDecorator[str]):
    """Kept in capitals, read in small letters."""

    impl = String(20)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        return None if value is None else value.upper()

    def process_result_value(self, value: str | None, dialect: Any) -> str | None:
        return None if value is None else value.lower()


class Maker(Base):
    __tablename__ = "makers"

    id: Mapped[int] = mapped_column(primary_key=True)


class Thing(Base):
    __tablename__ = "things"
    __table_args__ = (CheckConstraint("size < 1000", name="not_too_big"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    # the attribute has another name than the column
    label: Mapped[str] = mapped_column("name", String(20), unique=True)
    size: Mapped[int] = mapped_column(default=7)
    colour: Mapped[Colour | None]
    shouted: Mapped[str | None] = mapped_column(Shouted)
    price: Mapped[Decimal | None] = mapped_column(Numeric(10, 2))
    made: Mapped[datetime.datetime | None]
    day: Mapped[datetime.date | None]
    ready: Mapped[bool] = mapped_column(server_default="0")
    weight: Mapped[float | None]
    more: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    raw: Mapped[bytes | None] = mapped_column(LargeBinary)
    token: Mapped[uuid.UUID] = mapped_column(Uuid, default=uuid.uuid4)
    maker_id: Mapped[int | None] = mapped_column(ForeignKey("makers.id"))
    maker: Mapped[Maker | None] = relationship()
    touched: Mapped[str | None] = mapped_column(String(20), onupdate=lambda: "touched")
    lower: Mapped[str | None] = mapped_column(String(20), default=text("'by the server'"))


class Pair(Base):
    """A key of two columns, out of the table's order."""

    __tablename__ = "pairs"

    note: Mapped[str | None] = mapped_column(String(20))
    b: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    a: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class Animal(Base):
    __tablename__ = "animals"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    name: Mapped[str] = mapped_column(String(20))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}  # noqa: RUF012


class Dog(Animal):
    __mapper_args__ = {"polymorphic_identity": "dog"}  # noqa: RUF012


class Counted(Base):
    __tablename__ = "counted"

    id: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column()
    name: Mapped[str] = mapped_column(String(20))
    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012


class Person(Base):
    __tablename__ = "persons"

    id: Mapped[int] = mapped_column(primary_key=True)


class Worker(Person):
    __tablename__ = "workers"

    id: Mapped[int] = mapped_column(ForeignKey("persons.id"), primary_key=True)


class Label(NamedTuple):
    label: str
    size: int


@dataclasses.dataclass
class LabelData:
    size: int
    label: str
    id: int | None = None


class LabelStruct(msgspec.Struct):
    label: str
    size: int


METADATA = Base.metadata


def create(engine: Engine) -> None:
    Base.metadata.create_all(engine)


def thing(number: int, **more: Any) -> dict[str, Any]:
    """A row with a value of every kind."""
    return {
        "label": f"thing {number}",
        "size": number % 100,
        "colour": (Colour.RED, Colour.BLUE, None)[number % 3],
        "shouted": f"a\tb\n\\{number}é'\"",
        "price": Decimal(number) / 4,
        "made": datetime.datetime(2024, 2, 29, 12, number % 60, 1),  # noqa: DTZ001
        "day": datetime.date(1999, 1, 1 + number % 28),
        "ready": bool(number % 2),
        "weight": number / 8,
        "more": {"n": [number, None, "ü"]},
        "raw": bytes([0, 92, 10, number % 256]),
        **more,
    }
