"""Who runs a case: plain SQLAlchemy, and hermetic by its scopes and by its drop-in names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Engine, create_engine, event, orm

import hermetic
from tests.differential.ground import Ground


class Contestant(Protocol):
    """One library on one database."""

    name: str
    ground: Ground

    @property
    def engine(self) -> Engine:
        """The engine that its sessions work on."""

    def scope(self, **options: Any) -> AbstractContextManager[Any]:
        """A session that is committed at the end of the block, or rolled back by an error."""

    def session(self, **options: Any) -> AbstractContextManager[Any]:
        """A session that is left to the block, and closed after it."""

    def close(self) -> None: ...


class ByFactory:
    """Sessions of a factory, in the way of SQLAlchemy's own documentation."""

    def __init__(self, name: str, factory: Any, engine: Engine, ground: Ground) -> None:
        self.name = name
        self.ground = ground
        self.engine = engine
        self._factory = factory

    @contextmanager
    def scope(self, **options: Any) -> Iterator[Any]:
        with self._factory(self.engine, expire_on_commit=False)(**options) as session:
            try:
                yield session
                session.commit()
            except BaseException:
                session.rollback()
                raise

    @contextmanager
    def session(self, **options: Any) -> Iterator[Any]:
        with self._factory(self.engine, **{"expire_on_commit": False, **options})() as session:
            yield session

    def close(self) -> None:
        self.engine.dispose()
        self.ground.close()


class Scoped:
    """Scopes of a Database."""

    def __init__(self, name: str, db: hermetic.Database, ground: Ground) -> None:
        self.name = name
        self.ground = ground
        self._db = db

    @property
    def engine(self) -> Engine:
        return self._db.engine

    def scope(self, **options: Any) -> AbstractContextManager[Any]:
        return self._db.session(**options)

    def session(self, **options: Any) -> AbstractContextManager[Any]:
        raise NotImplementedError("a scope's session is not driven by hand")

    def close(self) -> None:
        self._db.close()
        self.ground.close()


def sqlite_engine(url: str, *, foreign_keys: bool = True) -> Engine:
    return as_documented(create_engine(url), foreign_keys=foreign_keys)


def as_documented(engine: Engine, *, foreign_keys: bool = True) -> Engine:
    """SQLite as SQLAlchemy's documentation has it for savepoints, and with foreign keys."""

    @event.listens_for(engine, "connect")
    def connected(dbapi: Any, record: Any) -> None:
        dbapi.isolation_level = None
        for pragma in (
            f"foreign_keys = {'on' if foreign_keys else 'off'}",
            "journal_mode = wal",
            "synchronous = off",
        ):
            run(dbapi, f"PRAGMA {pragma}")

    def begin(dbapi_connection: Any) -> None:
        run(dbapi_connection.dbapi_connection, "BEGIN")

    def run(dbapi: Any, statement: str) -> None:
        cursor = dbapi.cursor()
        cursor.execute(statement)
        cursor.close()

    # SQLAlchemy's recipe has a listener for this; here it would be one that fast paths give way to
    engine.dialect.do_begin = begin  # type: ignore[method-assign]
    return engine


def on_sqlite(kind: str, folder: Path) -> Contestant:
    """A contestant on a file of its own: ``plain``, ``dropin`` or ``scoped``."""
    url = f"sqlite:///{folder}/{kind}.db"
    ground = Ground(sqlite_engine(url, foreign_keys=False))
    if kind == "scoped":
        return Scoped(
            kind, hermetic.Database(url, synchronous="off", hide_parameters=False), ground
        )
    factory = orm.sessionmaker if kind == "plain" else hermetic.sessionmaker
    return ByFactory(kind, factory, sqlite_engine(url), ground)
