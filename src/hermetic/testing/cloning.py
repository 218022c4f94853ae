"""How each family makes a database as a copy of another one, and ends it again."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from sqlalchemy import URL, Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from ..dialects.family import Family
from ..dialects.mysql import MySQL
from ..dialects.postgresql import PostgreSQL
from ..dialects.sqlite import SQLite
from .errors import TemplateError

# who made a routine, trigger or view: the one who copies it makes the copy
_DEFINER = re.compile(r"\sDEFINER=\S+", re.IGNORECASE)


class Cloning:
    """Copies databases of one family.

    ``served``: there is a server, to which ``entrance`` leads without the database in question.
    """

    served: ClassVar[bool] = True

    def entrance(self, url: URL) -> URL:
        """Where databases are made and dropped from."""
        return url.set(database=None)

    def create(self, engine: Engine | None, url: URL) -> None:
        """Make an empty database."""
        with _connected(engine) as connection:
            _send(connection, f"CREATE DATABASE {_quoted(connection, url)}")

    def clone(self, engine: Engine | None, source: URL, target: URL) -> None:
        """Make a database as ``source`` is.

        :raises TemplateError: that is in use, or holds what cannot be copied.
        """
        raise NotImplementedError

    def drop(self, engine: Engine | None, url: URL) -> None:
        """End a database, whoever is connected to it."""
        with _connected(engine) as connection:
            _send(connection, f"DROP DATABASE IF EXISTS {_quoted(connection, url)}")

    def named(self, url: URL, name: str) -> URL:
        """The URL of another database at the same place."""
        return url.set(database=name)


class CloningPostgreSQL(Cloning):
    """PostgreSQL copies a database itself: ``CREATE DATABASE … TEMPLATE``."""

    def entrance(self, url: URL) -> URL:
        return url.set(database="postgres")

    def clone(self, engine: Engine | None, source: URL, target: URL) -> None:
        with _connected(engine) as connection:
            made, template = _quoted(connection, target), _quoted(connection, source)
            try:
                _send(connection, f"CREATE DATABASE {made} TEMPLATE {template}")
            except DBAPIError as error:
                if "being accessed" not in str(error.orig):
                    raise
                raise TemplateError(
                    f"Database {source.database!r} cannot be copied while somebody is connected "
                    "to it.",
                    hint="Close every Database and engine on it first; a template is for copying "
                    "alone.",
                ) from error

    def drop(self, engine: Engine | None, url: URL) -> None:
        with _connected(engine) as connection:
            # DROP DATABASE … WITH (FORCE) is of PostgreSQL 13
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
                ),
                {"name": url.database},
            )
            super().drop(engine, url)


class CloningMySQL(Cloning):
    """MariaDB and MySQL have no copies of databases: each table is made, and filled, again."""

    def clone(self, engine: Engine | None, source: URL, target: URL) -> None:
        self.create(engine, target)
        with _connected(engine) as connection:
            one, other = _quoted(connection, source), _quoted(connection, target)
            _send(connection, "SET SESSION foreign_key_checks = 0")
            _send(connection, f"USE {other}")
            names = connection.execute(text(f"SHOW FULL TABLES FROM {one}")).all()
            tables = [_name(connection, each[0]) for each in names if each[1] == "BASE TABLE"]
            for name in tables:
                _send(connection, _shown(connection, f"SHOW CREATE TABLE {one}.{name}", 1))
            for name in tables:
                columns = _columns(connection, source.database, name)
                _send(
                    connection,
                    f"INSERT INTO {name} ({columns}) SELECT {columns} FROM {one}.{name}",
                )
            for kind in ("TRIGGER", "FUNCTION", "PROCEDURE"):
                for name in _routines(connection, source.database, kind):
                    _send(connection, _shown(connection, f"SHOW CREATE {kind} {one}.{name}", 2))
            for each in names:
                if each[1] == "VIEW":
                    shown = f"SHOW CREATE VIEW {one}.{_name(connection, each[0])}"
                    made = _shown(connection, shown, 1)
                    _send(connection, made.replace(f"{_always(source)}.", f"{_always(target)}."))


class CloningSQLite(Cloning):
    """SQLite: by its backup, which also copies a database that is in use, or in memory."""

    served: ClassVar[bool] = False

    def named(self, url: URL, name: str) -> URL:
        path = Path(tempfile.gettempdir()) / f"{name}.db"
        return url.set(database=str(path), query={})

    def create(self, engine: Engine | None, url: URL) -> None:
        sqlite3.connect(str(url.database)).close()

    def clone(self, engine: Engine | None, source: URL, target: URL) -> None:
        query = f"?vfs={source.query['vfs']}" if "vfs" in source.query else ""
        given = f"{source.database}{query}" if query else Path(str(source.database))
        if not query and not Path(str(source.database)).exists():
            raise TemplateError(
                f"There is no SQLite file {source.database!r} to be copied.",
                hint="A template has a file once something was written into it.",
            )
        with (
            contextlib.closing(sqlite3.connect(given, uri=bool(query))) as one,
            contextlib.closing(sqlite3.connect(str(target.database))) as other,
        ):
            one.backup(other)

    def drop(self, engine: Engine | None, url: URL) -> None:
        for ending in ("", "-wal", "-shm", "-journal"):
            Path(f"{url.database}{ending}").unlink(missing_ok=True)


_KINDS: tuple[tuple[type[Family], type[Cloning]], ...] = (
    (PostgreSQL, CloningPostgreSQL),
    (MySQL, CloningMySQL),
    (SQLite, CloningSQLite),
)


def cloning_of(family: Family) -> Cloning:
    """:raises TemplateError: nothing is known of how to copy a database of that family."""
    for known, kind in _KINDS:
        if isinstance(family, known):
            return kind()
    raise TemplateError(
        f"hermetic does not know how to copy a database of {family.name}.",
        hint="Make the tables in each test's database anew, or use sandbox().",
    )


@contextlib.contextmanager
def _connected(engine: Engine | None) -> Iterator[Connection]:
    assert engine is not None
    with engine.connect() as connection:
        yield connection


def _send(connection: Connection, statement: str) -> None:
    connection.exec_driver_sql(statement.replace("%", "%%"))


def _quoted(connection: Connection, url: URL) -> str:
    return _name(connection, str(url.database))


def _name(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote_identifier(name)


def _always(url: URL) -> str:
    return f"`{url.database}`"


def _shown(connection: Connection, statement: str, column: int) -> str:
    row: Any = connection.execute(text(statement.replace(":", r"\:"))).one()
    return _DEFINER.sub("", str(row[column]), count=1)


def _columns(connection: Connection, schema: str | None, table: str) -> str:
    """Those that are not made from others."""
    found = connection.execute(
        text(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = :schema "
            "AND table_name = :table AND coalesce(generation_expression, '') = '' "
            "ORDER BY ordinal_position"
        ),
        {"schema": schema, "table": table.strip("`").replace("``", "`")},
    )
    return ", ".join(_name(connection, name) for name in found.scalars())


def _routines(connection: Connection, schema: str | None, kind: str) -> list[str]:
    query = (
        "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = :schema"
        if kind == "TRIGGER"
        else "SELECT routine_name FROM information_schema.routines "
        "WHERE routine_schema = :schema AND routine_type = :kind"
    )
    given = {"schema": schema} if kind == "TRIGGER" else {"schema": schema, "kind": kind}
    found = connection.execute(text(query), given)
    return [_name(connection, name) for name in found.scalars()]
