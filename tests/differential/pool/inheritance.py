"""Models of one table for several classes, and of several tables for one class."""

from __future__ import annotations

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from tests.differential.pool.base import Base

# mypy: disable-error-code="misc"
# SQLAlchemy's mapper arguments are class attributes


class Animal(Base):
    __tablename__ = "animals"

    id: Mapped[int] = mapped_column(primary_key=True)
    species: Mapped[str] = mapped_column(String(10))
    name: Mapped[str] = mapped_column(String(50))

    __mapper_args__ = {  # noqa: RUF012 - SQLAlchemy's way
        "polymorphic_on": "species",
        "polymorphic_identity": "animal",
    }


class Cat(Animal):
    lives: Mapped[int | None] = mapped_column(default=9)

    __mapper_args__ = {"polymorphic_identity": "cat"}  # noqa: RUF012 - SQLAlchemy's way


class Dog(Animal):
    tricks: Mapped[str | None] = mapped_column(String(50))

    __mapper_args__ = {"polymorphic_identity": "dog"}  # noqa: RUF012 - SQLAlchemy's way


class Worker(Base):
    __tablename__ = "workers"

    id: Mapped[int] = mapped_column(primary_key=True)
    role: Mapped[str] = mapped_column(String(10))
    name: Mapped[str] = mapped_column(String(50))

    __mapper_args__ = {  # noqa: RUF012 - SQLAlchemy's way
        "polymorphic_on": "role",
        "polymorphic_identity": "worker",
    }


class Manager(Worker):
    __tablename__ = "managers"

    id: Mapped[int] = mapped_column(ForeignKey("workers.id"), primary_key=True)
    budget: Mapped[int | None]

    __mapper_args__ = {"polymorphic_identity": "manager"}  # noqa: RUF012 - SQLAlchemy's way


class Engineer(Worker):
    __tablename__ = "engineers"

    id: Mapped[int] = mapped_column(ForeignKey("workers.id"), primary_key=True)
    language: Mapped[str | None] = mapped_column(String(50))

    __mapper_args__ = {"polymorphic_identity": "engineer"}  # noqa: RUF012 - SQLAlchemy's way
