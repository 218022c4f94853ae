"""The small works by SQLAlchemy and by hermetic, whose sessions are used alike.

Every function makes turns: a turn does one unit of work so many times. The ``with`` statements are
those that a user writes, ``with sessionmaker.begin() as session`` and ``with db.session() as
session``, and stand in the turn's own loop.
"""

from __future__ import annotations

from sqlalchemy import select

from bench.contenders import AsyncWorks, Scopes, SyncWorks
from bench.entity import Entities, Sizes, values
from bench.works import CHANGE, EMPTY, GET, INSERT, NESTED, READONLY, SELECT
from hermetic import Database


def read_turns(scopes: Scopes, entities: Entities, sizes: Sizes) -> SyncWorks:
    """Units that load one object."""
    user, begin, read = entities.user, scopes.open, scopes.read

    def get(count: int) -> None:
        for number in range(count):
            with begin() as session:
                session.get(user, 1 + number % sizes.small)

    def select_one(count: int) -> None:
        for number in range(count):
            key = 1 + number % sizes.small
            with begin() as session:
                session.scalars(select(user).where(user.id == key)).one()

    def readonly(count: int) -> None:
        for number in range(count):
            with read() as session:
                session.get(user, 1 + number % sizes.small)

    return {GET: get, SELECT: select_one, READONLY: readonly}


def write_turns(scopes: Scopes, entities: Entities, sizes: Sizes) -> SyncWorks:
    """Units that write one object, and one that does nothing."""
    user, person, begin = entities.user, entities.person, scopes.open

    def insert(count: int) -> None:
        for number in range(count):
            with begin() as session:
                session.add(person(**values(number)))

    def change(count: int) -> None:
        for number in range(count):
            with begin() as session:
                session.get(user, 1 + number % sizes.small).age += 1

    def empty(count: int) -> None:
        for _ in range(count):
            with begin():
                pass

    return {INSERT: insert, CHANGE: change, EMPTY: empty}


def async_read_turns(scopes: Scopes, entities: Entities, sizes: Sizes) -> AsyncWorks:
    """As ``read_turns``."""
    user, begin, read = entities.user, scopes.open, scopes.read

    async def get(count: int) -> None:
        for number in range(count):
            async with begin() as session:
                await session.get(user, 1 + number % sizes.small)

    async def select_one(count: int) -> None:
        for number in range(count):
            key = 1 + number % sizes.small
            async with begin() as session:
                (await session.scalars(select(user).where(user.id == key))).one()

    async def readonly(count: int) -> None:
        for number in range(count):
            async with read() as session:
                await session.get(user, 1 + number % sizes.small)

    return {GET: get, SELECT: select_one, READONLY: readonly}


def async_write_turns(scopes: Scopes, entities: Entities, sizes: Sizes) -> AsyncWorks:
    """As ``write_turns``."""
    user, person, begin = entities.user, entities.person, scopes.open

    async def insert(count: int) -> None:
        for number in range(count):
            async with begin() as session:
                session.add(person(**values(number)))

    async def change(count: int) -> None:
        for number in range(count):
            async with begin() as session:
                (await session.get(user, 1 + number % sizes.small)).age += 1

    async def empty(count: int) -> None:
        for _ in range(count):
            async with begin():
                pass

    return {INSERT: insert, CHANGE: change, EMPTY: empty}


# ---------------------------------------------------------------- a scope in a scope


def sqlalchemy_nested(scopes: Scopes, entities: Entities) -> SyncWorks:
    """SQLAlchemy's savepoint."""
    user, begin = entities.user, scopes.open

    def nested(count: int) -> None:
        for _ in range(count):
            with begin() as session, session.begin_nested():
                session.get(user, 1)

    return {NESTED: nested}


def hermetic_nested(db: Database, entities: Entities) -> SyncWorks:
    """hermetic's scope in a scope, with a savepoint."""
    user = entities.user

    def nested(count: int) -> None:
        for _ in range(count):
            with db.session(), db.session(propagation="nested") as session:
                session.get(user, 1)

    return {NESTED: nested}


def async_sqlalchemy_nested(scopes: Scopes, entities: Entities) -> AsyncWorks:
    """As ``sqlalchemy_nested``."""
    user, begin = entities.user, scopes.open

    async def nested(count: int) -> None:
        for _ in range(count):
            async with begin() as session, session.begin_nested():
                await session.get(user, 1)

    return {NESTED: nested}


def async_hermetic_nested(db: Database, entities: Entities) -> AsyncWorks:
    """As ``hermetic_nested``."""
    user = entities.user

    async def nested(count: int) -> None:
        for _ in range(count):
            async with db.session(), db.session(propagation="nested") as session:
                await session.get(user, 1)

    return {NESTED: nested}
