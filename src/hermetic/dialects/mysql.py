"""MariaDB and MySQL, by PyMySQL, mysqlclient and asyncmy."""

from __future__ import annotations

import asyncio
import math
import re
import ssl
from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar

from sqlalchemy import URL

from ..errors import InvalidOption
from ..options import DatabaseOptions, Isolation
from . import galera, keepalive, mysql_hosts, mysql_remains, mysql_reset, tls
from .commits import Commits, MySQLCommits
from .exchanges import Commanding, counter
from .family import (
    Begin,
    Driver,
    EngineSettings,
    Family,
    break_descriptor,
    break_socket,
    drop_transport,
)
from .harmless import MYSQL
from .positions import MySQLPositions, Positions, Sight
from .pymysql_connecting import Reusing
from .text import head
from .two_phase import XA, TwoPhase

# what SET STATEMENT … FOR may stand before; a SAVEPOINT or a SET may not
_LIMITED = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|REPLACE|WITH|CALL|LOAD)\b", re.IGNORECASE)

# what commits the open transaction (MariaDB 10.11, "SQL statements that cause an implicit commit");
# temporary tables do not
_DDL = re.compile(
    r"\s*((CREATE|ALTER|DROP)\s+(?!(OR\s+REPLACE\s+)?TEMPORARY\b)|TRUNCATE\b|RENAME\b|GRANT\b"
    r"|REVOKE\b|LOCK\s+TABLES?\b|UNLOCK\s+TABLES?\b|ANALYZE\s+TABLE\b|OPTIMIZE\b|REPAIR\b)",
    re.IGNORECASE,
)

_NEXT = re.compile(r"SET\s+TRANSACTION\b", re.IGNORECASE)

# SERVER_STATUS_IN_TRANS, of the last answer
_IN_TRANSACTION = 1


