"""All works of SQLAlchemy and of hermetic, on the engines or the Database of a stage.

SQLAlchemy's factories have ``expire_on_commit=False``: its objects too are readable after.
"""

from __future__ import annotations

from functools import partial

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker
from sqlalchemy.orm import sessionmaker

from bench import orm
from bench.contenders import AsyncWorks, Scopes, SyncWorks
from bench.entity import Sizes, declare
from hermetic import Database


def sqlalchemy_threads(engine: Engine, reader: Engine, sizes: Sizes) -> SyncWorks:
    """Plain SQLAlchemy; the reader's connections cannot write."""
    entities = declare()
    scopes = Scopes(
        sessionmaker(engine, expire_on_commit=False).begin,
        sessionmaker(reader, expire_on_commit=False).begin,
    )
    return {
        **orm.read_turns(scopes, entities, sizes),
        **orm.write_turns(scopes, entities, sizes),
        **orm.sqlalchemy_nested(scopes, entities),
    }


def hermetic_threads(db: Database, sizes: Sizes) -> SyncWorks:
    """hermetic, with no option but ``readonly``."""
    entities = declare()
    scopes = Scopes(db.session, partial(db.session, readonly=True))
    return {
        **orm.read_turns(scopes, entities, sizes),
        **orm.write_turns(scopes, entities, sizes),
        **orm.hermetic_nested(db, entities),
    }


def sqlalchemy_asyncio(engine: AsyncEngine, reader: AsyncEngine, sizes: Sizes) -> AsyncWorks:
    """As ``sqlalchemy_threads``."""
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
    """As ``hermetic_threads``."""
    entities = declare()
    scopes = Scopes(db.session, partial(db.session, readonly=True))
    return {
        **orm.async_read_turns(scopes, entities, sizes),
        **orm.async_write_turns(scopes, entities, sizes),
        **orm.async_hermetic_nested(db, entities),
    }
