"""PostgreSQL, by psycopg 3 and asyncpg."""

from __future__ import annotations

import asyncio
import importlib
import math
import os
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar

from sqlalchemy import URL

from ..clock import monotonic
from ..errors import UnprotectedTenants
from ..events import logger
from ..options import DatabaseOptions, Isolation
from ..tenancy import RowSecurity, SchemaPerTenant, Tenants
from . import impostors, keepalive, pooling, tls
from .asyncpg_connection import checked
from .commits import Commits, PostgreSQLCommits
from .exchanges import counter
from .family import (
    Begin,
    Driver,
    EngineSettings,
    Family,
    break_descriptor,
    break_socket,
    drop_transport,
)
from .harmless import POSTGRESQL
from .positions import Positions, PostgreSQLPositions, Sight
from .psycopg_connecting import CONNECTING_UNTIL
from .psycopg_private import is_as_it_was_read
from .switching import switches
from .text import head
from .two_phase import PostgreSQLTwoPhase, TwoPhase
from .wire import Wire
from .wires import AsyncpgWire, PsycopgWire

# libpq's PGTransactionStatusType
_IDLE, _ACTIVE, _IN_ERROR = 0, 1, 3

# the default of a server, a database or a role; the first is given as the second
_READ_COMMITTED = ("read uncommitted", "read committed")

# what SQL has prepared, by a name that the next one may want. To deallocate everything would take
# the drivers' own statements from under them
_PREPARED = "SELECT count(*) FROM pg_prepared_statements WHERE from_sql"
# DISCARD ALL without what the drivers have prepared. RESET ALL spares the role, and what the
# application's own role was given at its birth (ALTER ROLE … SET role) comes back by RESET ROLE
_RESET = (
    "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; RESET ALL; UNLISTEN *; "
    "SELECT pg_advisory_unlock_all(); DISCARD SEQUENCES; DISCARD TEMP"
)

# a temporary table that its transaction takes with it
_PASSING = re.compile(
    r"CREATE\s+(LOCAL\s+|GLOBAL\s+)?TEMP[^;]*\bON\s+COMMIT\s+DROP\b", re.IGNORECASE
)

# what tells a driver how to use TLS, or may do so
_TLS_SAYS = ("sslmode", "requiressl", "ssl", "direct_tls", "service", "dsn")
_TLS_SAYS_BY_ENVIRONMENT = ("PGSSLMODE", "PGREQUIRESSL", "PGSERVICE")

PSYCOPG = Driver(
    "psycopg", "psycopg", "postgresql", (3, 3, 8), "earlier ones wait for ever for a cancel (#1411)"
)
ASYNCPG = Driver("asyncpg", "asyncpg", "asyncpg", (0, 30, 0))


