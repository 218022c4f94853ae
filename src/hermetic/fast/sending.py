"""Sending the statements of a flush: on the driver's cursor, or through SQLAlchemy's Connection.

Either way they pass the dialect's ``do_execute`` and ``do_executemany``, where hermetic stands, and
an error leaves through the Connection as one of SQLAlchemy's.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm.exc import FlushError, StaleDataError

from .bulk_insert import insert_with_keys
from .private_flush import CALLED, result_processor
from .write_plan import GIVEN, LASTROWID, Plan, Statement

# what an engine or a connection may carry without a difference for INSERT and UPDATE
_HARMLESS = frozenset({"isolation_level", "postgresql_readonly", "postgresql_deferrable"})
_DRIVERS = frozenset(
    {"pysqlite", "aiosqlite", "psycopg", "psycopg_async", "asyncpg", "pymysql", "asyncmy"}
)


class Sending:
    """As much of an execution context as dialects and error handlers ask for."""

    __slots__ = (
        "_rowcount", "compiled", "cursor", "dialect", "executemany", "execution_options",
        "invoked_statement", "isddl", "parameters", "root_connection", "statement",
    )  # fmt: skip

    def __init__(self, connection: Any, statement: Statement, parameters: Any, many: bool) -> None:
        self.root_connection = connection
        self.dialect = connection.dialect
        self.executemany = many
        self.execution_options: dict[str, Any] = {}
        self.statement = statement.sql
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
    if dialect.driver not in _DRIVERS or not _HARMLESS.issuperset(connection._execution_options):
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


# ---------------------------------------------------------------- sending


def send(connection: Any, statement: Statement, parameters: Any, many: bool) -> Any:
    """Execute, and return the cursor."""
    sending = Sending(connection, statement, parameters, many)
    dialect = connection.dialect
    cursor: Any = None
    try:
        cursor = sending.cursor = connection._dbapi_connection.cursor()
        if many:
            dialect.do_executemany(cursor, statement.sql, parameters, sending)
        else:
            dialect.do_execute(cursor, statement.sql, parameters, sending)
    except BaseException as error:
        connection._handle_dbapi_exception(error, statement.sql, parameters, cursor, sending)
    return cursor, sending


def _rows(
    connection: Any, statement: Statement, states: list[Any], defaults: list[Any] | None
) -> list[Any]:
    """The parameters of every state."""
    rows: list[Any] = []
    state = None
    try:
        for number, state in enumerate(states):
            made = None if defaults is None else defaults[number]
            rows.append(_row(statement, state.obj().__dict__, made))
    except BaseException as error:
        connection._handle_dbapi_exception(
            error, statement.sql, _raw(statement, states, defaults), None, None
        )
    return rows


def _row(statement: Statement, values: Any, defaults: Any) -> Any:
    row: list[Any] = []
    for index, prop in enumerate(statement.props):
        source = statement.sources[index]
        value = values.get(prop) if source < 0 else defaults[source]
        if statement.processes:
            processor = statement.processors[index]
            if processor is not None:
                value = processor(value)
        row.append(value)
    if statement.positional:
        return tuple(row)
    return dict(zip(statement.names, row, strict=True))


def _raw(statement: Statement, states: list[Any], defaults: list[Any] | None) -> list[Any]:
    """The parameters as SQLAlchemy shows them where they could not be converted."""
    return [
        {
            name: state.dict.get(prop)
            for name, prop, source in zip(
                statement.names, statement.props, statement.sources, strict=True
            )
            if source < 0
        }
        for state in states
    ]


def _defaults(connection: Any, statement: Statement, states: list[Any]) -> list[Any] | None:
    """The values that the client makes for columns without one, row by row."""
    if not statement.prefetch:
        return None
    made: list[Any] = []
    kinds, arguments = statement.prefetch_kinds, statement.prefetch_args
    try:
        for _ in states:
            row = [
                argument(None) if kind == CALLED else argument
                for kind, argument in zip(kinds, arguments, strict=True)
            ]
            made.append(row)
    except BaseException as error:
        connection._handle_dbapi_exception(
            error, statement.sql, _raw(statement, states, None), None, None
        )
    return made


def _after(statement: Statement, state: Any, values: Any, defaults: Any) -> None:
    """What the client made is the object's; what the server made is expired."""
    if statement.prefetch:
        for index, prop in enumerate(statement.prefetch_props):
            values[prop] = defaults[index]
            state.committed_state.pop(prop, None)
    if statement.expire:
        state._expire_attributes(values, statement.expire)


