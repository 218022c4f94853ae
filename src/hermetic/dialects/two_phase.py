"""How a transaction is prepared: kept by its server, whatever becomes of the client, until somebody
commits it or rolls it back.

A prepared transaction has a name that tells whose it is: of which group, by which log of decisions,
of which unit, and of which of the group's databases it is the part.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from sqlalchemy import exc as sa_exc

from ..errors import RolledBack

# "herm"; what tells our transactions from those of others in XA RECOVER
_FORMAT = 0x6865726D


@dataclass(frozen=True, slots=True)
class Name:
    """The name of one database's part of a unit. What is in it needs no quoting."""

    group: str
    log: str
    unit: str
    key: str

    @property
    def prefix(self) -> str:
        """What every name of this group and log begins with."""
        return f"{self.group}:{self.log}:"

    def __str__(self) -> str:
        return f"{self.prefix}{self.unit}:{self.key}"


class TwoPhase:
    """What is asked of a database that can prepare transactions.

    ``dbapi`` is a pool's connection, as SQLAlchemy's dialect is given it, ``wait`` gives the result
    of a driver's awaitable, ``connection`` is one of SQLAlchemy's in autocommit.
    """

    # whether such a transaction begins with a statement of its own
    begins: ClassVar[bool] = False

    def begin(self, dbapi: Any, name: Name, isolation: str | None) -> None:
        """Begin one, where ``begins`` is true."""

    def prepare(self, dbapi: Any, driver: str, name: Name, wait: Callable[[Any], Any]) -> None:
        """:raises RolledBack: the server has rolled it back instead."""
        raise NotImplementedError

    def end(
        self,
        dbapi: Any,
        driver: str,
        name: Name,
        wait: Callable[[Any], Any],
        *,
        commit: bool,
        prepared: bool,
    ) -> bool:
        """Commit or roll back, on the connection that began it.

        :return: whether that was all there is to do; otherwise the driver's own way has to follow.
        """
        raise NotImplementedError

    def finish(self, connection: Any, name: Name, *, commit: bool) -> str | None:
        """Commit or roll back what is prepared, on another connection.

        :return: why it could not be done; ``None`` where nothing of it is prepared any more.
        """
        try:
            connection.exec_driver_sql(self.finishing(name, commit=commit))
        except sa_exc.DBAPIError as error:
            # somebody else was faster, or its own session is still there
            if error.connection_invalidated or name.unit in self.listed(connection, name):
                return str(error.orig).strip().partition("\n")[0]
        return None

    def finishing(self, name: Name, *, commit: bool) -> str:
        """The statement that ends what is prepared."""
        raise NotImplementedError

    def listed(self, connection: Any, name: Name) -> set[str]:
        """The units of a group and log of which a database has a prepared part.

        :param name: of whichever unit.
        """
        raise NotImplementedError

    def problem(self, connection: Any) -> str | None:
        """Why a server cannot do it, or ``None``; asked inside a transaction."""
        return None


def _say(dbapi: Any, *statements: str) -> str | None:
    """Send statements; the tag that the driver has of the last answer."""
    cursor = dbapi.cursor()
    try:
        for statement in statements:
            cursor.execute(statement)
        tag: str | None = getattr(getattr(cursor, "_cursor", cursor), "statusmessage", None)
        return tag
    finally:
        cursor.close()


def _sent(dbapi: Any, statement: str, wait: Callable[[Any], Any]) -> str | None:
    """As ``_say``, past asyncpg's adapter, which would begin a transaction first."""
    try:
        tag: str = wait(dbapi.driver_connection.execute(statement))
    except Exception as error:
        dbapi._handle_exception(error)
        raise
    return tag