class PostgreSQL(Family):
    """PostgreSQL 10 and later; measured on 15."""

    name: ClassVar[str] = "postgresql"
    schemes: ClassVar[tuple[str, ...]] = ("postgresql", "postgres")
    # PostgreSQL takes READ UNCOMMITTED and gives READ COMMITTED: no weaker than what was asked for
    isolation_levels: ClassVar[frozenset[Isolation]] = frozenset(Isolation)
    default_isolation: ClassVar[Isolation] = Isolation.READ_COMMITTED
    sync_drivers: ClassVar[tuple[Driver, ...]] = (
        PSYCOPG,
        Driver("psycopg2", "psycopg2", ""),
    )
    async_drivers: ClassVar[tuple[Driver, ...]] = (
        PSYCOPG,
        ASYNCPG,
    )
    has_readers: ClassVar[bool] = True
    has_tenants: ClassVar[bool] = True
    tells_level: ClassVar[bool] = True
    commits: ClassVar[Commits] = PostgreSQLCommits()
    functions: ClassVar[frozenset[str]] = POSTGRESQL
    positions: ClassVar[Positions] = PostgreSQLPositions()
    two_phase: ClassVar[TwoPhase | None] = PostgreSQLTwoPhase()

    def engine_settings(
        self, url: URL, driver: str, options: DatabaseOptions, *, reader: bool, asynchronous: bool
    ) -> EngineSettings:
        pooling.check(driver, options)
        how = self._tls(url, options)
        engine_args: dict[str, Any] = {}
        wanted: dict[str, Any] = {}
        if "target_session_attrs" not in tls.given(url, options) and self.has_several_hosts(
            url, options
        ):
            # otherwise the first that answers is taken, a demoted primary among them
            wanted["target_session_attrs"] = "read-write"
        if reader and self.reads_apart(options):
            engine_args["isolation_level"] = "AUTOCOMMIT"
        following = "" if options.pooler is None else pooling.following(options)
        if driver == "asyncpg":
            # without a name a statement is parsed anew with each execution, in the same transaction
            unprepared: dict[str, Any] = (
                {}
                if options.pooler is None
                else {
                    "statement_cache_size": 0,
                    "prepared_statement_cache_size": 0,
                    "prepared_statement_name_func": str,
                }
            )
            secured = {} if how is None else {"ssl": how != tls.OFF and tls.context_for(how)}
            return EngineSettings(
                {
                    **secured,
                    **wanted,
                    "connection_class": checked(options.cleanup_timeout, following),
                    **unprepared,
                    "timeout": options.connect_timeout,
                    "server_settings": {"application_name": options.application_name},
                },
                engine_args,
            )
        given: dict[str, Any] = wanted
        if how is not None:
            given |= tls.libpq(how, tls.given(url, options), _libpq_version(driver))
        if options.pooler is not None:
            given["prepare_threshold"] = None
        if asynchronous and driver == PSYCOPG.name:
            given["async_creator_fn"] = _bounded_psycopg(options.cleanup_timeout).connect
        # libpq counts connect_timeout in whole seconds, and takes 1 for 2
        return EngineSettings(
            {
                **given,
                "connect_timeout": math.ceil(options.connect_timeout),
                "application_name": options.application_name,
                **keepalive.libpq(),
            },
            engine_args,
        )

    def check(self, url: URL, options: DatabaseOptions) -> None:
        self._tls(url, options)

    def leaves(self, statement: str) -> bool:
        return super().leaves(statement) and _PASSING.match(head(statement)) is None

    def _tls(self, url: URL, options: DatabaseOptions) -> Any:
        told = tls.given(url, options)
        said = [name for name in _TLS_SAYS if name in told]
        said += [name for name in _TLS_SAYS_BY_ENVIRONMENT if name in os.environ]
        hosts = tls.hosts_of(url, told, names=("host", "hostaddr"))
        if not hosts:
            hosts = tls.hosts_of(url, os.environ, names=("PGHOST", "PGHOSTADDR"))
        return tls.wanted(url, options, said, hosts)

    def has_several_hosts(self, url: URL, options: DatabaseOptions) -> bool:
        told = tls.given(url, options)
        return len(tls.hosts_of(url, told, names=("host",))) > 1

    def replicas_serve(self, isolation: Isolation | None) -> bool:
        # "cannot use serializable mode in a hot standby" (PostgreSQL 15, 0A000)
        return isolation is not Isolation.SERIALIZABLE

    def sight(self, dbapi: Any, dialect: Any) -> Sight:
        if dbapi.autocommit:
            return super().sight(dbapi, dialect)
        # a matter of the client: the driver begins a transaction with the next statement otherwise
        dbapi.autocommit = True
        try:
            return super().sight(dbapi, dialect)
        finally:
            dbapi.autocommit = False

    def reads_apart(self, options: DatabaseOptions) -> bool:
        # behind a pooler read-only is a transaction's promise, and takes one
        return "isolation_level" not in options.engine_options and options.pooler is None

    def greet(
        self, dbapi: Any, driver: str, options: DatabaseOptions, *, reader: bool, until: float
    ) -> bool:
        ours = driver == "asyncpg"
        if ours:
            keepalive.keep_alive(socket_of_asyncpg(dbapi))
        elif driver == "psycopg":
            ours = _send_ahead(getattr(dbapi, "driver_connection", dbapi))
        if options.pooler is not None:
            return self._greet_pooled(dbapi, options)
        dbapi.autocommit = True
        cursor = dbapi.cursor()
        try:
            cursor.execute(_session_settings(options, reader=reader))
            _, level, pid = cursor.fetchone()
            if options.cache is not None:
                options.cache.told(weak=level in _READ_COMMITTED)
            if isinstance(options.tenants, RowSecurity):
                _check_role(cursor)
        finally:
            cursor.close()
        if pid != _server_pid(getattr(dbapi, "driver_connection", dbapi), pid):
            _tell_of_pooler()
        # not after an error: the connection is thrown away, and this would hide what happened
        dbapi.autocommit = reader and self.reads_apart(options)
        # each statement has a snapshot of its own, in a transaction as without one
        return ours and options.put_off_begin and level in _READ_COMMITTED

    def _greet_pooled(self, dbapi: Any, options: DatabaseOptions) -> bool:
        """Nothing is set; a pooler lets clients in without a server, so that one has to be seen."""
        raw = getattr(dbapi, "driver_connection", dbapi)
        if isinstance(raw, pooling.Pooled):
            raw.following = pooling.following(options).encode()
        dbapi.autocommit = True
        cursor = dbapi.cursor()
        try:
            cursor.execute("SELECT current_setting('default_transaction_isolation')")
            (level,) = cursor.fetchone()
            if options.cache is not None:
                options.cache.told(weak=level in _READ_COMMITTED)
            if isinstance(options.tenants, RowSecurity):
                _check_role(cursor)
        finally:
            cursor.close()
        dbapi.autocommit = False
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
        if driver == "asyncpg":
            raw = dbapi.driver_connection
            if wait(raw.fetchval(_PREPARED)):
                return False
            wait(raw.execute(_RESET))
        elif driver == "psycopg":
            dbapi.autocommit = True
            cursor = dbapi.cursor()
            try:
                cursor.execute(f"{_PREPARED}; {_RESET}")
                (prepared,) = cursor.fetchone()
            finally:
                cursor.close()
            if prepared:
                return False
        else:
            return False
        self.greet(dbapi, driver, options, reader=reader, until=until)
        return True

    def connect_timeout(
        self, driver: str, connect_args: dict[str, Any], remaining: float | None
    ) -> None:
        if remaining is None:
            CONNECTING_UNTIL.set(None)
        elif driver == "asyncpg":
            connect_args["timeout"] = min(connect_args.get("timeout", remaining), remaining)
        else:
            given = float(connect_args.get("connect_timeout", remaining))
            within = min(given, remaining)
            # libpq and psycopg count in whole seconds, and take 1 for 2
            connect_args["connect_timeout"] = max(1, math.ceil(within))
            CONNECTING_UNTIL.set(monotonic() + within)

    def connect(
        self, connect: Callable[..., Any], driver: str, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        if driver == PSYCOPG.name and "async_creator_fn" not in kwargs:
            made = _punctual_psycopg().connect(*args, **kwargs)
        else:
            made = connect(*args, **kwargs)
        self.check_server(made, driver)
        return made

    def check_server(self, connection: Any, driver: str) -> None:
        """:raises ConfigurationError: it is no PostgreSQL, and asks to be spoken to otherwise."""
        impostors.refuse_cockroachdb(connection, driver)

    def lean_begin(
        self, driver: str, options: DatabaseOptions, begin: Begin
    ) -> tuple[str, ...] | None:
        # the driver's own transactions begin with the first statement
        own = driver in ("psycopg", "asyncpg")
        return () if own and not self.execution_options(begin) else None

    def wire(self, driver: str) -> Wire | None:
        wires: dict[str, type[Wire]] = {"asyncpg": AsyncpgWire, "psycopg": PsycopgWire}
        return wires[driver]() if driver in wires else None

    def begin_late(self, dialect: Any, dbapi: Any, driver: str) -> None:
        # the driver's own transactions begin with the next statement
        dialect.set_isolation_level(dbapi.dbapi_connection, Isolation.READ_COMMITTED.value)

    def needs_transaction(self, context: Any) -> bool:
        # a cursor on the server ends with its transaction
        return bool(getattr(context, "_is_server_side", False))

    def send_ahead(self, cursor: Any, first: str) -> bool:
        inner = getattr(cursor, "_cursor", cursor)
        if not hasattr(inner, "ahead"):
            return False
        inner.ahead += (first.encode(),)
        return True

    def limits_ahead(self, driver: str) -> bool:
        return driver == "psycopg"

    def limit_apart(self, cursor: Any, statement: str, seconds: float) -> bool:
        inner = getattr(cursor, "_cursor", cursor)
        if not hasattr(inner, "ahead") or not inner.travels(statement):
            return False
        # what is sent together up to a Sync is one transaction, without a BEGIN (PostgreSQL 15,
        # "Pipelining"); SET LOCAL would warn that there is no transaction block
        limit = max(1, math.ceil(seconds * 1000))
        inner.ahead += (f"SELECT set_config('statement_timeout', '{limit}', true)".encode(),)
        return True

    def limit_statement(
        self, dialect: Any, statement: str, seconds: float, *, plain: bool
    ) -> tuple[str | None, str]:
        # SET LOCAL ends with the transaction, so that nothing has to be undone; in autocommit it
        # would end at once
        setting = "SET" if plain else "SET LOCAL"
        return f"{setting} statement_timeout = {max(1, math.ceil(seconds * 1000))}", statement

    def unlimit_statement(self, seconds: float | None) -> str | None:
        if seconds is None:
            return "SET LOCAL statement_timeout TO DEFAULT"
        return f"SET LOCAL statement_timeout = {max(1, math.ceil(seconds * 1000))}"

    def server_gave_up(self, dbapi: Any, driver: str, *, worked: bool) -> bool:
        raw = getattr(dbapi, "driver_connection", dbapi)
        if driver == "asyncpg":
            # an aborted transaction counts as one here; the answer to COMMIT tells it
            return worked and not raw.is_in_transaction()
        pgconn = getattr(raw, "pgconn", None)
        if pgconn is None:
            return False
        status = int(pgconn.transaction_status)
        return status == _IN_ERROR or (worked and status == _IDLE)

    def execution_options(self, begin: Begin) -> dict[str, Any]:
        options = super().execution_options(begin)
        if begin.apart:
            return options
        if begin.readonly and not begin.plain:
            # travels with BEGIN; whatever somebody made of the session's default does not matter
            options["postgresql_readonly"] = True
        if options.get("isolation_level") == Isolation.READ_UNCOMMITTED:
            # asyncpg's dialect does not know it; a reader's connection has to leave autocommit
            options["isolation_level"] = Isolation.READ_COMMITTED.value
        return options

    def begin_statements(self, begin: Begin) -> tuple[str, ...]:
        if begin.isolation is Isolation.READ_UNCOMMITTED and not begin.plain:
            return ("SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED",)
        return ()

    def probe(self, dbapi: Any, driver: str) -> Callable[[], bool] | None:
        raw = getattr(dbapi, "driver_connection", dbapi)
        if driver == "asyncpg":
            in_transaction: Callable[[], bool] = raw.is_in_transaction
            return in_transaction
        pgconn = getattr(raw, "pgconn", None)
        if pgconn is None:
            return None
        return lambda: pgconn.transaction_status != _IDLE

    def tenant_settings(self, tenants: Tenants, tenant: str) -> tuple[str, ...]:
        # names have nothing in them that would have to be escaped; ``true``: for this transaction.
        # ROLLBACK TO takes back no more than what was set behind its savepoint
        if isinstance(tenants, SchemaPerTenant):
            path = ", ".join(f'"{each}"' for each in (tenants.schema_of(tenant), *tenants.shared))
            return (f"SELECT set_config('search_path', '{path}', true)",)
        if isinstance(tenants, RowSecurity):
            return (f"SELECT set_config('{tenants.setting}', '{tenant}', true)",)
        return ()

    def changes_tenant(self, statement: str, tenants: Tenants) -> bool:
        if isinstance(tenants, SchemaPerTenant):
            return switches(statement, _BY_SCHEMA)
        if isinstance(tenants, RowSecurity):
            return switches(statement, {tenants.setting, *_BY_ROLE})
        return False

    def exchanges(self, dbapi: Any, driver: str) -> Callable[[], int] | None:
        raw = getattr(dbapi, "driver_connection", dbapi)
        if driver == "asyncpg":
            return counter(getattr(raw, "_protocol", None))
        # a user's own cursors do not count what they send
        ours = driver == "psycopg" and hasattr(raw.cursor_factory, "travels")
        return counter(raw) if ours else None

    def is_clean(self, dbapi: Any, driver: str) -> bool:
        raw = getattr(dbapi, "driver_connection", dbapi)
        if driver == "asyncpg":
            return not raw.is_in_transaction()
        pgconn = getattr(raw, "pgconn", None)
        return pgconn is not None and pgconn.transaction_status == _IDLE

    def ping(
        self, ping: Callable[[Any], bool], dbapi: Any, driver: str, wait: Callable[[Any], Any]
    ) -> bool:
        if driver != "asyncpg":
            return ping(dbapi)
        # SQLAlchemy 2.1.9 opens a transaction for it, three round trips; this prepares nothing, and
        # a pooler needs no transaction for it
        try:
            wait(dbapi._connection.execute("SELECT 1"))
        except Exception as error:
            dbapi._handle_exception(error)
        return True

    def is_out_of_step(self, dbapi: Any, driver: str) -> bool:
        # psycopg 3.3.9 does not leave a pipeline in whose entering it was struck: statements would
        # go through it and find nothing
        raw = getattr(dbapi, "driver_connection", dbapi)
        pgconn = getattr(raw, "pgconn", None)
        if pgconn is None:
            return False
        return getattr(raw, "_pipeline", None) is not None or bool(pgconn.pipeline_status)

    def breaker(self, dbapi: Any, driver: str) -> Callable[[], None] | None:
        if driver == "asyncpg":
            return break_socket(socket_of_asyncpg(dbapi))
        pgconn = getattr(getattr(dbapi, "driver_connection", dbapi), "pgconn", None)
        if pgconn is not None and pgconn.socket >= 0:
            return break_descriptor(lambda: int(pgconn.socket))
        return None

    def abandon(self, dbapi: Any, driver: str) -> None:
        pgconn = getattr(getattr(dbapi, "driver_connection", dbapi), "pgconn", None)
        if pgconn is not None:
            pgconn.finish()
        elif driver == "asyncpg":
            super().abandon(dbapi, driver)
            raw = getattr(dbapi, "driver_connection", dbapi)
            drop_transport(getattr(raw, "_transport", None))
            raw._aborted = True  # it would complain at its collection


# what may change a setting
# another role is bound by other policies, and has schemas of its own
_BY_ROLE = frozenset({"role", "session_authorization"})
# SET SCHEMA is another word for it
_BY_SCHEMA = frozenset({"search_path", "schema", *_BY_ROLE})


def _server_pid(raw: Any, otherwise: int) -> int:
    """Which process the server said, when it was connected to, that this is."""
    if hasattr(raw, "get_server_pid"):
        return int(raw.get_server_pid())
    told = getattr(getattr(raw, "info", None), "backend_pid", None)
    return told if isinstance(told, int) else otherwise


@lru_cache
def _tell_of_pooler() -> None:
    logger.warning(
        "there is a pooler between this program and PostgreSQL. In transaction mode it loses what "
        "hermetic sets for a session (limits of time, read-only), or gives it to others, and "
        "prepared statements meet connections that do not know them: say pooler='transaction', or "
        "use its session mode"
    )


def _libpq_version(driver: str) -> int:
    if driver == "psycopg2":
        return int(importlib.import_module("psycopg2.extensions").libpq_version())
    import psycopg

    return int(psycopg.pq.version())


def _send_ahead(connection: Any) -> bool:
    """Have psycopg send BEGIN together with the first statement, by cursors of ours.

    :return: whether it does; a user's own cursors stay.
    """
    import psycopg

    if not is_as_it_was_read():
        return False
    from .psycopg_ahead import AsyncCursor, Cursor
    from .psycopg_streams import AsyncServerCursor, ServerCursor

    ours: dict[Any, Any] = {psycopg.Cursor: Cursor, psycopg.AsyncCursor: AsyncCursor}
    factory = connection.cursor_factory
    if factory not in ours:
        return False
    connection.cursor_factory = ours[factory]
    on_server: dict[Any, Any] = {
        psycopg.ServerCursor: ServerCursor,
        psycopg.AsyncServerCursor: AsyncServerCursor,
    }
    factory = connection.server_cursor_factory
    connection.server_cursor_factory = on_server.get(factory, factory)
    return True


def _check_role(cursor: Any) -> None:
    """:raises UnprotectedTenants: policies do not bind the role: each tenant would see all rows."""
    cursor.execute(
        "SELECT rolname, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user"
    )
    role, superuser, bypasses = cursor.fetchone()
    if superuser or bypasses:
        why = "a superuser" if superuser else "one with BYPASSRLS"
        raise UnprotectedTenants(
            f"The role {role!r} is {why}: row-level security does not bind it.",
            role=role,
            hint="Connect as another role; make tables and policies by a Database without tenants.",
        )


def _session_settings(options: DatabaseOptions, *, reader: bool) -> str:
    """One statement for everything a connection is born with; one round trip per connection.

    client_connection_check_interval exists since PostgreSQL 14; each is asked for, so that it
    passes on every version. The view pg_settings would take milliseconds for that.
    """
    settings = {"client_connection_check_interval": "5s", **pooling.settings(options)}
    if reader:
        settings["default_transaction_read_only"] = "on"
    rows = ", ".join(f"('{name}', '{value}')" for name, value in settings.items())
    return (
        "SELECT count(set_config(wanted.name, wanted.value, false)), "
        "current_setting('default_transaction_isolation'), pg_backend_pid() "
        f"FROM (VALUES {rows}) AS wanted (name, value) "
        "WHERE current_setting(wanted.name, true) IS NOT NULL"
    )


@lru_cache
def _punctual_psycopg() -> Any:
    import psycopg

    from .psycopg_connecting import Punctual

    return type("PunctualConnection", (Punctual, pooling.Pooled, psycopg.Connection), {})


@lru_cache
def _bounded_psycopg(cleanup_timeout: float) -> Any:
    """psycopg's AsyncConnection, which answers a cancellation by two waits of 5 s each, with less.

    What it waits for after the request to cancel is woken by the end of its socket; it then closes
    the connection, and lets the cancellation go on (3.3.8).
    """
    import psycopg

    from .psycopg_connecting import Punctual

    class BoundedConnection(Punctual, pooling.Pooled, psycopg.AsyncConnection[Any]):
        async def _try_cancel(self, *, timeout: float = 5.0) -> None:
            asyncio.get_running_loop().call_later(cleanup_timeout, self._shut)
            await super()._try_cancel(timeout=min(timeout, cleanup_timeout))

        def _shut(self) -> None:
            # whoever was cancelled never lends it again: nothing else can be under way by now
            if self.pgconn.transaction_status == _ACTIVE:
                break_descriptor(lambda: self.pgconn.socket)()

    return BoundedConnection


def socket_of_asyncpg(dbapi: Any) -> Any:
    transport = getattr(getattr(dbapi, "driver_connection", dbapi), "_transport", None)
    return None if transport is None else transport.get_extra_info("socket")
