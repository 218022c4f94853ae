"""SQLAlchemy's Connection as the fast paths use it: for a cursor, and for its errors."""

from __future__ import annotations

from typing import Any, Protocol

from ..dialects.drivers import KNOWN_DRIVERS


class Compiled(Protocol):
    """A statement that was compiled once, and what it was compiled from."""

    @property
    def sql(self) -> str: ...
    @property
    def compiled(self) -> Any: ...
    @property
    def construct(self) -> Any: ...


# what an engine or a connection may carry without a difference for INSERT and UPDATE
_HARMLESS = frozenset({"isolation_level", "postgresql_readonly", "postgresql_deferrable"})


class Sending:
    """As much of an execution context as dialects and error handlers ask for."""

    __slots__ = (
        "_rowcount", "compiled", "cursor", "dialect", "executemany", "execution_options",
        "invoked_statement", "isddl", "parameters", "root_connection", "statement",
    )  # fmt: skip

    def __init__(
        self, connection: Any, statement: Compiled, sql: str, parameters: Any, many: bool
    ) -> None:
        self.root_connection = connection
        self.dialect = connection.dialect
        self.executemany = many
        self.execution_options: dict[str, Any] = {}
        self.statement = sql
        self.compiled = statement.compiled
        self.invoked_statement = statement.construct
        self.parameters = parameters
        self.isddl = False
        self.cursor: Any = None
        self._rowcount: int | None = None

    @property
    def connection(self) -> Any:
        return self.root_connection

    def handle_dbapi_exception(self, error: BaseException) -> None:
        """What the dialect does about an error, such as dropping what it prepared."""
        self.dialect.execution_ctx_cls.handle_dbapi_exception(self, error)


def why_not_connection(connection: Any) -> str | None:
    """What of a connection asks for SQLAlchemy's own way of sending."""
    dialect = connection.dialect
    if connection._echo:
        return "echo"
    if (connection._has_events or connection.engine._has_events) and _is_heard(connection.dispatch):
        return "engine events"
    if dialect._has_events:
        dispatch = dialect.dispatch
        if dispatch.do_execute or dispatch.do_executemany or dispatch.do_execute_no_params:
            return "engine events"
        if dispatch.do_setinputsizes or not _all_ours(dispatch.handle_error):
            return "engine events"
    if dialect.driver not in KNOWN_DRIVERS or not _HARMLESS.issuperset(
        connection._execution_options
    ):
        return "dialect"
    transaction, nested = connection._transaction, connection._nested_transaction
    if connection._dbapi_connection is None or transaction is None or not transaction.is_active:
        return "connection"
    if (nested is not None and not nested.is_active) or connection._trans_context_manager:
        return "connection"
    return None


def _is_heard(dispatch: Any) -> bool:
    """Whether somebody listens still: the mark stays when the last one has gone."""
    return bool(
        dispatch.before_execute
        or dispatch.after_execute
        or dispatch.before_cursor_execute
        or dispatch.after_cursor_execute
    )


def _all_ours(listeners: Any) -> bool:
    """An outsider's listener may look into the execution context, of which there is only a part."""
    return all(getattr(fn, "__module__", "") == "hermetic.listeners" for fn in listeners)


def read_over(session: Any, side: Any, asked: Compiled, parameters: Any) -> Any:
    """All rows of a statement and what the driver says of their columns, on the session's own
    connection; ``None`` where that is SQLAlchemy's to execute.
    """
    connection = session._connection_for_bind(side.engine)
    if why_not_connection(connection) is not None:
        return None
    sql: str = asked.sql
    sending = Sending(connection, asked, sql, parameters, False)
    cursor: Any = None
    try:
        cursor = sending.cursor = connection._dbapi_connection.cursor()
        connection.dialect.do_execute(cursor, sql, parameters, sending)
        rows = sending.cursor.fetchall()  # in the place of which there may be one that counts
        description = cursor.description
    except BaseException as error:
        connection._handle_dbapi_exception(error, sql, parameters, cursor, sending)
        raise
    connection._safe_close_cursor(cursor)
    return rows, description