class PostgreSQLTwoPhase(TwoPhase):
    """PREPARE TRANSACTION. Names are those of the whole server, the transactions a database's."""

    def prepare(self, dbapi: Any, driver: str, name: Name, wait: Callable[[Any], Any]) -> None:
        statement = f"PREPARE TRANSACTION '{_gid(name)}'"
        if driver == "asyncpg":
            tag = _sent(dbapi, statement, wait)
            # adapter and driver take the transaction for open; the server warns that it is not
            dbapi.rollback()
        else:
            tag = _say(dbapi, statement)
        if tag == "ROLLBACK":
            # of a transaction that an error has aborted, and without an error (PostgreSQL 15)
            raise RolledBack("Nothing was prepared: the server answered with ROLLBACK.")

    def end(
        self,
        dbapi: Any,
        driver: str,
        name: Name,
        wait: Callable[[Any], Any],
        *,
        commit: bool,
        prepared: bool,
    ) -> bool:
        if not prepared:
            return False
        statement = self.finishing(name, commit=commit)
        if driver == "asyncpg":
            _sent(dbapi, statement, wait)
            return True
        # inside a transaction block it is refused, and the driver begins one otherwise
        inner = dbapi.dbapi_connection
        inner.autocommit = True
        try:
            _say(dbapi, statement)
        finally:
            with contextlib.suppress(Exception):
                inner.autocommit = False
        return True

    def finishing(self, name: Name, *, commit: bool) -> str:
        return f"{'COMMIT' if commit else 'ROLLBACK'} PREPARED '{_gid(name)}'"

    def listed(self, connection: Any, name: Name) -> set[str]:
        begins, ends = f"hermetic:{name.prefix}", f":{name.key}"
        found = connection.exec_driver_sql(
            "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
        ).scalars()
        return {
            gid[len(begins) : -len(ends)]
            for gid in found
            if gid.startswith(begins) and gid.endswith(ends)
        }

    def problem(self, connection: Any) -> str | None:
        if connection.exec_driver_sql("SHOW max_prepared_transactions").scalar() == "0":
            return "needs a server with max_prepared_transactions above 0 (then a restart)"
        return None


def _gid(name: Name) -> str:
    return f"hermetic:{name}"


class XA(TwoPhase):
    """MariaDB's and MySQL's XA.

    A session that is in one can do nothing else, not even COMMIT (1399). What is prepared outlives
    its session since MariaDB 10.5 (MDEV-742) and MySQL 5.7.7, and another one ends it when that
    one is gone; one that is not in autocommit gets 1400 (MariaDB 10.11).
    """

    begins: ClassVar[bool] = True

    def begin(self, dbapi: Any, name: Name, isolation: str | None) -> None:
        level = () if isolation is None else (f"SET TRANSACTION ISOLATION LEVEL {isolation}",)
        _say(dbapi, *level, f"XA START {_xid(name)}")

    def prepare(self, dbapi: Any, driver: str, name: Name, wait: Callable[[Any], Any]) -> None:
        _say(dbapi, f"XA END {_xid(name)}", f"XA PREPARE {_xid(name)}")

    def end(
        self,
        dbapi: Any,
        driver: str,
        name: Name,
        wait: Callable[[Any], Any],
        *,
        commit: bool,
        prepared: bool,
    ) -> bool:
        if not prepared and commit:
            _say(dbapi, f"XA END {_xid(name)}", f"{self.finishing(name, commit=True)} ONE PHASE")
            return True
        if not prepared:
            # refused where it has ended already, as by a deadlock (1614)
            with contextlib.suppress(Exception):
                _say(dbapi, f"XA END {_xid(name)}")
        _say(dbapi, self.finishing(name, commit=commit))
        return True

    def finishing(self, name: Name, *, commit: bool) -> str:
        return f"XA {'COMMIT' if commit else 'ROLLBACK'} {_xid(name)}"

    def listed(self, connection: Any, name: Name) -> set[str]:
        found = set()
        for form, length, _, data in connection.exec_driver_sql("XA RECOVER"):
            if int(form) != _FORMAT:
                continue
            whole = data.decode("latin-1") if isinstance(data, bytes) else str(data)
            named, key = whole[: int(length)], whole[int(length) :]
            if key == name.key and named.startswith(name.prefix):
                found.add(named[len(name.prefix) :])
        return found

    def problem(self, connection: Any) -> str | None:
        version = connection.dialect.server_version_info
        oldest = (10, 5) if getattr(connection.dialect, "is_mariadb", False) else (5, 7, 7)
        if version is not None and version < oldest:
            wanted = ".".join(map(str, oldest))
            return f"needs {wanted} or later: before, a prepared transaction ends with its client"
        return None


def _xid(name: Name) -> str:
    unit = f"{name.prefix}{name.unit}".encode().hex()
    return f"X'{unit}',X'{name.key.encode().hex()}',{_FORMAT}"
