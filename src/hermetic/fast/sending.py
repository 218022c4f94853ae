"""Sending the statements of a flush, and taking what comes back into the objects."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm.exc import FlushError, StaleDataError

from .bulk_insert import insert_with_keys
from .lane import Lane, send
from .private_flush import CALLED
from .write_plan import GIVEN, LASTROWID, Plan, Statement


def _rows(
    lane: Lane, statement: Statement, states: list[Any], defaults: list[Any] | None
) -> list[Any]:
    """The parameters of every state."""
    rows: list[Any] = []
    state = None
    try:
        for number, state in enumerate(states):
            made = None if defaults is None else defaults[number]
            rows.append(_row(statement, state.obj().__dict__, made))
    except BaseException as error:
        lane.fail(error, statement.sql, _raw(statement, states, defaults), None, None)
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


def _defaults(lane: Lane, statement: Statement, states: list[Any]) -> list[Any] | None:
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
        lane.fail(error, statement.sql, _raw(statement, states, None), None, None)
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


def send_inserts(lane: Lane, plan: Plan, states: list[Any], masks: list[int]) -> None:
    for start, end in _groups(masks):
        group = states if end - start == len(states) else states[start:end]
        statement = plan.insert(lane.dialect, masks[start], end - start > 1)
        if not statement.many:
            for state in group:
                _insert_one(lane, plan, statement, state)
            continue
        defaults = _defaults(lane, statement, group)
        if statement.returned:
            one = plan.insert(lane.dialect, masks[start], False)
            insert_with_keys(lane, plan, statement, one, group, defaults, _rows)
        else:
            rows = _rows(lane, statement, group, defaults)
            cursor, _ = send(lane, statement, statement.sql, rows, True)
            lane.close(cursor)
        if defaults is not None or statement.expire:
            for number, state in enumerate(group):
                made = None if defaults is None else defaults[number]
                _after(statement, state, state.obj().__dict__, made)


def _insert_one(lane: Lane, plan: Plan, statement: Statement, state: Any) -> None:
    made = _defaults(lane, statement, [state])
    defaults = None if made is None else made[0]
    parameters = _rows(lane, statement, [state], made)[0]
    values = state.obj().__dict__
    cursor, _ = send(lane, statement, statement.sql, parameters, False)
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
            statement.take(values, row, statement.processors_of(lane.dialect, cursor.description))
        except BaseException as error:
            lane.fail(error, statement.sql, parameters, cursor, None)
    lane.close(cursor)
    _after(statement, state, values, defaults)


# ---------------------------------------------------------------- UPDATE


def send_updates(lane: Lane, plan: Plan, states: list[Any], masks: list[int]) -> None:
    dialect = lane.dialect
    for start, end in _groups(masks):
        group = states if end - start == len(states) else states[start:end]
        many = len(group) > 1
        statement = plan.update(dialect, masks[start], many)
        defaults = _defaults(lane, statement, group)
        rows = _rows(lane, statement, group, defaults)
        parameters = rows if many else rows[0]
        cursor, matched = send(lane, statement, statement.sql, parameters, many)
        lane.close(cursor)
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
