"""What hermetic listens to on its engines: the birth of connections, statements, transactions,
errors.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy import exc as sa_exc
from sqlalchemy.engine import ExceptionContext

from .dialects.classify import classify
from .dialects.family import Begin, Family
from .errors import FaultError, ReadOnlyScope, RolledBack, fault_error
from .events import ConnectionDestroyed, emit
from .faults import Fault, FaultKind, Pool, Wire
from .faults import Transaction as Left
from .options import DatabaseOptions
from .pool import demanding
from .registry import ConnectionRecord, Registry, Scope, Transaction, describe_error
from .watchdog import watchdog

KEY = "hermetic"
SCOPE_OPTION = "hermetic_scope"

# how long after a deadline the socket is destroyed if the server's own limit has not struck
_GRACE = 0.1

_TIME_KINDS = frozenset(
    {
        FaultKind.STATEMENT_TIMEOUT,
        FaultKind.LOCK_TIMEOUT,
        FaultKind.CONNECTION_LOST,
        FaultKind.CANNOT_CONNECT,
    }
)


class EngineWatch:
    """The listeners of one engine. ``reader`` connections are read-only from birth."""

    def __init__(
        self,
        engine: Engine,
        family: Family,
        driver: str,
        options: DatabaseOptions,
        registry: Registry,
        *,
        reader: bool,
        world: str,
    ) -> None:
        self.engine = engine
        self.family = family
        self.driver = driver
        self.options = options
        self.registry = registry
        self.reader = reader
        self.world = world
        self.server = engine.url.render_as_string(hide_password=True).partition("?")[0]
        self.dialect = engine.dialect
        for name in (
            "connect", "close", "detach", "checkout", "checkin", "begin", "rollback_savepoint",
            "release_savepoint", "commit", "handle_error", "do_connect",
        ):  # fmt: skip
            event.listen(engine, name, getattr(self, f"_on_{name}"))
        event.listen(engine, "before_cursor_execute", self._before_statement, retval=True)
        event.listen(engine, "after_cursor_execute", self._after_statement)
        self._take_over_dialect(engine.dialect)

    # ------------------------------------------------------------ connections

    def _on_do_connect(self, dialect: Any, record: Any, args: Any, kwargs: dict[str, Any]) -> None:
        scope = demanding.get()
        if scope is not None and scope.deadline is not None:
            remaining = scope.deadline - time.monotonic()
            if remaining <= 0:
                raise scope.deadline_exceeded("before a connection was made")
            self.family.connect_timeout(self.driver, kwargs, remaining)

    def _on_connect(self, dbapi: Any, record: Any) -> None:
        self.family.greet(dbapi, self.driver, self.options, reader=self.reader)
        connection = ConnectionRecord(
            self.server,
            "reader" if self.reader else "writer",
            self.world,
            self.engine,
            self.family.breaker(dbapi, self.driver),
            lambda: self.family.abandon(dbapi, self.driver),
        )
        record.info[KEY] = connection
        self.registry.connections[connection.number] = connection

    def _on_close(self, dbapi: Any, record: Any) -> None:
        connection = record.info.get(KEY)
        if connection is not None:
            _disarm(connection)
            self.registry.connections.pop(connection.number, None)

    def _on_detach(self, dbapi: Any, record: Any) -> None:
        self._on_close(dbapi, record)

    def _on_checkout(self, dbapi: Any, record: Any, proxy: Any) -> None:
        connection: ConnectionRecord = record.info[KEY]
        returned, connection.returned = connection.returned, None
        after = self.options.ping_after
        if returned is None or after is None or time.monotonic() - returned < after:
            return
        try:
            alive = self.dialect.do_ping(dbapi)
        except self.dialect.loaded_dbapi.Error as error:
            alive = False
            reason = describe_error(error)
        else:
            reason = "it did not answer a ping"
        if not alive:
            self._destroyed(connection, reason)
            raise sa_exc.DisconnectionError("a pooled connection was found dead")

    def _on_checkin(self, dbapi: Any, record: Any) -> None:
        connection = record.info.get(KEY)
        if connection is not None:
            _disarm(connection)
            connection.returned = time.monotonic()
            connection.scope = connection.transaction = None

    def _destroyed(self, connection: ConnectionRecord, reason: str) -> None:
        self.registry.counters["destroyed"] += 1
        if self.registry.listeners:
            destroyed = ConnectionDestroyed(self.registry.name, connection.number, reason)
            emit(self.registry.listeners, destroyed)

    # ------------------------------------------------------------ transactions

    def _on_begin(self, conn: Connection) -> None:
        connection = _record(conn)
        scope: Scope | None = conn.get_execution_options().get(SCOPE_OPTION)
        connection.transaction = Transaction()
        connection.scope = scope
        if scope is not None:
            scope.connection = connection
        for statement in self.family.begin_statements(begin_of(scope, reader=self.reader)):
            conn.exec_driver_sql(statement)

    def _on_rollback_savepoint(self, conn: Connection, name: str, context: None) -> None:
        transaction = _record(conn).transaction
        if transaction is not None:
            transaction.rolled_back_to(name)

    def _on_release_savepoint(self, conn: Connection, name: str, context: None) -> None:
        transaction = _record(conn).transaction
        if transaction is not None:
            transaction.released(name)

    def _on_commit(self, conn: Connection) -> None:
        """:raises RolledBack: the server would answer this COMMIT with a rollback."""
        connection = _record(conn)
        transaction = connection.transaction
        if transaction is None:
            return
        if transaction.failure is None and not self._is_given_up(conn, connection):
            return
        raise given_up(connection.scope, transaction)

    def _is_given_up(self, conn: Connection, connection: ConnectionRecord) -> bool:
        if connection.scope is not None and connection.scope.root.entry == "plain":
            return False
        if self.family.name == "sqlite" and conn.get_execution_options().get("isolation_level"):
            return False
        return self.family.server_gave_up(conn.connection.dbapi_connection, self.driver)

    # ------------------------------------------------------------ statements

    def _before_statement(
        self,
        conn: Connection,
        cursor: Any,
        statement: str,
        parameters: Any,
        context: Any,
        many: bool,
    ) -> tuple[str, Any]:
        connection = _record(conn)
        connection.last_statement = statement
        scope = connection.scope
        transaction = connection.transaction
        if (
            transaction is not None
            and transaction.failure is not None
            and not statement.startswith(("ROLLBACK TO", "RELEASE"))
        ):
            raise given_up(scope, transaction, sending=True)
        if scope is None:
            return statement, parameters
        scope.check_statement()
        scope.statements += 1
        scope.last_statement = statement
        if scope.deadline is not None:
            statement = self._limit(conn, connection, scope, statement)
        return statement, parameters

    def _limit(
        self, conn: Connection, connection: ConnectionRecord, scope: Scope, statement: str
    ) -> str:
        """Have the server, and the watchdog behind it, end a statement at the scope's deadline."""
        assert scope.deadline is not None
        remaining = scope.deadline - time.monotonic()
        if context_is_plain(scope) is False:
            first, statement = self.family.limit_statement(self.dialect, statement, remaining)
            if first is not None:
                cursor = conn.connection.cursor()
                try:
                    cursor.execute(first)
                finally:
                    cursor.close()
        if connection.break_off is not None:
            _disarm(connection)
            grace = 0.0 if self.family.name == "sqlite" else _GRACE
            connection.alarm = watchdog.arm(scope.deadline + grace, connection.break_off)
        return statement

    def _after_statement(self, conn: Connection, *unused: Any) -> None:
        connection = _record(conn)
        if connection.alarm is not None:
            _disarm(connection)

    # ------------------------------------------------------------ errors

    def _on_handle_error(self, context: ExceptionContext) -> BaseException | None:
        error = context.original_exception
        conn = context.connection
        connection = None
        if conn is not None and not conn.invalidated and not conn.closed:
            connection = _record(conn)
        fault = classify(error, family=self.family.name)
        if connection is not None:
            _disarm(connection)
            self._note(connection, context, fault)
        if fault is None or not isinstance(error, Exception):
            return None
        return self._translate(context, connection, fault)

    def _note(
        self, connection: ConnectionRecord, context: ExceptionContext, fault: Fault | None
    ) -> None:
        """Remember what the error leaves of transaction, connection and pool."""
        error = context.original_exception
        transaction = connection.transaction
        exiting = not isinstance(error, Exception)
        if exiting and connection.break_off is not None and self.family.name == "sqlite":
            # a cancelled await leaves aiosqlite's thread at work, with its locks
            connection.break_off()
        if fault is not None and self._is_wrong_server(connection, fault):
            context.is_disconnect = context.invalidate_pool_on_disconnect = True
        elif fault is not None and fault.wire is Wire.DEAD:
            context.is_disconnect = True
            if fault.pool is Pool.EVICT:
                context.invalidate_pool_on_disconnect = True
        if exiting or context.is_disconnect:
            self._destroyed(connection, describe_error(error))
        if transaction is None or transaction.commit_sent:
            return
        if exiting or context.is_disconnect or (fault and fault.transaction is Left.GONE):
            transaction.fail(error, fault, gone=True)
        elif fault is not None and fault.transaction is Left.DOOMED:
            transaction.fail(error, fault, gone=False)
        elif self.family.name == "sqlite" and self._is_given_up_now(context, connection):
            transaction.fail(error, fault, gone=True)

    def _is_given_up_now(self, context: ExceptionContext, connection: ConnectionRecord) -> bool:
        conn = context.connection
        if conn is None or context.statement is None or context.statement.startswith("BEGIN"):
            return False
        return self._is_given_up(conn, connection)

    def _is_wrong_server(self, connection: ConnectionRecord, fault: Fault) -> bool:
        """A writer's connection that takes no writes leads to a demoted primary."""
        scope = connection.scope
        return (
            fault.kind is FaultKind.READ_ONLY
            and not self.reader
            and self.family.name != "sqlite"
            and not (scope is not None and scope.readonly)
        )

    def _translate(
        self, context: ExceptionContext, connection: ConnectionRecord | None, fault: Fault
    ) -> BaseException:
        scope = connection.scope if connection is not None else demanding.get()
        error = context.sqlalchemy_exception
        if error is None:
            # asyncpg lets OSError and TimeoutError through unwrapped
            error = sa_exc.OperationalError(
                context.statement, None, context.original_exception, hide_parameters=True
            )
        translated = fault_error(error, fault, scope=None if scope is None else scope.ref)
        translated.connection_invalidated = context.is_disconnect  # type: ignore[attr-defined]
        if scope is not None:
            late = self._as_lateness(scope, fault, translated)
            if late is not None:
                return late
            if fault.kind is FaultKind.READ_ONLY and scope.readonly:
                return self._as_stray_write(scope, context, translated)
        return translated

    def _as_lateness(
        self, scope: Scope, fault: Fault, translated: FaultError
    ) -> BaseException | None:
        if scope.deadline is None or fault.kind not in _TIME_KINDS:
            return None
        if time.monotonic() < scope.deadline - 0.05:
            return None
        error = scope.deadline_exceeded("in the middle of a statement")
        error.__cause__ = translated
        error.__context__ = translated
        return error

    def _as_stray_write(
        self, scope: Scope, context: ExceptionContext, translated: FaultError
    ) -> BaseException:
        error = ReadOnlyScope(
            "The database refused a write in a read-only scope.",
            subject=(context.statement or "").strip(),
            scope=scope.ref,
            hint="Open the scope without readonly=True.",
        )
        error.__cause__ = translated
        return error

    # ------------------------------------------------------------ the dialect's narrow places

    def _take_over_dialect(self, dialect: Any) -> None:
        """Stand around the few dialect methods of which no event tells enough.

        ``do_commit``: to know that COMMIT was sent, and that it came back.
        ``do_savepoint``: SQLAlchemy's event for it comes before the name is made.
        ``do_rollback_to_savepoint`` and ``do_release_savepoint``: not to send them to a server that
        has rolled the whole transaction back, whose answer (MariaDB: 1305) would hide the cause.
        """
        commit = dialect.do_commit
        savepoint = dialect.do_savepoint
        rollback_to = dialect.do_rollback_to_savepoint
        release = dialect.do_release_savepoint

        def do_commit(dbapi_connection: Any) -> None:
            connection = dbapi_connection.info.get(KEY)
            transaction = None if connection is None else connection.transaction
            if transaction is None:
                commit(dbapi_connection)
                return
            scope = connection.scope
            if scope is not None and scope.deadline is not None and connection.break_off:
                connection.alarm = watchdog.arm(scope.deadline + _GRACE, connection.break_off)
            transaction.commit_sent = True
            try:
                commit(dbapi_connection)
                transaction.committed = True
            finally:
                _disarm(connection)

        def do_savepoint(conn: Connection, name: str) -> None:
            savepoint(conn, name)
            transaction = _record(conn).transaction
            if transaction is not None:
                transaction.savepoints.append(name)

        def do_rollback_to_savepoint(conn: Connection, name: str) -> None:
            if not _is_gone(conn):
                rollback_to(conn, name)

        def do_release_savepoint(conn: Connection, name: str) -> None:
            connection = _record(conn)
            transaction = connection.transaction
            if transaction is not None and transaction.failure is not None:
                raise given_up(connection.scope, transaction)
            release(conn, name)

        dialect.do_commit = do_commit
        dialect.do_savepoint = do_savepoint
        dialect.do_rollback_to_savepoint = do_rollback_to_savepoint
        dialect.do_release_savepoint = do_release_savepoint


