"""Many rows whose keys the server makes, inserted with the keys given back in the rows' order.

On PostgreSQL one INSERT takes an array for each column, in an order that it keeps for keys that
count up; on SQLite, as SQLAlchemy does there, it is row by row. Everything else is SQLAlchemy's own
way of inserting many rows.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm.exc import FlushError

from ..dialects.writing import knows_last_row, takes_arrays
from ..watching.fetching import last_step
from . import arrays
from .lane import Lane, send
from .private_flush import rowid_text, shortened
from .write_plan import LASTROWID, Plan, Statement


def insert_with_keys(
    lane: Lane,
    plan: Plan,
    statement: Statement,
    one: Statement,
    states: list[Any],
    defaults: Any,
    rows: Any,
) -> None:
    """:param one: the statement for a single row.
    :param rows: makes the parameters of the driver for some states.
    """
    if statement.batches is None:
        _prepare(lane, statement, one)
    if statement.batches == BY_ARRAYS:
        columns = arrays.encoded(statement, states, defaults, statement.batch_size)
        if columns is not None:
            _by_arrays(lane, plan, statement, states, columns)
            return
    if statement.batches == BY_ROWS:
        _by_rows(lane, plan, statement, one, states, rows(lane, statement, states, defaults))
        return
    _by_sqlalchemy(lane, plan, statement, states, defaults)


BY_SQLALCHEMY, BY_ROWS, BY_ARRAYS = 0, 1, 2


def _prepare(lane: Lane, statement: Statement, one: Statement) -> None:
    """Find the way, and the size of a batch."""
    dialect = lane.dialect
    statement.batches = BY_SQLALCHEMY
    statement.batch_size = dialect.insertmanyvalues_page_size
    if takes_arrays(dialect.driver):
        statement.batch_sql = arrays.text(statement, dialect)
        if statement.batch_sql is not None:
            statement.batches = BY_ARRAYS
    elif knows_last_row(dialect.driver) and one.key == LASTROWID and one.names == statement.names:
        statement.batch_sql = rowid_text(statement.compiled)
        if statement.batch_sql is not None and statement.returned == ((one.key_prop, True),):
            statement.batches = BY_ROWS


def _by_rows(
    lane: Lane,
    plan: Plan,
    statement: Statement,
    one: Statement,
    states: list[Any],
    rows: list[Any],
) -> None:
    """An INSERT for each row, on one cursor, which knows the last row's key.

    It knows the number of a row, of which the key is another name unless the table is not what it
    is said to be: that is asked once, at the end.
    """
    keys: list[Any] = []
    cursor: Any = None
    row: Any = None
    size = statement.batch_size
    shown = shortened(statement.sql)
    for start in range(0, len(rows), size):
        # each batch passes the guard in front of statements once
        cursor, matched = send(lane, statement, one.sql, rows[start], False, shown)
        if matched == 1:
            keys.append(cursor.lastrowid)
        try:
            execute = cursor.execute
            for row in rows[start + 1 : start + size]:
                execute(one.sql, row)
                if cursor.rowcount == 1:
                    keys.append(cursor.lastrowid)
        except BaseException as error:
            lane.fail(error, shown, row, cursor, None)
        scope = lane.session._scope
        if scope is not None and scope.trace is not None:
            # one statement was noted of the batch, with one row
            more = min(size, len(rows) - start) - 1
            scope.trace.fetched(last_step(scope.trace), more)
    if len(keys) < len(states):
        raise _too_few(plan)
    cursor.execute(statement.batch_sql, (keys[-1],))
    told = cursor.fetchone()
    lane.close(cursor)
    proven = told is not None and told[0] == keys[-1]
    prop = one.key_prop
    for number, state in enumerate(states):
        values = state.obj().__dict__
        if values.get(prop) is None:
            values[prop] = keys[number] if proven else None


def _by_arrays(
    lane: Lane, plan: Plan, statement: Statement, states: list[Any], batches: list[Any]
) -> None:
    """``INSERT … SELECT … FROM unnest(…)``: an array for each column."""
    returned: list[Any] = []
    cursor: Any = None
    assert statement.batch_sql is not None
    for batch in batches:
        cursor, _ = send(lane, statement, statement.batch_sql, batch, False)
        try:
            found = cursor.fetchall()
        except BaseException as error:
            lane.fail(error, statement.batch_sql, batch, cursor, None)
        found.sort()
        returned += found
    _take(lane, plan, statement, states, returned, cursor)


def _take(
    lane: Lane, plan: Plan, statement: Statement, states: list[Any], rows: list[Any], cursor: Any
) -> None:
    if len(rows) < len(states):
        raise _too_few(plan)
    processors = statement.processors_of(lane.dialect, cursor.description)
    returned = statement.returned
    if len(returned) == 1 and processors[0] is None and returned[0][1]:
        prop = returned[0][0]
        for number, state in enumerate(states):
            values = state.obj().__dict__
            if values.get(prop) is None:
                values[prop] = rows[number][0]
    else:
        for number, state in enumerate(states):
            statement.take(state.obj().__dict__, rows[number], processors)
    lane.close(cursor)


def _too_few(plan: Plan) -> FlushError:
    return FlushError(
        f"Multi-row INSERT statement for {plan.mapper} did not produce the correct number of "
        "INSERTed rows for RETURNING.  Ensure there are no triggers or special driver issues "
        "preventing INSERT from functioning properly."
    )


def _by_sqlalchemy(
    lane: Lane, plan: Plan, statement: Statement, states: list[Any], defaults: Any
) -> None:
    """Through SQLAlchemy's "insertmanyvalues"."""
    names, props, sources = statement.names, statement.props, statement.sources
    parameters = []
    for number, state in enumerate(states):
        values = state.obj().__dict__
        parameters.append(
            {
                name: values.get(prop) if source < 0 else defaults[number][source]
                for name, prop, source in zip(names, props, sources, strict=True)
            }
        )
    result = lane.full().execute(statement.construct, parameters)
    rows = result.inserted_primary_key_rows
    returned = result.returned_defaults_rows or ()
    if len(rows) < len(states):
        raise _too_few(plan)
    extra = [(index, prop) for index, (prop, is_key) in enumerate(statement.returned) if not is_key]
    for number, state in enumerate(states):
        values = state.obj().__dict__
        for prop, value in zip(plan.pk_props, rows[number], strict=True):
            if values.get(prop) is None:
                values[prop] = value
        for index, prop in extra:
            values[prop] = returned[number][index]
