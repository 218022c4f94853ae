"""The way to the driver's cursor: over SQLAlchemy's Connection, or the one a fast path has in hand.

Over a Connection a statement passes the dialect's ``do_execute`` and ``do_executemany``, where
hermetic stands. Either way an error leaves through the Connection as one of SQLAlchemy's.
"""

from __future__ import annotations

from typing import Any

from ..connection import ConnectionRecord
from .lean import failed, in_hand, take, told
from .listening import is_heard
from .over import Sending, why_not_connection
from .write_plan import RETURNED, Statement

# ---------------------------------------------------------------- lanes


class Unsaid(Exception):
    """An error on a lane that is awaited: SQLAlchemy, in its greenlet, has yet to say it."""

    def __init__(self, error: BaseException, sql: str | None, parameters: Any) -> None:
        super().__init__()
        self.error = error
        self.sql = sql
        self.parameters = parameters


class Lane:
    """Where the statements of one flush go."""

    __slots__ = ("awaited", "connection", "dialect", "record", "scope", "session", "side")

    def __init__(self, session: Any, dialect: Any) -> None:
        self.session = session
        self.dialect = dialect
        # SQLAlchemy's connection
        self.connection: Any = None
        # or the record of the one in hand
        self.record: ConnectionRecord | None = None
        self.scope: Any = None
        self.side: Any = None
        # whether the driver is awaited, by whoever sends the statements
        self.awaited = False

    def full(self) -> Any:
        """SQLAlchemy's connection, made over the one in hand if need be."""
        if self.connection is None:
            self.connection = self.session._autobegin_t().adopted(self.side.engine)
            self.record = None
        return self.connection

    def fail(
        self, error: BaseException, sql: str | None, parameters: Any, cursor: Any, context: Any
    ) -> None:
        """Raise an error as SQLAlchemy does."""
        if self.awaited:
            raise Unsaid(error, sql, parameters)
        if self.record is not None:
            failed(self.session, self.side, error, sql, parameters, cursor)
        self.connection._handle_dbapi_exception(error, sql, parameters, cursor, context)

    def close(self, cursor: Any) -> None:
        if self.record is None:
            self.connection._safe_close_cursor(cursor)


def lane_in_hand(session: Any, transaction: Any) -> Lane | None:
    """The lane of a scope's fast path, where it has one or may begin one."""
    scope = session._scope
    side = None if scope is None else scope.side
    if (
        side is None
        or side.asynchronous
        or session.bind is not side.engine
        or session.execution_options
    ):
        return None
    if scope.deadline is not None and not side.limits_ahead:
        return None
    if is_heard(session) or side.watched():
        return None
    if session._nested_transaction is not None:
        return None
    if scope.in_hand:
        record = in_hand(session, scope, side)
    elif transaction._connections or transaction._parent is not None:
        return None
    else:
        scope.check_statement()
        record = take(session, scope, side)
    if record is None or record.transaction is None or record.transaction.failure is not None:
        return None
    record.transaction.begin_now()
    lane = Lane(session, side.dialect)
    lane.record, lane.scope, lane.side = record, scope, side
    return lane


def lane_of(session: Any, transaction: Any, mapper: Any) -> Lane | str:
    """A lane, or the reason why there is none."""
    lane = lane_in_hand(session, transaction)
    if lane is not None:
        return lane
    bind = session.get_bind(mapper)
    held = transaction._connections.get(bind)
    connection = transaction._connection_for_bind(bind, None) if held is None else held[0]
    reason = why_not_connection(connection)
    if reason is not None:
        return reason
    lane = Lane(session, connection.dialect)
    lane.connection = connection
    return lane


def send(
    lane: Lane,
    statement: Statement,
    sql: str,
    parameters: Any,
    many: bool,
    shown: str | None = None,
) -> Any:
    """Execute; the cursor, and the number of rows that the driver tells of.

    :param shown: the statement that an error names.
    """
    if lane.record is not None:
        returns = statement.key == RETURNED
        return _send_in_hand(lane, sql, parameters, many, shown, returns)
    connection, dialect = lane.connection, lane.dialect
    sending = Sending(connection, statement, sql, parameters, many)
    cursor: Any = None
    try:
        cursor = sending.cursor = connection._dbapi_connection.cursor()
        if many:
            dialect.do_executemany(cursor, sql, parameters, sending)
        else:
            dialect.do_execute(cursor, sql, parameters, sending)
    except BaseException as error:
        connection._handle_dbapi_exception(error, shown or sql, parameters, cursor, sending)
    cursor = sending.cursor  # in the place of which there may be one that counts
    return cursor, (cursor.rowcount if sending._rowcount is None else sending._rowcount)


def _send_in_hand(
    lane: Lane, sql: str, parameters: Any, many: bool, shown: str | None, returns: bool
) -> Any:
    scope, connection = lane.scope, lane.record
    assert connection is not None
    assert connection.transaction is not None
    scope.check_statement()
    trace = scope.trace
    if trace is not None:
        trace.sent(scope, sql)
    connection.transaction.statements += 1
    scope.statements += 1
    scope.last_statement = connection.last_statement = sql
    connection.at_rest = False
    cursor = connection.cursor
    if cursor is None:
        cursor = connection.cursor = scope.lent.dbapi_connection.cursor()
    sent = sql
    if lane.side.limits and (
        scope.deadline is not None or connection.transaction.limit is not None
    ):
        sent, first = told(lane.side, scope, connection, cursor, sql)
        if first is not None:
            cursor.execute(first)
    if many:
        sent = sql  # PyMySQL tells by its first word that it may be sent for many rows at once
    if trace is not None and trace.comment is not None:
        side = lane.side
        sent = trace.comment(trace, sent, side.family, side.dialect.paramstyle, many)
    if connection.puts_off:
        cursor.apart = False
    try:
        if many:
            cursor.executemany(sent, parameters)
        else:
            cursor.execute(sent, parameters)
    except BaseException as error:
        connection.cursor = None
        failed(lane.session, lane.side, error, shown or sql, parameters, cursor)
        raise
    connection.at_rest = True
    if trace is not None:
        # SQLite has counted no row yet of what returns one
        trace.answered(max(1, cursor.rowcount) if returns else cursor.rowcount)
    return cursor, cursor.rowcount
