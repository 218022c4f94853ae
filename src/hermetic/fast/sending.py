"""The statements of a flush, and taking what comes back into the objects.

They come one after the other, from a generator to which what each was answered is sent: whoever
sends them to the server waits for it in the way of its world.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeAlias

from sqlalchemy.orm.exc import FlushError, StaleDataError

from .bulk_insert import insert_with_keys
from .defaults import CALLED
from .lane import Lane, send
from .write_plan import GIVEN, LASTROWID, RETURNED, Plan, Statement

# a statement, its parameters, and whether they are those of many rows
Step: TypeAlias = "tuple[Statement, Any, bool]"
# the row that came back, the driver's description of it where that is not known yet, how many rows
# the driver tells of, and the number of the last one
Answer: TypeAlias = "tuple[Any, Any, int, Any]"
Steps: TypeAlias = "Generator[Step, Answer, None]"


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


# ---------------------------------------------------------------- the way of threads


def see_through(lane: Lane, steps: Steps, step: Step | None = None) -> None:
    """Send all statements, or the rest of them from ``step`` on."""
    answer: Any = None if step is None else _ask(lane, step)
    while True:
        try:
            step = steps.send(answer)
        except StopIteration:
            return
        answer = _ask(lane, step)


def _ask(lane: Lane, step: Step) -> Answer:
    statement, parameters, many = step
    cursor, matched = send(lane, statement, statement.sql, parameters, many)
    row = described = last = None
    if statement.key == RETURNED:
        try:
            row = cursor.fetchone()
            if statement.result_processors is None:
                described = cursor.description
        except BaseException as error:
            lane.fail(error, statement.sql, parameters, cursor, None)
    elif statement.key == LASTROWID:
        last = cursor.lastrowid
    lane.close(cursor)
    return row, described, matched, last


# ---------------------------------------------------------------- the statements


def statements_of(lane: Lane, works: list[Any]) -> Steps:
    """What has to be sent for the works of a flush, in order.

    Many rows whose keys the server makes are sent from in here.
    """
    for work in works:
        if work.updates:
            yield from _updates(lane, work.plan, work.updates, work.update_masks)
        if work.inserts:
            yield from _inserts(lane, work.plan, work.inserts, work.masks)


def _inserts(lane: Lane, plan: Plan, states: list[Any], masks: list[int]) -> Steps:
    for start, end in _groups(masks):
        group = states if end - start == len(states) else states[start:end]
        statement = plan.insert(lane.dialect, masks[start], end - start > 1)
        if not statement.many:
            for state in group:
                made = _defaults(lane, statement, [state])
                parameters = _rows(lane, statement, [state], made)[0]
                answer = yield statement, parameters, False
                _take(lane, plan, statement, state, parameters, answer)
                _after(statement, state, state.obj().__dict__, None if made is None else made[0])
            continue
        defaults = _defaults(lane, statement, group)
        if statement.returned:
            one = plan.insert(lane.dialect, masks[start], False)
            insert_with_keys(lane, plan, statement, one, group, defaults, _rows)
        else:
            yield statement, _rows(lane, statement, group, defaults), True
        if defaults is not None or statement.expire:
            for number, state in enumerate(group):
                made = None if defaults is None else defaults[number]
                _after(statement, state, state.obj().__dict__, made)


def _take(
    lane: Lane, plan: Plan, statement: Statement, state: Any, parameters: Any, answer: Any
) -> None:
    """Give an object the key, and whatever else the server has made for it."""
    if statement.key == GIVEN:
        return
    values = state.obj().__dict__
    row, described, _, last = answer
    if statement.key == LASTROWID:
        if values.get(statement.key_prop) is None:
            values[statement.key_prop] = last
        return
    try:
        if row is None:
            raise FlushError(
                f"Single-row INSERT statement for {plan.mapper} did not produce a new primary "
                "key result being invoked.  Ensure there are no triggers or special driver "
                "issues preventing INSERT from functioning properly."
            )
        statement.take(values, row, statement.processors_of(lane.dialect, described))
    except BaseException as error:
        lane.fail(error, statement.sql, parameters, None, None)


def _updates(lane: Lane, plan: Plan, states: list[Any], masks: list[int]) -> Steps:
    dialect = lane.dialect
    for start, end in _groups(masks):
        group = states if end - start == len(states) else states[start:end]
        many = len(group) > 1
        statement = plan.update(dialect, masks[start], many)
        defaults = _defaults(lane, statement, group)
        rows = _rows(lane, statement, group, defaults)
        answer = yield statement, rows if many else rows[0], many
        if defaults is not None or statement.expire:
            # SQLAlchemy gives every row of one executemany the values of the first
            made = None if defaults is None else defaults[0]
            for state in group:
                _after(statement, state, state.obj().__dict__, made)
        sane = dialect.supports_sane_rowcount
        matched = answer[2]
        if sane and (not many or dialect.supports_sane_multi_rowcount) and matched != len(group):
            raise StaleDataError(
                f"UPDATE statement on table '{plan.mapper.local_table.description}' expected to "
                f"update {len(group)} row(s); {matched} were matched."
            )


def has_many_keys(dialect: Any, works: list[Any]) -> bool:
    """Whether the server makes the keys of many rows at once."""
    for work in works:
        for start, end in _groups(work.masks) if work.masks else ():
            if end - start > 1 and work.plan.insert(dialect, work.masks[start], True).returned:
                return True
    return False
