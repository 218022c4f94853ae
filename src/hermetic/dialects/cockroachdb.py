"""CockroachDB, by psycopg 3 and asyncpg: PostgreSQL's protocol with other promises.

Known by its documentation, and tried on PostgreSQL behind a proxy that answers as CockroachDB would
(40001, 40003, 08007). So nothing is sent that only PostgreSQL is known to take: no function of its
log and its transactions, no statements that travel together, no BEGIN that is put off.

Its ``SAVEPOINT cockroach_restart`` is not used. It would cost each unit two round trips more, and
make RELEASE the moment of the commit; what it gains is a re-run that keeps its place among the
contenders, of statements that a client has to repeat all the same. A unit with a retry policy is
run again as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from sqlalchemy import URL

from ..errors import InvalidOption
from ..options import DatabaseOptions, Isolation
from ..tenancy import RowSecurity, SchemaPerTenant
from . import keepalive, pooling
from .commits import LOCK_SECONDS, Commits
from .family import Begin, Driver, Family
from .positions import Positions
from .postgresql import ASYNCPG, PSYCOPG, PostgreSQL, socket_of_asyncpg
from .two_phase import TwoPhase
from .wire import Wire


class CockroachDBCommits(Commits):
    """It has no memory of transactions that could be asked: a token it has to be."""

    searches: ClassVar[bool] = True

    def schema(self, connection: Any, table: str, database: str | None) -> str | None:
        found: str | None = connection.exec_driver_sql(
            "SELECT table_schema FROM information_schema.tables "
            f"WHERE table_name = '{table}' AND table_schema = ANY (current_schemas(false)) "
            "ORDER BY array_position(current_schemas(false), table_schema::name) LIMIT 1"
        ).scalar()
        return found

    def hurry(self, connection: Any) -> None:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")


class CockroachDB(PostgreSQL):
    """CockroachDB 21.2 and later, which is the first with ``SET LOCAL`` (cockroach #69224)."""

    name: ClassVar[str] = "cockroachdb"
    schemes: ClassVar[tuple[str, ...]] = ("cockroachdb",)
    # every level is taken; one that a cluster has not is given as the next stronger one
    default_isolation: ClassVar[Isolation] = Isolation.SERIALIZABLE
    sync_drivers: ClassVar[tuple[Driver, ...]] = (PSYCOPG,)
    async_drivers: ClassVar[tuple[Driver, ...]] = (PSYCOPG, ASYNCPG)
    has_tenants: ClassVar[bool] = False
    tells_level: ClassVar[bool] = False
    commits: ClassVar[Commits] = CockroachDBCommits()
    # it takes no PREPARE TRANSACTION
    two_phase: ClassVar[TwoPhase | None] = None
    # every node shows what was committed
    positions: ClassVar[Positions] = Positions()

    def check(self, url: URL, options: DatabaseOptions) -> None:
        super().check(url, options)
        self.check_pooler(url, options)
        if isinstance(options.tenants, (SchemaPerTenant, RowSecurity)):
            problem = "was not tried with CockroachDB in this form"
            hint = "DatabasePerTenant works everywhere."
            raise InvalidOption("tenants", ..., problem, place="Database()", hint=hint)

    def has_several_hosts(self, url: URL, options: DatabaseOptions) -> bool:
        return False  # each of them takes writes

    def check_server(self, connection: Any, driver: str) -> None:
        """Whoever answers is asked for nothing that PostgreSQL would not take too."""

    def greet(
        self, dbapi: Any, driver: str, options: DatabaseOptions, *, reader: bool, until: float
    ) -> bool:
        if driver == "asyncpg":
            keepalive.keep_alive(socket_of_asyncpg(dbapi))
        settings = pooling.settings(options)
        if reader:
            settings["default_transaction_read_only"] = "on"
        dbapi.autocommit = True
        cursor = dbapi.cursor()
        try:
            for name, value in settings.items():
                cursor.execute(f"SET {name} = '{value}'")
        finally:
            cursor.close()
        # not after an error: the connection is thrown away, and this would hide what happened
        dbapi.autocommit = reader and self.reads_apart(options)
        return False

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
        return False

    def lean_begin(
        self, driver: str, options: DatabaseOptions, begin: Begin
    ) -> tuple[str, ...] | None:
        return None

    def wire(self, driver: str) -> Wire | None:
        return None

    def limits_ahead(self, driver: str) -> bool:
        return False

    def begin_late(self, dialect: Any, dbapi: Any, driver: str) -> None:
        # the driver's own transactions begin with the next statement
        dialect.set_isolation_level(dbapi.dbapi_connection, self.default_isolation.value)

    def ping(
        self, ping: Callable[[Any], bool], dbapi: Any, driver: str, wait: Callable[[Any], Any]
    ) -> bool:
        return Family.ping(self, ping, dbapi, driver, wait)
