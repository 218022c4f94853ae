"""All works of SQLAlchemy and of hermetic, on the engines or the Database of a stage.

SQLAlchemy's factories have ``expire_on_commit=False``: its objects too are readable after.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker
from sqlalchemy.orm import sessionmaker

from bench import orm, orm_bulk
from bench.contenders import AsyncWorks, Scopes, SyncWorks
from bench.entity import Entities, Sizes, declare
from hermetic import Database, Session

Empty = Callable[[], None]


def sqlalchemy_threads(engine: Engine, reader: Engine, sizes: Sizes, empty: Empty) -> SyncWorks:
    """Plain SQLAlchemy; the reader's connections cannot write."""
    entities = declare()
    scopes = Scopes(
        sessionmaker(engine, expire_on_commit=False).begin,
        sessionmaker(reader, expire_on_commit=False).begin,
    )
    return {
        **_threads(scopes, entities, sizes, empty),
        **orm.sqlalchemy_nested(scopes, entities),
        **orm_bulk.sqlalchemy_rows(scopes, entities),
    }


def hermetic_threads(db: Database, sizes: Sizes, empty: Empty) -> SyncWorks:
    """hermetic, with no option but ``readonly``."""
    entities = declare()
    scopes = hermetic_scopes(db)
    return {
        **_threads(scopes, entities, sizes, empty),
        **orm.hermetic_nested(db, entities),
        **(orm_bulk.hermetic_rows(scopes, entities) if hasattr(Session, "rows") else {}),
    }


def hermetic_scopes(db: Database) -> Scopes:
    return Scopes(db.session, partial(db.session, readonly=True))


def _threads(scopes: Scopes, entities: Entities, sizes: Sizes, empty: Empty) -> SyncWorks:
    return {
        **orm.read_turns(scopes, entities, sizes),
        **orm.write_turns(scopes, entities, sizes),
        **orm_bulk.load_turns(scopes, entities),
        **orm_bulk.write_many_turns(scopes, entities, sizes, empty),
        **orm_bulk.relation_turns(scopes, entities, sizes),
    }


def sqlalchemy_asyncio(engine: AsyncEngine, reader: AsyncEngine, sizes: Sizes) -> AsyncWorks:
    """As ``sqlalchemy_threads``, the works of asyncio."""
    entities = declare()
    scopes = Scopes(
        async_sessionmaker(engine, expire_on_commit=False).begin,
        async_sessionmaker(reader, expire_on_commit=False).begin,
    )
    return {
        **orm.async_read_turns(scopes, entities, sizes),
        **orm.async_write_turns(scopes, entities, sizes),
        **orm.async_sqlalchemy_nested(scopes, entities),
    }


def hermetic_asyncio(db: Database, sizes: Sizes) -> AsyncWorks:
    """As ``hermetic_threads``, the works of asyncio."""
    entities = declare()
    scopes = hermetic_scopes(db)
    return {
        **orm.async_read_turns(scopes, entities, sizes),
        **orm.async_write_turns(scopes, entities, sizes),
        **orm.async_hermetic_nested(db, entities),
    }
