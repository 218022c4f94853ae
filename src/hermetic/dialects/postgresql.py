"""PostgreSQL, by psycopg 3 and asyncpg."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar

from sqlalchemy import URL

from ..errors import RolledBack
from ..options import DatabaseOptions, Isolation
from .family import (
    Begin,
    Driver,
    EngineSettings,
    Family,
    break_descriptor,
    break_socket,
    drop_transport,
)
from .psycopg_private import is_as_it_was_read
from .wire import Wire
from .wires import AsyncpgWire, PsycopgWire

# libpq's PGTransactionStatusType
_IDLE, _ACTIVE, _IN_ERROR = 0, 1, 3

# the default of a server, a database or a role; the first is given as the second
_READ_COMMITTED = ("read uncommitted", "read committed")

_PSYCOPG = Driver(
    "psycopg", "psycopg", "postgresql", (3, 3, 8), "earlier ones wait for ever for a cancel (#1411)"
)


class PostgreSQL(Family):
    """PostgreSQL 10 and later; measured on 15."""

    name: ClassVar[str] = "postgresql"
    schemes: ClassVar[tuple[str, ...]] = ("postgresql", "postgres")
    # PostgreSQL takes READ UNCOMMITTED and gives READ COMMITTED: no weaker than what was asked for
    isolation_levels: ClassVar[frozenset[Isolation]] = frozenset(Isolation)
    default_isolation: ClassVar[Isolation] = Isolation.READ_COMMITTED
    sync_drivers: ClassVar[tuple[Driver, ...]] = (
        _PSYCOPG,
        Driver("psycopg2", "psycopg2", ""),
    )
    async_drivers: ClassVar[tuple[Driver, ...]] = (
        _PSYCOPG,
        Driver("asyncpg", "asyncpg", "asyncpg", (0, 30, 0)),
    )
    has_readers: ClassVar[bool] = True

    def engine_settings(
        self, url: URL, driver: str, options: DatabaseOptions, *, reader: bool, asynchronous: bool
    ) -> EngineSettings:
        engine_args: dict[str, Any] = {}
        if reader and self.reads_apart(options):
            engine_args["isolation_level"] = "AUTOCOMMIT"
        if driver == "asyncpg":
            return EngineSettings(
                {
                    "connection_class": _checked_asyncpg(options.cleanup_timeout),
                    "timeout": options.connect_timeout,
                    "server_settings": {"application_name": options.application_name},
                },
                engine_args,
            )
        given: dict[str, Any] = {}
        if asynchronous and driver == _PSYCOPG.name:
            given["async_creator_fn"] = _bounded_psycopg(options.cleanup_timeout).connect
        # libpq counts connect_timeout in whole seconds, and takes 1 for 2
        return EngineSettings(
            {
                **given,
                "connect_timeout": math.ceil(options.connect_timeout),
                "application_name": options.application_name,
                "keepalives": 1,
                "keepalives_idle": 30,
                "keepalives_interval": 10,
                "keepalives_count": 3,
                "tcp_user_timeout": 10_000,
            },
            engine_args,
        )

    def reads_apart(self, options: DatabaseOptions) -> bool:
        return "isolation_level" not in options.engine_options

    def greet(
        self, dbapi: Any, driver: str, options: DatabaseOptions, *, reader: bool, until: float
    ) -> bool:
        ours = driver == "asyncpg"
        if ours:
            _keep_alive(_asyncpg_socket(dbapi))
        elif driver == "psycopg":
            ours = _send_ahead(getattr(dbapi, "driver_connection", dbapi))
        dbapi.autocommit = True
        cursor = dbapi.cursor()
        try:
            cursor.execute(_session_settings(options, reader=reader))
            _, level = cursor.fetchone()
        finally:
            cursor.close()
        # not after an error: the connection is thrown away, and this would hide what happened
        dbapi.autocommit = reader and self.reads_apart(options)
        # each statement has a snapshot of its own, in a transaction as without one
        return ours and options.put_off_begin and level in _READ_COMMITTED

    def connect_timeout(self, driver: str, connect_args: dict[str, Any], remaining: float) -> None:
        if driver == "asyncpg":
            connect_args["timeout"] = min(connect_args.get("timeout", remaining), remaining)
        else:
            whole = max(1, math.ceil(remaining))
            connect_args["connect_timeout"] = min(
                int(connect_args.get("connect_timeout", whole)), whole
            )

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

    def is_clean(self, dbapi: Any, driver: str) -> bool:
        raw = getattr(dbapi, "driver_connection", dbapi)
        if driver == "asyncpg":
            return not raw.is_in_transaction()
        pgconn = getattr(raw, "pgconn", None)
        return pgconn is not None and pgconn.transaction_status == _IDLE

    def breaker(self, dbapi: Any, driver: str) -> Callable[[], None] | None:
        if driver == "asyncpg":
            return break_socket(_asyncpg_socket(dbapi))
        pgconn = getattr(getattr(dbapi, "driver_connection", dbapi), "pgconn", None)
        if pgconn is not None and pgconn.socket >= 0:
            return break_descriptor(pgconn.socket)
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


def _send_ahead(connection: Any) -> bool:
    """Have psycopg send BEGIN together with the first statement, by cursors of ours.

    :return: whether it does; a user's own cursors stay.
    """
    import psycopg

    if not is_as_it_was_read():
        return False
    from .psycopg_ahead import AsyncCursor, Cursor

    ours: dict[Any, Any] = {psycopg.Cursor: Cursor, psycopg.AsyncCursor: AsyncCursor}
    factory = connection.cursor_factory
    if factory not in ours:
        return False
    connection.cursor_factory = ours[factory]
    return True


def _session_settings(options: DatabaseOptions, *, reader: bool) -> str:
    """One statement for everything a connection is born with; one round trip per connection.

    client_connection_check_interval exists since PostgreSQL 14; pg_settings is asked so that the
    statement passes on every version.
    """
    settings: dict[str, str] = {"client_connection_check_interval": "5s"}
    for name, seconds in (
        ("statement_timeout", options.statement_timeout),
        ("lock_timeout", options.lock_timeout),
        ("idle_in_transaction_session_timeout", options.idle_in_transaction_timeout),
    ):
        if seconds is not None:
            settings[name] = f"{max(1, math.ceil(seconds * 1000))}ms"
    if reader:
        settings["default_transaction_read_only"] = "on"
    rows = ", ".join(f"('{name}', '{value}')" for name, value in settings.items())
    return (
        "SELECT count(set_config(wanted.name, wanted.value, false)), "
        "current_setting('default_transaction_isolation') "
        f"FROM (VALUES {rows}) AS wanted (name, value) "
        "WHERE EXISTS (SELECT 1 FROM pg_settings AS known WHERE known.name = wanted.name)"
    )


@lru_cache
def _checked_asyncpg(cleanup_timeout: float) -> Any:
    """asyncpg's Connection, which drops the server's answer to a COMMIT, with a look at it.

    PostgreSQL answers the COMMIT of an aborted transaction with ROLLBACK, and with no error. Where
    a task was cancelled, SQLAlchemy gives the close 2 s.
    """
    import asyncpg

    class CheckedConnection(asyncpg.Connection):
        async def close(self, *, timeout: float | None = None) -> None:
            bound = cleanup_timeout if timeout is None else min(timeout, cleanup_timeout)
            await super().close(timeout=bound)

        async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
            tag: str = await super().execute(query, *args, timeout=timeout)
            if tag == "ROLLBACK" and query.startswith("COMMIT"):
                raise RolledBack("Nothing was committed: the server answered COMMIT with ROLLBACK.")
            return tag

    return CheckedConnection


@lru_cache
def _bounded_psycopg(cleanup_timeout: float) -> Any:
    """psycopg's AsyncConnection, which answers a cancellation by two waits of 5 s each, with less.

    What it waits for after the request to cancel is woken by the end of its socket; it then closes
    the connection, and lets the cancellation go on (3.3.8).
    """
    import psycopg

    class BoundedConnection(psycopg.AsyncConnection[Any]):
        async def _try_cancel(self, *, timeout: float = 5.0) -> None:
            asyncio.get_running_loop().call_later(cleanup_timeout, self._shut)
            await super()._try_cancel(timeout=min(timeout, cleanup_timeout))

        def _shut(self) -> None:
            # whoever was cancelled never lends it again: nothing else can be under way by now
            if self.pgconn.transaction_status == _ACTIVE:
                break_descriptor(self.pgconn.socket)()

    return BoundedConnection


def _asyncpg_socket(dbapi: Any) -> Any:
    transport = getattr(getattr(dbapi, "driver_connection", dbapi), "_transport", None)
    return None if transport is None else transport.get_extra_info("socket")


def _keep_alive(sock: Any) -> None:
    """What libpq does by itself and asyncpg 0.32 does not."""
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 10_000)
