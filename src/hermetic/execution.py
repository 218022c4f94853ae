"""Every BEGIN, statement, savepoint and COMMIT of an engine passes here.

SQLAlchemy's events for these cost more than what is done in them, and no event tells that a COMMIT
came back; the methods of the dialect (public, documented for outside dialects) are narrower. They
are set on the one dialect instance that an engine has for itself.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Connection

from .dialects.family import Begin, Family
from .errors import RolledBack
from .pool import demanding
from .registry import ConnectionRecord, Scope, Transaction, describe_error
from .watchdog import watchdog

# the key of a ConnectionRecord in its pool record's ``info``
KEY = "hermetic"

# how long after a deadline the socket is destroyed if the server's own limit has not struck
_GRACE = 0.1


class Execution:
    """Stands around the methods of one engine's dialect."""

    def __init__(self, dialect: Any, family: Family, driver: str, *, reader: bool) -> None:
        self._family = family
        self._driver = driver
        self._reader = reader
        self._dialect = dialect
        self._commit = dialect.do_commit
        self._begin = dialect.do_begin
        self._execute = dialect.do_execute
        self._executemany = dialect.do_executemany
        self._execute_plain = dialect.do_execute_no_params
        self._savepoint = dialect.do_savepoint
        self._rollback_to = dialect.do_rollback_to_savepoint
        self._release = dialect.do_release_savepoint
        for name in (
            "do_begin", "do_commit", "do_execute", "do_executemany", "do_execute_no_params",
            "do_savepoint", "do_rollback_to_savepoint", "do_release_savepoint",
        ):  # fmt: skip
            setattr(dialect, name, getattr(self, name))

    # ------------------------------------------------------------ transactions

    def do_begin(self, dbapi: Any) -> None:
        connection = _known(dbapi)
        if connection is None:
            self._begin(dbapi)
            return
        scope = demanding.get()
        connection.transaction = Transaction()
        connection.scope = scope
        if scope is None:
            begin = Begin(readonly=self._reader)
        else:
            scope.connection = connection
            begin = begin_of(scope)
        self._begin(dbapi)
        statements = self._family.begin_statements(begin)
        if statements:
            cursor = dbapi.cursor()
            try:
                for statement in statements:
                    cursor.execute(statement)
            finally:
                cursor.close()
        connection.transaction.begun = True

    def do_commit(self, dbapi: Any) -> None:
        """:raises RolledBack: the server would answer this COMMIT with a rollback."""
        connection = _known(dbapi)
        transaction = None if connection is None else connection.transaction
        if connection is None or transaction is None:
            self._commit(dbapi)
            return
        scope = connection.scope
        if transaction.failure is not None or self.is_given_up(dbapi, connection):
            raise given_up(scope, transaction)
        if scope is not None and scope.deadline is not None:
            _arm(connection, scope.deadline + _GRACE)
        transaction.commit_sent = True
        try:
            self._commit(dbapi)
            transaction.committed = True
        finally:
            if connection.alarm is not None:
                disarm(connection)

    def is_given_up(self, dbapi: Any, connection: ConnectionRecord) -> bool:
        """Whether the server has no transaction where we have one."""
        scope = connection.scope
        if scope is not None and is_plain(scope):
            return False
        transaction = connection.transaction
        if transaction is None or not transaction.begun:
            return False
        return self._family.server_gave_up(dbapi.dbapi_connection, self._driver)

    def do_savepoint(self, conn: Connection, name: str) -> None:
        self._savepoint(conn, name)
        transaction = record_of(conn).transaction
        if transaction is not None:
            transaction.savepoints.append(name)

    def do_rollback_to_savepoint(self, conn: Connection, name: str) -> None:
        transaction = record_of(conn).transaction
        if transaction is None:
            self._rollback_to(conn, name)
        elif not transaction.gone:
            # a server that has rolled everything back would answer with an error (MariaDB: 1305)
            # which hides the cause
            transaction.rolling_back = True
            try:
                self._rollback_to(conn, name)
            finally:
                transaction.rolling_back = False
            transaction.rolled_back_to(name)

    def do_release_savepoint(self, conn: Connection, name: str) -> None:
        connection = record_of(conn)
        transaction = connection.transaction
        if transaction is not None and transaction.failure is not None:
            raise given_up(connection.scope, transaction)
        self._release(conn, name)
        if transaction is not None:
            transaction.released(name)

    # ------------------------------------------------------------ statements

    def do_execute(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        connection = self._admit(context, statement)
        if connection is None or connection.scope is None or connection.scope.deadline is None:
            self._execute(cursor, statement, parameters, context)
            return
        statement = self._limit(connection, connection.scope, statement, context)
        try:
            self._execute(cursor, statement, parameters, context)
        finally:
            disarm(connection)

    def do_executemany(
        self, cursor: Any, statement: str, parameters: Any, context: Any = None
    ) -> None:
        connection = self._admit(context, statement)
        if connection is None or connection.scope is None or connection.scope.deadline is None:
            self._executemany(cursor, statement, parameters, context)
            return
        # PyMySQL tells by its first word that a statement can be sent for many rows at once: it
        # stays as it is
        self._limit(connection, connection.scope, statement, context)
        try:
            self._executemany(cursor, statement, parameters, context)
        finally:
            disarm(connection)

    def do_execute_no_params(self, cursor: Any, statement: str, context: Any = None) -> None:
        connection = self._admit(context, statement)
        if connection is None or connection.scope is None or connection.scope.deadline is None:
            self._execute_plain(cursor, statement, context)
            return
        statement = self._limit(connection, connection.scope, statement, context)
        try:
            self._execute_plain(cursor, statement, context)
        finally:
            disarm(connection)

    def _admit(self, context: Any, statement: str) -> ConnectionRecord | None:
        """What must hold before a statement is sent, whoever sends it."""
        if context is None:
            return None
        connection = _known(context.root_connection)
        if connection is None:
            return None
        connection.last_statement = statement
        scope = connection.scope
        transaction = connection.transaction
        if transaction is not None and transaction.failure is not None:
            if not transaction.rolling_back:
                raise given_up(scope, transaction, sending=True)
        elif scope is not None:
            scope.check_statement()
        if scope is not None:
            scope.statements += 1
            scope.last_statement = statement
        return connection

    def _limit(
        self, connection: ConnectionRecord, scope: Scope, statement: str, context: Any
    ) -> str:
        """Have the server, and the watchdog behind it, end a statement at the scope's deadline."""
        assert scope.deadline is not None
        if not is_plain(scope):
            remaining = scope.deadline - time.monotonic()
            first, statement = self._family.limit_statement(self._dialect, statement, remaining)
            if first is not None:
                cursor = context.root_connection.connection.cursor()
                try:
                    cursor.execute(first)
                finally:
                    cursor.close()
        # SQLite's is a mere interrupt; elsewhere the server is given time for its own limit
        grace = 0.0 if self._family.name == "sqlite" else _GRACE
        _arm(connection, scope.deadline + grace)
        return statement


def begin_of(scope: Scope) -> Begin:
    """What the transaction of a scope promises."""
    return Begin(scope.options.isolation, scope.readonly, is_plain(scope))


def is_plain(scope: Scope) -> bool:
    """Whether it runs without a transaction."""
    return scope.root.entry == "plain"


def _known(holder: Any) -> ConnectionRecord | None:
    try:
        found: ConnectionRecord | None = holder.info.get(KEY)
    except NotImplementedError:
        return None  # SQLAlchemy's own first look at a server, before the connection is a pool's
    return found


def record_of(conn: Connection) -> ConnectionRecord:
    record: ConnectionRecord = conn.info[KEY]
    return record


def disarm(connection: ConnectionRecord) -> None:
    """Call the watchdog off."""
    alarm, connection.alarm = connection.alarm, None
    if alarm is not None:
        alarm.cancel()


def _arm(connection: ConnectionRecord, when: float) -> None:
    disarm(connection)
    if connection.break_off is not None:
        connection.alarm = watchdog.arm(when, connection.break_off)


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
