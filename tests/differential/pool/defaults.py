"""Models whose values come from elsewhere: the client's defaults, the server's, versions."""

from __future__ import annotations

import itertools
from typing import Any

from sqlalchemy import Identity, String, func, text
from sqlalchemy.orm import Mapped, mapped_column

from tests.differential.pool.base import Base

_ticks = itertools.count(1)


def restart() -> None:
    """Begin to count anew, before each run."""
    global _ticks  # noqa: PLW0603 - the defaults are bound to the module, not to a run
    _ticks = itertools.count(1)


def tick() -> int:
    return next(_ticks)


def shouted(context: Any) -> str:
    return f"{context.get_current_parameters()['name']}!"


class Stamped(Base):
    """Defaults of every kind. What the server made is fetched when the driver can return it."""

    __tablename__ = "stamped"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    seven: Mapped[int] = mapped_column(default=7)
    made: Mapped[int] = mapped_column(default=tick)
    loud: Mapped[str] = mapped_column(String(50), default=shouted)
    changed: Mapped[int | None] = mapped_column(onupdate=tick)
    by_server: Mapped[str] = mapped_column(String(50), server_default=text("'server'"))
    by_sql: Mapped[int] = mapped_column(default=func.abs(-3), onupdate=func.abs(-4))


class Eager(Base):
    __tablename__ = "eagers"
    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012 - SQLAlchemy's way

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    by_server: Mapped[str] = mapped_column(String(50), server_default=text("'server'"))
    by_sql: Mapped[int | None] = mapped_column(onupdate=func.abs(-4))


class Lazy(Base):
    __tablename__ = "lazies"
    __mapper_args__ = {"eager_defaults": False}  # noqa: RUF012 - SQLAlchemy's way

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    by_server: Mapped[str] = mapped_column(String(50), server_default=text("'server'"))
    by_sql: Mapped[int | None] = mapped_column(onupdate=func.abs(-4))


class Versioned(Base):
    __tablename__ = "versioned"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    version: Mapped[int] = mapped_column()

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - SQLAlchemy's way
