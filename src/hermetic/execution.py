"""Every connect, BEGIN, statement, savepoint, COMMIT and ROLLBACK of an engine passes here.

SQLAlchemy's events for these cost more than what is done in them, and no event tells that a COMMIT
came back; the methods of the dialect (public, documented for outside dialects) are narrower. They
are set on the one dialect instance that an engine has for itself.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import nullcontext
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.util import await_only

from .cancellation import Delivering
from .clock import monotonic
from .connection import ConnectionRecord, Transaction
from .dialects.family import Begin, Family
from .dialects.text import CONTROL, POINT, head
from .errors import ScopeControls
from .limits import AGAIN, GRACE, insist, limited
from .options import DatabaseOptions, Isolation
from .parts import parts
from .pool import RESTORE, connecting_until, demanded
from .refusals import ended_by_hand, given_up, lost_by_pooler
from .registry import Scope
from .streams import OPEN, end_all
from .vote import undo, vote_of
from .watchdog import watchdog
from .watching.commenting import commented
from .watching.fetching import counted, ended, met

# the key of a ConnectionRecord in its pool record's ``info``
KEY = "hermetic"

_NOTHING = nullcontext()

# an option by which SQLAlchemy tells nobody of errors
_UNHEARD = "skip_user_error_events"

# traits of a statement's text, and how many statements are remembered with theirs
_CONTROLS, _COMMITS, _DIRTIES, _HIDES, _SWITCHES, _POINTS = 1, 2, 4, 8, 16, 32
_REMEMBERED = 1000


_process = os.getpid()


def _after_fork() -> None:
    global _process  # noqa: PLW0603 - there is one of it
    _process = os.getpid()


os.register_at_fork(after_in_child=_after_fork)


class Execution:
    """Stands around the methods of one engine's dialect."""

    def __init__(
        self,
        dialect: Any,
        family: Family,
        driver: str,
        options: DatabaseOptions,
        restore: Callable[[Any], bool],
        roll_back_first: Callable[[Any], None],
        *,
        reader: bool,
    ) -> None:
        self._family = family
        self._driver = driver
        self._options = options
        self._reader = reader
        self._dialect = dialect
        self._reads_apart = reader and family.reads_apart(options)
        # the driver's connections that are in autocommit, by id, for as long as they are
        self._autocommit: set[int] = set()
        self._traits: dict[str, int] = {}
        # what sets a connection back at its return, and after which statements
        self._restore = restore
        # behind a pooler there is no connection of one's own to set back
        self._pooled = options.pooler is not None
        self._looks = options.reset_connections != "never" and not self._pooled
        self._always = options.reset_connections == "always" and not self._pooled
        self._tenants: Any = options.tenants
        self._set_isolation = dialect.set_isolation_level
        self._set_options = dialect.set_connection_execution_options
        self._connect = dialect.connect
        self._ping = dialect.do_ping
        self._begin = dialect.do_begin
        self._commit = dialect.do_commit
        self._rollback = dialect.do_rollback
        self._roll_back_first = roll_back_first
        self._execute = dialect.do_execute
        self._executemany = dialect.do_executemany
        self._execute_plain = dialect.do_execute_no_params
        self._savepoint = dialect.do_savepoint
        self._rollback_to = dialect.do_rollback_to_savepoint
        self._release = dialect.do_release_savepoint
        if family.terminates_waiting(driver):
            dialect.do_terminate = self.do_terminate
        for name in (
            "connect", "do_ping", "do_begin", "do_commit", "do_rollback", "do_execute",
            "do_executemany", "do_execute_no_params", "do_savepoint", "do_rollback_to_savepoint",
            "do_release_savepoint", "set_isolation_level", "set_connection_execution_options",
        ):  # fmt: skip
            setattr(dialect, name, getattr(self, name))

    def _delivering(self) -> Any:
        return Delivering() if self._dialect.is_async else _NOTHING

    def connect(self, *args: Any, **kwargs: Any) -> Any:
        made = None
        try:
            with self._delivering():
                made = self._made(args, kwargs)
        except asyncio.CancelledError:
            if made is not None:
                self._dialect.do_terminate(made)
            raise
        return made

    def do_ping(self, dbapi: Any) -> bool:
        with self._delivering():
            return self._family.ping(self._ping, dbapi, self._driver, await_only)

    def _made(self, args: Any, kwargs: Any) -> Any:
        try:
            return self._family.connect(self._connect, self._driver, args, kwargs)
        except (OSError, TimeoutError, EOFError) as error:
            # asyncpg and asyncmy let these through as they are; as an error of the DBAPI they take
            # the way of all others. A timeout here is nobody's command_timeout
            cause = error
            if isinstance(error, TimeoutError):
                cause = ConnectionRefusedError("the server did not answer in time")
                cause.__cause__ = error
            raise self._dialect.loaded_dbapi.OperationalError(
                f"{type(error).__name__}: {error}"
            ) from cause

    def set_connection_execution_options(self, connection: Connection, options: Any) -> None:
        self._set_options(connection, options)
        if options.get(_UNHEARD):
            # reflection on MariaDB and MySQL sets it and leaves it there: of no error on this
            # connection would anybody be told
            connection.execution_options(**{_UNHEARD: False})

    def set_isolation_level(self, dbapi: Any, level: str) -> None:
        if level == "AUTOCOMMIT":
            self._autocommit.add(id(dbapi))
        else:
            self._autocommit.discard(id(dbapi))
        if self._family.sends_begin:
            return  # the driver is in autocommit always; BEGIN is ours
        self._set_isolation(dbapi, level)

    def forget(self, dbapi: Any) -> None:
        """A connection was closed; another one may get its id."""
        self._autocommit.discard(id(dbapi))

    def do_terminate(self, dbapi: Any) -> None:
        """Without any wait, which a cancellation could strike."""
        insist(self._family.abandon(dbapi, self._driver))

    # ------------------------------------------------------------ transactions

    def do_begin(self, dbapi: Any) -> None:
        connection = known(dbapi)
        if connection is None:
            self._begin(dbapi)
            return
        scope = demanded()
        if connection.transaction is not None and connection.transaction.in_hand:
            connection.transaction.in_hand = False  # a fast path has begun it
            connection.transaction.begin_now()
            return
        transaction = connection.transaction = Transaction()
        connection.scope = scope
        if scope is None:
            plain = id(dbapi.dbapi_connection) in self._autocommit
            begin = _begin(None, self._reader or connection.beside, plain)
        else:
            begin = begin_of(scope)
            if scope.transaction is not None and not begin.plain:
                # the first one was ended behind the scope's back: what it did cannot be had again
                scope.transaction.fail(ended_by_hand(scope), None, gone=True)
                raise given_up(scope, scope.transaction, sending=True)
            scope.connection = connection
            scope.transaction = transaction
            met(scope, connection)
        if begin.plain and begin.readonly and self._pooled:
            raise lost_by_pooler(scope, "a read-only scope without a transaction")
        transaction.plain = begin.plain or begin.apart
        transaction.apart = begin.apart
        self._begin(dbapi)
        deadline = connecting_until.get() if scope is None else scope.deadline
        vote = vote_of(scope)
        if vote is None or not vote.begin(dbapi, begin):
            self._family.start(dbapi, self._driver, begin, self._options, deadline)
        if scope is not None and scope.settings:
            self._tell(dbapi, scope.settings)
        connection.ready = not begin.plain or self._reads_apart
        transaction.begun = True

    def _tell(self, dbapi: Any, statements: tuple[str, ...]) -> None:
        cursor = dbapi.cursor()
        try:
            for statement in statements:
                cursor.execute(statement)
        finally:
            cursor.close()

    def do_commit(self, dbapi: Any) -> None:
        """:raises RolledBack: the server would answer this COMMIT with a rollback.
        :raises ScopeControls: it is not the scope that commits.
        """
        connection = known(dbapi)
        transaction = None if connection is None else connection.transaction
        if connection is None or transaction is None:
            self._commit(dbapi)
            return
        if OPEN:
            end_all(connection.number)
        scope = connection.scope
        if transaction.failure is None and scope is not None and not scope.ending:
            transaction.fail(ended_by_hand(scope), None, gone=False)
        vote = vote_of(scope)
        kept = vote is not None and vote.prepared
        if transaction.failure is not None or (not kept and self.is_given_up(dbapi, connection)):
            # SQLAlchemy takes a transaction whose commit raised for ended, and sends nothing more
            undo(dbapi, scope, self._rollback)
            transaction.over = True
            raise given_up(scope, transaction)
        transaction.commit_sent = transaction.over = True
        if not (transaction.apart and self._is_clean(dbapi)) and not (
            vote is not None and vote.end(dbapi, commit=True)
        ):
            self._commit(dbapi)
        transaction.committed = True
        ended(scope)
        if scope is not None and scope.asks:
            scope.route.ask(scope, connection, dbapi.dbapi_connection, self._dialect)

    def do_rollback(self, dbapi: Any) -> None:
        if os.getpid() != _process:
            # in a forked child, before its own beginning: the locals of threads that are not here
            # are collected, and among them sessions in a transaction of the parent's
            return
        connection = known(dbapi)
        transaction = None if connection is None else connection.transaction
        if connection is None:
            self._roll_back_first(dbapi)
            return
        if transaction is None:
            self._rollback(dbapi)
            return
        if OPEN:
            end_all(connection.number)
        if transaction.over and self._is_clean(dbapi):
            return  # the pool's reset of a connection that has nothing to reset
        scope = connection.scope
        early = scope is not None and not scope.ending
        if scope is not None and early:
            # a failed flush, or somebody by hand: either way the scope's transaction is over
            transaction.fail(ended_by_hand(scope), None, gone=True)
            self._bound(connection)
        if not (transaction.apart and self._is_clean(dbapi)):
            undo(dbapi, scope, self._rollback)
        transaction.over = True
        ended(scope)
        if scope is not None and early:
            rewatch(scope.root)  # its block may go on

    def _bound(self, connection: ConnectionRecord) -> None:
        """Give a rollback that is not the end of its scope the time of a cleanup."""
        alarm = connection.alarm
        if alarm is None or not alarm.fired or self._family.embedded:
            watch(connection, monotonic() + self._options.cleanup_timeout)

    def _is_clean(self, dbapi: Any) -> bool:
        return self._family.is_clean(dbapi.dbapi_connection, self._driver)

    def _begin_late(self, connection: ConnectionRecord, dbapi: Any) -> None:
        """Begin a transaction in a scope whose statements were apart until now."""
        transaction = connection.transaction
        assert transaction is not None
        self._family.begin_late(self._dialect, dbapi, self._driver)
        transaction.plain = transaction.apart = False
        transaction.late = True

    def end_late(self, connection: ConnectionRecord, dbapi: Any) -> None:
        """Put a connection back into autocommit, on which a transaction was begun so."""
        if connection.transaction is not None and connection.transaction.late:
            self._dialect.reset_isolation_level(dbapi)

    def is_given_up(self, dbapi: Any, connection: ConnectionRecord) -> bool:
        """Whether the server has no transaction where we have one."""
        transaction = connection.transaction
        if transaction is None or not transaction.begun or transaction.plain:
            return False
        return self._family.server_gave_up(
            dbapi.dbapi_connection, self._driver, worked=transaction.statements > 0
        )

    def do_savepoint(self, conn: Connection, name: str) -> None:
        connection = record_of(conn)
        transaction = connection.transaction
        if transaction is not None and transaction.apart:
            self._begin_late(connection, conn.connection)
        self._savepoint(conn, name)
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
            # SQLAlchemy takes a savepoint whose release raised for ended, and sends nothing more
            error = given_up(connection.scope, transaction)
            self.do_rollback_to_savepoint(conn, name)
            raise error
        self._release(conn, name)
        if transaction is not None:
            transaction.released(name)

    # ------------------------------------------------------------ statements

    def do_execute(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        connection = self._admit(context, statement)
        if connection is None:
            self._execute(cursor, statement, parameters, context)
            return
        statement = self._limit(connection, cursor, statement, context)
        statement = commented(connection, cursor, statement, self._dialect.paramstyle)
        with self._delivering():
            self._execute(cursor, statement, parameters, context)
        self._look(connection, cursor, context, None)

    def do_executemany(
        self, cursor: Any, statement: str, parameters: Any, context: Any = None
    ) -> None:
        connection = self._admit(context, statement)
        if connection is None:
            self._executemany(cursor, statement, parameters, context)
            return
        # PyMySQL tells by its first word that a statement can be sent for many rows at once: it
        # stays as it is
        self._limit(connection, cursor, statement, context)
        style = self._dialect.paramstyle
        statement = commented(connection, cursor, statement, style, many=True)
        with Delivering():
            self._executemany(cursor, statement, parameters, context)
        self._look(connection, cursor, context, parameters)

    def do_execute_no_params(self, cursor: Any, statement: str, context: Any = None) -> None:
        connection = self._admit(context, statement)
        if connection is None:
            self._execute_plain(cursor, statement, context)
            return
        statement = self._limit(connection, cursor, statement, context)
        statement = commented(connection, cursor, statement, None)
        with self._delivering():
            self._execute_plain(cursor, statement, context)
        self._look(connection, cursor, context, None)

    def _look(self, connection: ConnectionRecord, cursor: Any, context: Any, many: Any) -> None:
        """Whether the transaction is still open on the server, as far as the driver knows.

        Text does not tell: a procedure commits, a function does, a statement of several.
        """
        connection.at_rest = True
        if connection.scope is not None and connection.scope.trace is not None:
            counted(connection.scope.trace, connection, cursor, context, many)
        transaction = connection.transaction
        if connection.probe is None or transaction is None or transaction.plain:
            return
        if connection.probe():
            transaction.entered = True
        elif transaction.entered and transaction.failure is None and connection.scope is not None:
            transaction.unsure = True
            transaction.fail(ended_by_hand(connection.scope), None, gone=True)

    def _admit(self, context: Any, statement: str) -> ConnectionRecord | None:
        """What must hold before a statement is sent, whoever sends it."""
        if context is None:
            return None
        connection = known(context.root_connection)
        if connection is None:
            return None
        connection.last_statement = statement
        scope = connection.scope
        transaction = connection.transaction
        if (
            transaction is not None
            and transaction.failure is not None
            and not transaction.rolling_back
        ):
            raise given_up(scope, transaction, sending=True)
        traits = self._traits_of(statement)
        if scope is not None and (transaction is None or not transaction.rolling_back):
            scope.check_statement()
            self._check_control(scope, statement)
        if traits & _DIRTIES and self._pooled:
            raise lost_by_pooler(scope, statement)
        # what puts up a savepoint, or takes it down, is no statement of the user's; and nothing may
        # keep it from the server
        if scope is not None and scope.trace is not None and not traits & _POINTS:
            scope.trace.sent(scope, statement)
            scope.trace.streams = bool(getattr(context, "_is_server_side", False))
        # it is sent: whoever asks whether anything was must not be told so of what was refused
        if transaction is not None:
            transaction.statements += 1
        if scope is not None:
            scope.statements += 1
            scope.last_statement = statement
        if traits & _DIRTIES:
            connection.dirty = True
        elif traits & _HIDES or self._always:
            context.root_connection.info[RESTORE] = self._restore
        connection.at_rest = False
        return connection

    def _check_control(self, scope: Scope, statement: str) -> None:
        traits = self._traits_of(statement)
        if traits & _SWITCHES and scope.root.settings:
            raise ScopeControls(
                f"{statement.strip()[:60]!r} would change what the scope's tenant is known by, or "
                "does not say what it would change.",
                scope=scope.ref,
                hint="A scope has one tenant; open another one for another. A set_config() of "
                "something else has its name in the statement's text, not as a parameter.",
            )
        if not traits & (_CONTROLS | _COMMITS) or is_plain(scope):
            return
        if traits & _CONTROLS:
            what = f"{statement.strip()!r} was executed in a scope, which ends by itself."
        else:
            what = f"{self._family.name} commits the transaction before {statement.strip()[:40]!r}…"
        raise ScopeControls(
            what,
            scope=scope.ref,
            hint="Use savepoints through propagation='nested'; send what cannot be rolled back in "
            "a scope of its own with propagation='not_supported', or through db.engine.",
        )

    def _traits_of(self, statement: str) -> int:
        """What the text of a statement tells, found once: compiled statements come again."""
        traits = self._traits.get(statement)
        if traits is None:
            first = head(statement)
            traits = (
                (_CONTROLS if CONTROL.match(first) else 0)
                | (_POINTS if POINT.match(first) else 0)
                | (_COMMITS if self._family.commits_implicitly(first) else 0)
                | (_DIRTIES if self._family.leaves(statement) else 0)
                | (_HIDES if self._looks and self._family.hides(statement) else 0)
                | (_SWITCHES if self._tenants and self._switches(statement) else 0)
            )
            if len(self._traits) >= _REMEMBERED:
                self._traits.clear()
            self._traits[statement] = traits
        return traits

    def _switches(self, statement: str) -> bool:
        return self._family.changes_tenant(statement, self._tenants)

    def _limit(
        self, connection: ConnectionRecord, cursor: Any, statement: str, context: Any
    ) -> str:
        """Have the server end a statement at the scope's deadline; the watchdog is behind it."""
        scope, transaction = connection.scope, connection.transaction
        if scope is None or transaction is None or transaction.rolling_back:
            return statement
        if transaction.apart and self._family.needs_transaction(context):
            self._begin_late(connection, context.root_connection.connection)
        if scope.deadline is None and transaction.limit is None:
            return statement
        statement, first, limit = limited(
            self._family, self._options, self._dialect, connection, scope, cursor, statement
        )
        if first is not None:
            if transaction.apart:
                self._begin_late(connection, context.root_connection.connection)
            # nothing ends a setting in autocommit: the connection is destroyed at its return
            connection.dirty |= transaction.plain
            if not self._family.send_ahead(cursor, first):
                self._send(context, first)
        transaction.limit = limit
        return statement

    def _send(self, context: Any, statement: str) -> None:
        cursor = context.root_connection.connection.cursor()
        try:
            cursor.execute(statement)
        finally:
            cursor.close()


_begin = lru_cache(maxsize=64)(Begin)


def begin_of(scope: Scope) -> Begin:
    """What the transaction of a scope promises."""
    isolation, plain = scope.options.isolation, is_plain(scope)
    apart = isolation is None and not plain and scope.readonly and scope.registry.reads_apart
    if scope.settings and apart:
        # they last for a transaction; a reader's connection leaves autocommit for a named level
        apart, isolation = False, Isolation.READ_COMMITTED
    return _begin(isolation, scope.readonly, plain, apart)


def is_plain(scope: Scope) -> bool:
    """Whether it runs without a transaction."""
    return (scope._root or scope).entry == "plain"


def known(holder: Any) -> ConnectionRecord | None:
    try:
        found: ConnectionRecord | None = holder.info.get(KEY)
    except NotImplementedError:
        return None  # SQLAlchemy's own first look at a server, before the connection is a pool's
    return found


def record_of(conn: Connection) -> ConnectionRecord:
    record: ConnectionRecord = conn.info[KEY]
    return record


def watch(connection: ConnectionRecord, deadline: float | None, *, gently: bool = False) -> None:
    """Have the watchdog break off whatever the connection is doing at the deadline.

    :param gently: only if a statement is under way: the deadline is an inner scope's, and the
        transaction may go on after it.
    """
    disarm(connection)
    break_off = connection.break_off
    if deadline is None or break_off is None:
        return

    embedded = connection.family.embedded

    def strike() -> float | None:
        # an interrupt may strike between any two steps of watching and calling off: what is not
        # the connection's alarm any more must not shut it under somebody else
        if connection.alarm is not alarm:
            return None
        if not gently or not connection.at_rest:
            break_off()
        # SQLite's interrupt is lost on a statement that is only about to begin
        return AGAIN if embedded else None

    # a server is given time for its own limit
    connection.alarm = alarm = watchdog.alarm(strike)
    watchdog.start(alarm, deadline + (0.0 if embedded else GRACE))


def rewatch(root: Scope) -> None:
    """The same again, after the deadline of a scope that holds a connection has changed."""
    for part in parts(root):
        connection = part.connection
        part.deadline = root.deadline
        if connection is not None and connection.scope is part:
            own = root.options.timeout
            inner = own is None or root.given_timeout != own
            watch(connection, root.deadline, gently=inner)


def disarm(connection: ConnectionRecord) -> None:
    """Call the watchdog off."""
    alarm, connection.alarm = connection.alarm, None
    if alarm is not None:
        alarm.cancel()
