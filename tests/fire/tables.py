"""The tables that units of work are done on."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, ForeignKey, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    pass


class Account(Base):
    __tablename__ = "accounts"
    __table_args__ = (CheckConstraint("balance >= 0"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    balance: Mapped[int] = mapped_column(default=0)


class Elements(Base):
    """A list, as the text of its elements, each with a comma before it."""

    __tablename__ = "lists"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    elements: Mapped[str] = mapped_column(Text)


class Head(Base):
    """The first part of what a run of a unit writes."""

    __tablename__ = "heads"

    id: Mapped[int] = mapped_column(primary_key=True)
    token: Mapped[str] = mapped_column(String(60), index=True)
    run: Mapped[int]
    part: Mapped[int]
    tails: Mapped[list[Tail]] = relationship(back_populates="head")


class Tail(Base):
    """The other parts."""

    __tablename__ = "tails"

    id: Mapped[int] = mapped_column(primary_key=True)
    head_id: Mapped[int] = mapped_column(ForeignKey("heads.id"))
    token: Mapped[str] = mapped_column(String(60))
    run: Mapped[int]
    part: Mapped[int]
    head: Mapped[Head] = relationship(back_populates="tails")
