"""MariaDB and MySQL, by PyMySQL, mysqlclient and asyncmy."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, ClassVar

from sqlalchemy import URL

from ..options import DatabaseOptions, Isolation
from .family import Begin, Driver, EngineSettings, Family, break_descriptor, break_socket

# what SET STATEMENT … FOR may stand before; a SAVEPOINT or a SET may not
_LIMITED = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|REPLACE|WITH|CALL|LOAD)\b", re.IGNORECASE)


class MySQL(Family):
    """MariaDB 10.5 and later, measured on 10.11; MySQL 8 as far as it is the same."""

    name: ClassVar[str] = "mysql"
    schemes: ClassVar[tuple[str, ...]] = ("mysql", "mariadb")
    isolation_levels: ClassVar[frozenset[Isolation]] = frozenset(Isolation)
    default_isolation: ClassVar[Isolation] = Isolation.REPEATABLE_READ
    sync_drivers: ClassVar[tuple[Driver, ...]] = (
        Driver("mysqldb", "MySQLdb", "mysqlclient"),
        Driver("pymysql", "pymysql", "mysql", (1, 1)),
    )
    async_drivers: ClassVar[tuple[Driver, ...]] = (
        Driver("asyncmy", "asyncmy", "mysql", (0, 2, 13), "earlier ones mix up rows (#103)"),
    )
    has_readers: ClassVar[bool] = True

    def engine_settings(
        self, url: URL, driver: str, options: DatabaseOptions, *, reader: bool
    ) -> EngineSettings:
        settings: dict[str, Any] = {"connect_timeout": max(1, math.ceil(options.connect_timeout))}
        if "charset" not in url.query:
            settings["charset"] = "utf8mb4"
        return EngineSettings(settings)

    def greet(self, dbapi: Any, driver: str, options: DatabaseOptions, *, reader: bool) -> None:
        cursor = dbapi.cursor()
        try:
            cursor.execute("SELECT version()")
            mariadb = "mariadb" in str(cursor.fetchone()[0]).lower()
            cursor.execute("SET SESSION " + _session_settings(options, mariadb=mariadb))
            if reader:
                cursor.execute("SET SESSION TRANSACTION READ ONLY")
        finally:
            cursor.close()
        dbapi.commit()

    def connect_timeout(self, driver: str, connect_args: dict[str, Any], remaining: float) -> None:
        whole = max(1, math.ceil(remaining))
        connect_args["connect_timeout"] = min(
            int(connect_args.get("connect_timeout", whole)), whole
        )

    def execution_options(self, begin: Begin) -> dict[str, Any]:
        # the level travels with SET TRANSACTION, which one transaction uses up
        return {"isolation_level": "AUTOCOMMIT"} if begin.plain else {}

    def begin_statements(self, begin: Begin) -> tuple[str, ...]:
        if begin.plain or begin.isolation is None:
            return ()
        # START TRANSACTION at once: a SET TRANSACTION left unused would go to the next borrower
        start = "START TRANSACTION READ ONLY" if begin.readonly else "START TRANSACTION"
        return (f"SET TRANSACTION ISOLATION LEVEL {begin.isolation.value}", start)

    def limit_statement(
        self, dialect: Any, statement: str, seconds: float
    ) -> tuple[str | None, str]:
        # MariaDB 10.1+ takes the limit as part of the statement. MySQL has none for writes; there
        # the client's own watch on the deadline has to do
        if not getattr(dialect, "is_mariadb", False) or not _LIMITED.match(statement):
            return None, statement
        return None, f"SET STATEMENT max_statement_time={max(0.001, seconds):.3f} FOR {statement}"

    def breaker(self, dbapi: Any, driver: str) -> Callable[[], None] | None:
        raw = getattr(dbapi, "driver_connection", dbapi)
        if driver == "asyncmy":
            transport = getattr(raw, "_transport", None)
            return break_socket(None if transport is None else transport.get_extra_info("socket"))
        if driver == "mysqldb":
            return break_descriptor(raw.fileno()) if hasattr(raw, "fileno") else None
        return break_socket(getattr(raw, "_sock", None))


def _session_settings(options: DatabaseOptions, *, mariadb: bool) -> str:
    settings = ["autocommit = 0"]
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
    return ", ".join(settings)