def _groups(masks: list[int]) -> list[tuple[int, int]]:
    """Where runs of rows with the same columns begin and end."""
    found: list[tuple[int, int]] = []
    start = 0
    for index in range(1, len(masks)):
        if masks[index] != masks[start]:
            found.append((start, index))
            start = index
    found.append((start, len(masks)))
    return found


# ---------------------------------------------------------------- INSERT


def send_inserts(connection: Any, plan: Plan, states: list[Any], masks: list[int]) -> None:
    for start, end in _groups(masks):
        group = states if end - start == len(states) else states[start:end]
        statement = plan.insert(connection.dialect, masks[start], end - start > 1)
        if not statement.many:
            for state in group:
                _insert_one(connection, plan, statement, state)
            continue
        defaults = _defaults(connection, statement, group)
        if statement.returned:
            insert_with_keys(connection, plan, statement, group, defaults)
        else:
            rows = _rows(connection, statement, group, defaults)
            cursor, _ = send(connection, statement, rows, True)
            connection._safe_close_cursor(cursor)
        if defaults is not None or statement.expire:
            for number, state in enumerate(group):
                made = None if defaults is None else defaults[number]
                _after(statement, state, state.obj().__dict__, made)


def _insert_one(connection: Any, plan: Plan, statement: Statement, state: Any) -> None:
    made = _defaults(connection, statement, [state])
    defaults = None if made is None else made[0]
    parameters = _rows(connection, statement, [state], made)[0]
    values = state.obj().__dict__
    cursor, sending = send(connection, statement, parameters, False)
    if statement.key == LASTROWID:
        if values.get(statement.key_prop) is None:
            values[statement.key_prop] = cursor.lastrowid
    elif statement.key != GIVEN:
        try:
            row = cursor.fetchone()
            if row is None:
                raise FlushError(
                    f"Single-row INSERT statement for {plan.mapper} did not produce a new primary "
                    "key result being invoked.  Ensure there are no triggers or special driver "
                    "issues preventing INSERT from functioning properly."
                )
            take_returned(connection, statement, cursor, values, row)
        except BaseException as error:
            connection._handle_dbapi_exception(error, statement.sql, parameters, cursor, sending)
    connection._safe_close_cursor(cursor)
    _after(statement, state, values, defaults)


def take_returned(
    connection: Any, statement: Statement, cursor: Any, values: Any, row: Any
) -> None:
    processors = statement.result_processors
    if processors is None:
        processors = statement.result_processors = [
            result_processor(column, connection.dialect, described[1])
            for column, described in zip(
                statement.returned_columns, cursor.description, strict=False
            )
        ]
    for index, (prop, is_key) in enumerate(statement.returned):
        value = row[index]
        processor = processors[index]
        if processor is not None:
            value = processor(value)
        if not is_key or values.get(prop) is None:
            values[prop] = value


# ---------------------------------------------------------------- UPDATE


def send_updates(connection: Any, plan: Plan, states: list[Any], masks: list[int]) -> None:
    dialect = connection.dialect
    for start, end in _groups(masks):
        group = states if end - start == len(states) else states[start:end]
        many = len(group) > 1
        statement = plan.update(dialect, masks[start], many)
        defaults = _defaults(connection, statement, group)
        rows = _rows(connection, statement, group, defaults)
        cursor, sending = send(connection, statement, rows if many else rows[0], many)
        matched = cursor.rowcount if sending._rowcount is None else sending._rowcount
        connection._safe_close_cursor(cursor)
        if defaults is not None or statement.expire:
            # SQLAlchemy gives every row of one executemany the values of the first
            made = None if defaults is None else defaults[0]
            for state in group:
                _after(statement, state, state.obj().__dict__, made)
        sane = dialect.supports_sane_rowcount
        if sane and (not many or dialect.supports_sane_multi_rowcount) and matched != len(group):
            raise StaleDataError(
                f"UPDATE statement on table '{plan.mapper.local_table.description}' expected to "
                f"update {len(group)} row(s); {matched} were matched."
            )