class MySQL(Family):
    """MariaDB 10.5 and later, measured on 10.11; MySQL 8 as far as it is the same."""

    name: ClassVar[str] = "mysql"
    schemes: ClassVar[tuple[str, ...]] = ("mysql", "mariadb")
    isolation_levels: ClassVar[frozenset[Isolation]] = frozenset(Isolation)
    default_isolation: ClassVar[Isolation] = Isolation.REPEATABLE_READ
    reads_while_streaming: ClassVar[bool] = False
    sync_drivers: ClassVar[tuple[Driver, ...]] = (
        Driver("mysqldb", "MySQLdb", "mysqlclient"),
        Driver("pymysql", "pymysql", "mysql", (1, 1)),
    )
    async_drivers: ClassVar[tuple[Driver, ...]] = (
        Driver("asyncmy", "asyncmy", "mysql", (0, 2, 13), "earlier ones mix up rows (#103)"),
    )
    has_readers: ClassVar[bool] = True
    code_commits: ClassVar[bool] = True
    commits: ClassVar[Commits] = MySQLCommits()
    functions: ClassVar[frozenset[str]] = MYSQL
    positions: ClassVar[Positions] = MySQLPositions()
    two_phase: ClassVar[TwoPhase | None] = XA()

    def engine_settings(
        self, url: URL, driver: str, options: DatabaseOptions, *, reader: bool, asynchronous: bool
    ) -> EngineSettings:
        settings: dict[str, Any] = {"connect_timeout": max(1, math.ceil(options.connect_timeout))}
        how = self._tls(url, options)
        if how is not None:
            settings |= _secured(how, driver)
        if "charset" not in url.query:
            settings["charset"] = "utf8mb4"
        if driver == "asyncmy":
            settings["async_creator_fn"] = _connect_asyncmy
        elif driver == "pymysql" and "read_timeout" not in options.connect_args:
            # connect_timeout ends with TCP's handshake (PyMySQL 1.2); a server that accepts and
            # says nothing would be waited for without end. Taken back once it has answered
            settings["read_timeout"] = settings["write_timeout"] = settings["connect_timeout"]
        engine: dict[str, Any] = {}
        if reader and self.reads_apart(options):
            engine["isolation_level"] = "AUTOCOMMIT"
        if driver == "pymysql" and "module" not in options.engine_options:
            import pymysql

            engine["module"] = Reusing(pymysql)
        return EngineSettings(settings, engine)

    def check(self, url: URL, options: DatabaseOptions) -> None:
        self.check_pooler(url, options)
        self._tls(url, options)

    def _tls(self, url: URL, options: DatabaseOptions) -> Any:
        told = tls.given(url, options)
        said = [name for name in told if name.startswith("ssl")]
        # a socket goes before any host
        hosts = () if told.get("unix_socket") else tls.hosts_of(url, told, names=("host",))
        return tls.wanted(url, options, said, hosts)

    def takes_comment(self, *, many: bool) -> bool:
        # the drivers tell by the form of an INSERT, to its end, that it may be sent for many rows
        return not many

    def has_several_hosts(self, url: URL, options: DatabaseOptions) -> bool:
        return len(tls.hosts_of(url, tls.given(url, options), names=("host",))) > 1

    def connect(
        self, connect: Callable[..., Any], driver: str, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        hosts = kwargs.get("host")
        if isinstance(hosts, str) and "," in hosts:
            hosts = hosts.split(",")
        if isinstance(hosts, (tuple, list)):
            return mysql_hosts.connect(connect, hosts, args, kwargs)
        return connect(*args, **kwargs)

    def sight(self, dbapi: Any, dialect: Any) -> Sight:
        if getattr(dialect, "is_mariadb", False):
            cursor = dbapi.cursor()
            try:
                if galera.is_node(cursor, dialect):
                    return galera.sight(cursor, self.positions)
            finally:
                cursor.close()
        return super().sight(dbapi, dialect)

    def leaves(self, statement: str) -> bool:
        # outside of a transaction it is for the next one, whoever begins that
        return super().leaves(statement) or _NEXT.match(head(statement)) is not None

    def reads_apart(self, options: DatabaseOptions) -> bool:
        return "isolation_level" not in options.engine_options

    def greet(
        self, dbapi: Any, driver: str, options: DatabaseOptions, *, reader: bool, until: float
    ) -> bool:
        _keep_alive(getattr(dbapi, "driver_connection", dbapi), driver)
        if driver == "pymysql" and "read_timeout" not in options.connect_args:
            dbapi._read_timeout = dbapi._write_timeout = None
        apart = reader and self.reads_apart(options)
        cursor = dbapi.cursor()
        try:
            cursor.execute("SELECT version()")
            mariadb = "mariadb" in str(cursor.fetchone()[0]).lower()
            cursor.execute(_session_settings(options, mariadb=mariadb, autocommit=apart))
            if reader:
                cursor.execute("SET SESSION TRANSACTION READ ONLY")
        finally:
            cursor.close()
        dbapi.commit()
        return False  # REPEATABLE READ: the first read makes the snapshot of all that follow

    def restore(
        self,
        dbapi: Any,
        driver: str,
        options: DatabaseOptions,
        wait: Callable[[Any], Any],
        *,
        reader: bool,
        until: float,
    ) -> bool:
        raw = getattr(dbapi, "driver_connection", dbapi)
        if mysql_hosts.is_set_up(raw) or not mysql_reset.reset(raw, driver, wait):
            return False
        self.greet(dbapi, driver, options, reader=reader, until=until)
        return True

    def connect_timeout(
        self, driver: str, connect_args: dict[str, Any], remaining: float | None
    ) -> None:
        if remaining is None:
            return
        if driver == "asyncmy":
            given = connect_args.get("connect_timeout", remaining)
            connect_args["connect_timeout"] = min(given, remaining)
            return
        # PyMySQL takes any number, mysqlclient whole ones
        whole = remaining if driver == "pymysql" else max(1, math.ceil(remaining))
        for name in ("connect_timeout", "read_timeout", "write_timeout"):
            if connect_args.get(name) is not None:
                connect_args[name] = min(connect_args[name], whole)

    def execution_options(self, begin: Begin) -> dict[str, Any]:
        # the level travels with SET TRANSACTION, which one transaction uses up
        return {"isolation_level": "AUTOCOMMIT"} if begin.plain else {}

    def begin_statements(self, begin: Begin) -> tuple[str, ...]:
        if begin.plain or begin.isolation is None:
            return ()
        # START TRANSACTION at once: a SET TRANSACTION left unused would go to the next borrower
        start = "START TRANSACTION READ ONLY" if begin.readonly else "START TRANSACTION"
        return (f"SET TRANSACTION ISOLATION LEVEL {begin.isolation.value}", start)

    def lean_begin(
        self, driver: str, options: DatabaseOptions, begin: Begin
    ) -> tuple[str, ...] | None:
        # the driver's own transactions begin with the first statement
        return (
            () if driver in ("pymysql", "mysqldb") and not self.execution_options(begin) else None
        )

    def limits_ahead(self, driver: str) -> bool:
        return True

    def limit_statement(
        self, dialect: Any, statement: str, seconds: float, *, plain: bool
    ) -> tuple[str | None, str]:
        # MariaDB 10.1+ takes the limit as part of the statement. MySQL has none for writes; there
        # the client's own watch on the deadline has to do
        if not getattr(dialect, "is_mariadb", False) or not _LIMITED.match(head(statement)):
            return None, statement
        return None, f"SET STATEMENT max_statement_time={max(0.001, seconds):.3f} FOR {statement}"

    def commits_implicitly(self, statement: str) -> bool:
        return _DDL.match(statement) is not None

    def server_gave_up(self, dbapi: Any, driver: str, *, worked: bool) -> bool:
        # SERVER_STATUS_IN_TRANS is off before the first statement that touches a table, and
        # nothing tells which one that was: the errors that were seen have to do
        return False

    def probe(self, dbapi: Any, driver: str) -> Callable[[], bool] | None:
        raw = getattr(dbapi, "driver_connection", dbapi)
        if not isinstance(getattr(raw, "server_status", None), int):
            return None
        return lambda: bool(raw.server_status & _IN_TRANSACTION)

    def exchanges(self, dbapi: Any, driver: str) -> Callable[[], int] | None:
        return counter(getattr(dbapi, "driver_connection", dbapi))

    def is_clean(self, dbapi: Any, driver: str) -> bool:
        raw = getattr(dbapi, "driver_connection", dbapi)
        status = getattr(raw, "server_status", None)
        return isinstance(status, int) and not status & _IN_TRANSACTION

    def seen_as(self, dbapi: Any, driver: str) -> str | None:
        return mysql_remains.address(getattr(dbapi, "driver_connection", dbapi), driver)

    def end_remains(self, connection: Any, backend: int, seen_as: str, age: float) -> None:
        mysql_remains.end(connection, backend, seen_as, age)

    def abandon(self, dbapi: Any, driver: str) -> None:
        super().abandon(dbapi, driver)
        if driver == "asyncmy":
            drop_transport(getattr(getattr(dbapi, "driver_connection", dbapi), "_transport", None))

    def breaker(self, dbapi: Any, driver: str) -> Callable[[], None] | None:
        raw = getattr(dbapi, "driver_connection", dbapi)
        if driver == "asyncmy":
            return break_socket(_asyncmy_socket(raw))
        if driver == "mysqldb":
            return break_descriptor(raw.fileno) if hasattr(raw, "fileno") else None
        return break_socket(getattr(raw, "_sock", None))


def _secured(how: Any, driver: str) -> dict[str, Any]:
    if driver == "mysqldb":
        return _secured_by_c(how)
    if how == tls.OFF:
        # asyncmy uses none unless it is told to
        return {"ssl_disabled": True} if driver == "pymysql" else {}
    return {"ssl": tls.context_for(how)}


def _secured_by_c(how: Any) -> dict[str, Any]:
    if isinstance(how, ssl.SSLContext):
        hint = "Give the path of a file of certificates."
        problem = "cannot be used by mysqlclient"
        raise InvalidOption("tls", ..., problem, place="Database()", hint=hint)
    if how in (tls.OFF, tls.REQUIRE):
        return {"ssl_mode": "DISABLED" if how == tls.OFF else "REQUIRED"}
    file = ssl.get_default_verify_paths().cafile if how == tls.VERIFY else str(how)
    return {"ssl_mode": "VERIFY_IDENTITY", "ssl": {"ca": file}}


def _asyncmy_socket(raw: Any) -> Any:
    transport = getattr(raw, "_transport", None)
    return None if transport is None else transport.get_extra_info("socket")


def _keep_alive(raw: Any, driver: str) -> None:
    """The drivers turn keepalive on, and leave its two hours as they are."""
    if driver == "asyncmy":
        keepalive.keep_alive(_asyncmy_socket(raw))
    elif driver == "pymysql":
        keepalive.keep_alive(getattr(raw, "_sock", None))
    elif hasattr(raw, "fileno"):
        keepalive.keep_alive_by_number(raw.fileno)


@lru_cache
def _counting_asyncmy() -> Any:
    from asyncmy.connection import Connection

    return type("CountingConnection", (Commanding, Connection), {})


async def _connect_asyncmy(*args: Any, connect_timeout: float, **kwargs: Any) -> Any:
    """asyncmy bounds only TCP's handshake (0.2.18), not the server's greeting."""
    kwargs["connect_timeout"] = max(1, math.ceil(connect_timeout))
    async with asyncio.timeout(connect_timeout):
        made = _counting_asyncmy()(*args, **kwargs)
        await made.connect()
    mysql_reset.remember(made, kwargs)
    return made


def _session_settings(options: DatabaseOptions, *, mariadb: bool, autocommit: bool) -> str:
    settings = [f"autocommit = {autocommit:d}"]
    if options.lock_timeout is not None:
        settings.append(f"innodb_lock_wait_timeout = {max(1, math.ceil(options.lock_timeout))}")
        settings.append(f"lock_wait_timeout = {max(1, math.ceil(options.lock_timeout))}")
    if mariadb:
        if options.idle_in_transaction_timeout is not None:
            idle = max(1, math.ceil(options.idle_in_transaction_timeout))
            settings.append(f"idle_transaction_timeout = {idle}")
        if options.statement_timeout is not None:
            settings.append(f"max_statement_time = {options.statement_timeout:.3f}")
    elif options.statement_timeout is not None:
        settings.append(f"max_execution_time = {math.ceil(options.statement_timeout * 1000)}")
    return "SET SESSION " + ", ".join(settings)
