"""Models with attributes that are more than columns, and classes of other styles."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Column, Integer, String, Table, func
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import (
    Mapped,
    MappedAsDataclass,
    column_property,
    composite,
    deferred,
    mapped_column,
    reconstructor,
    synonym,
    validates,
)

from tests.differential.pool.base import Base


@dataclass
class Point:
    x: int | None
    y: int | None


class Account(Base):
    """Deferred, computed, hybrid, composite, validated; told when it is loaded."""

    __tablename__ = "accounts"

    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(String(50))
    cents: Mapped[int] = mapped_column(default=0)
    letter: Mapped[str | None] = deferred(mapped_column(String(200)))
    memo: Mapped[str | None] = mapped_column(String(50), deferred=True, deferred_group="notes")
    upper: Mapped[str] = column_property(func.upper(owner))
    holder: Mapped[str] = synonym("owner")
    place: Mapped[Point] = composite(
        mapped_column("x", Integer, nullable=True), mapped_column("y", Integer, nullable=True)
    )

    @hybrid_property
    def euros(self) -> float:
        return self.cents / 100

    @validates("cents")
    def not_negative(self, key: str, value: int) -> int:
        if value < 0:
            raise ValueError(f"{key} is negative")
        return value

    @reconstructor
    def remember(self) -> None:
        # an attribute that no mapper knows
        self.loaded_with = sorted(key for key in self.__dict__ if not key.startswith("_"))


class Thing(MappedAsDataclass, Base, unsafe_hash=True):
    """A dataclass: compared by its values, not by what it is."""

    __tablename__ = "things"

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    name: Mapped[str] = mapped_column(String(50))
    size: Mapped[int] = mapped_column(default=1)


class Box:
    """A class of its own, mapped from outside."""

    def __init__(self, label: str) -> None:
        self.label = label

    id: int
    label: str | None
    weight: int | None


boxes = Table(
    "boxes",
    Base.metadata,
    Column("id", Integer, primary_key=True),
    Column("label", String(50)),
    Column("weight", Integer, default=5),
)
Base.registry.map_imperatively(Box, boxes)
