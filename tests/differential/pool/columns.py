"""Models that are columns and nothing else."""

from __future__ import annotations

import datetime
import decimal
import enum
import uuid
from typing import Any

from sqlalchemy import JSON, Dialect, LargeBinary, Numeric, String, TypeDecorator
from sqlalchemy.ext.mutable import MutableDict
from sqlalchemy.orm import Mapped, mapped_column

from tests.differential.pool.base import Base


class Person(Base):
    """The plain six columns."""

    __tablename__ = "persons"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    email: Mapped[str | None] = mapped_column(String(50), unique=True)
    age: Mapped[int | None]
    score: Mapped[float | None]
    active: Mapped[bool] = mapped_column(default=True)


class Word(Base):
    """The key is a string, and no default."""

    __tablename__ = "words"

    text: Mapped[str] = mapped_column(String(20), primary_key=True)
    meaning: Mapped[str | None] = mapped_column(String(50))


class Pair(Base):
    """The key is of two columns."""

    __tablename__ = "pairs"

    left: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    right: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    note: Mapped[str | None] = mapped_column(String(50))


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


class Commas(TypeDecorator[list[str]]):
    """A list of strings, kept as one."""

    impl = String(50)
    cache_ok = True

    def process_bind_param(self, value: list[str] | None, dialect: Dialect) -> str | None:
        return None if value is None else ",".join(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> list[str] | None:
        return None if value is None else value.split(",")


class Kind(Base):
    """A column of each kind of type, all of them nullable; one has another name than it says."""

    __tablename__ = "kinds"

    id: Mapped[int] = mapped_column(primary_key=True)
    colour: Mapped[Colour | None]
    moment: Mapped[datetime.datetime | None]
    day: Mapped[datetime.date | None]
    price: Mapped[decimal.Decimal | None] = mapped_column(Numeric(10, 2))
    data: Mapped[Any | None] = mapped_column(JSON)
    blob: Mapped[bytes | None] = mapped_column(LargeBinary)
    uid: Mapped[uuid.UUID | None]
    flag: Mapped[bool | None]
    parts: Mapped[list[str] | None] = mapped_column(Commas)
    settings: Mapped[dict[str, Any] | None] = mapped_column(MutableDict.as_mutable(JSON))
    renamed: Mapped[str | None] = mapped_column("another_name", String(50))
