"""The work of each contender: SQLAlchemy's and hermetic's, in both worlds.

Every function makes a turn: a function that does one unit of work so many times. The ``with``
statements are those that a user writes, and stand in the turn's own loop.
"""

from __future__ import annotations

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker
from sqlalchemy.orm import sessionmaker

from bench.entity import User
from bench.measure import AsyncTurn, SyncTurn
from hermetic import Database

GET, EMPTY, NESTED = "get", "empty", "nested"
WORKS = {
    GET: "open, get by key, commit",
    EMPTY: "empty scope",
    NESTED: "nested scope with one get",
}


def sqlalchemy_turns(engine: Engine) -> dict[str, SyncTurn]:
    """Plain SQLAlchemy; ``expire_on_commit=False``, so that its object too is readable after."""
    maker = sessionmaker(engine, expire_on_commit=False)

    def get(count: int) -> None:
        for _ in range(count):
            with maker.begin() as session:
                session.get(User, 1)

    def empty(count: int) -> None:
        for _ in range(count):
            with maker.begin():
                pass

    def nested(count: int) -> None:
        for _ in range(count):
            with maker.begin() as session, session.begin_nested():
                session.get(User, 1)

    return {GET: get, EMPTY: empty, NESTED: nested}


def hermetic_turns(db: Database) -> dict[str, SyncTurn]:
    """Scopes with no options, as ``db.session()`` gives them."""

    def get(count: int) -> None:
        for _ in range(count):
            with db.session() as session:
                session.get(User, 1)

    def empty(count: int) -> None:
        for _ in range(count):
            with db.session():
                pass

    def nested(count: int) -> None:
        for _ in range(count):
            with db.session(), db.session(propagation="nested") as session:
                session.get(User, 1)

    return {GET: get, EMPTY: empty, NESTED: nested}


def async_sqlalchemy_turns(engine: AsyncEngine) -> dict[str, AsyncTurn]:
    """As ``sqlalchemy_turns``."""
    maker = async_sessionmaker(engine, expire_on_commit=False)

    async def get(count: int) -> None:
        for _ in range(count):
            async with maker.begin() as session:
                await session.get(User, 1)

    async def empty(count: int) -> None:
        for _ in range(count):
            async with maker.begin():
                pass

    async def nested(count: int) -> None:
        for _ in range(count):
            async with maker.begin() as session, session.begin_nested():
                await session.get(User, 1)

    return {GET: get, EMPTY: empty, NESTED: nested}


def async_hermetic_turns(db: Database) -> dict[str, AsyncTurn]:
    """As ``hermetic_turns``."""

    async def get(count: int) -> None:
        for _ in range(count):
            async with db.session() as session:
                await session.get(User, 1)

    async def empty(count: int) -> None:
        for _ in range(count):
            async with db.session():
                pass

    async def nested(count: int) -> None:
        for _ in range(count):
            async with db.session(), db.session(propagation="nested") as session:
                await session.get(User, 1)

    return {GET: get, EMPTY: empty, NESTED: nested}