def begin_of(scope: Scope | None, *, reader: bool) -> Begin:
    """What the transaction of a scope, or of a session outside any, promises."""
    if scope is None:
        return Begin(readonly=reader)
    options = scope.options
    return Begin(options.isolation, scope.readonly, context_is_plain(scope))


def context_is_plain(scope: Scope) -> bool:
    return scope.root.entry == "plain"


def given_up(scope: Scope | None, transaction: Transaction, *, sending: bool = False) -> RolledBack:
    """The error for a transaction that the server, or an error before, has given up."""
    cause = transaction.failure
    what = "The statement was not sent: the" if sending else "Nothing was committed: the"
    why = "by the server" if cause is None else f"by an earlier error, {describe_error(cause)}"
    error = RolledBack(
        f"{what} transaction was given up {why}.",
        scope=None if scope is None else scope.ref,
        hint="Let that error end the scope, or put a savepoint (propagation='nested') around "
        "what may fail.",
    )
    error.__cause__ = cause
    return error


def _record(conn: Connection) -> ConnectionRecord:
    record: ConnectionRecord = conn.info[KEY]
    return record


def _is_gone(conn: Connection) -> bool:
    if conn.invalidated or conn.closed:
        return False
    transaction = _record(conn).transaction
    return transaction is not None and transaction.gone


def _disarm(connection: ConnectionRecord) -> None:
    alarm, connection.alarm = connection.alarm, None
    if alarm is not None:
        alarm.cancel()
