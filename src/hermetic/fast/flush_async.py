"""The fast flush under asyncio: a small one, whose statements the driver is awaited for itself.

What is written, and what of it stays in the session, are ``flush``'s and ``sending``'s; errors and
their rollback are SQLAlchemy's, in its greenlet.
"""

from __future__ import annotations

from asyncio import CancelledError, current_task
from typing import Any

from sqlalchemy.util import greenlet_spawn

from ..connection import ConnectionRecord
from ..dialects.wire import NotBegun
from ..registry import Scope
from .bookkeeping import close_work
from .counts import count
from .flush import Work, is_off, planned, undo, why_not_statements
from .lane import Lane, Unsaid
from .lean import _ACTIVE, borrowed, dbapi_of, is_clean, told
from .lean_async import begun_by, failed_apart, side_of_scope, take
from .listening import is_heard
from .sending import Answer, Step, Steps, has_many_keys, see_through, statements_of
from .side import Side
from .write_plan import RETURNED

# more objects than this are SQLAlchemy's greenlet's, which does not wait for each by itself
_FEW = 20


async def flush(session: Any) -> bool:
    """``await session.flush()``; False, and nothing done, where a greenlet has to do it."""
    side = side_of_scope(session)
    if side is None:
        return False
    if is_clean(session):
        return True
    scope: Scope = session._scope
    scope.check_statement()
    if not may_write(session, scope, side):
        return False
    works = planned(session)
    if isinstance(works, str) or not _is_small(side, works):
        return False
    try:
        return await _written(session, scope, side, works)
    except BaseException as error:
        scope.innermost.doom(error)  # as Session.flush, which knows of savepoints besides
        raise


def may_write(session: Any, scope: Scope, side: Side) -> bool:
    """Whether nobody could see that SQLAlchemy was not asked, and the connection can be awaited."""
    if side.wire is None or scope.readonly or is_off(session):
        return False
    if is_heard(session) or side.watched():
        return False
    if len(session._new) + len(session.identity_map._modified) > _FEW:
        return False
    if session.bind is not side.engine or session.execution_options:
        return False
    if scope.deadline is not None and not side.limits_ahead:
        return False  # the server has to be told of it
    begun = session._transaction
    if begun is not None and (begun._state is not _ACTIVE or begun._parent is not None):
        return False
    transaction = scope.transaction
    if transaction is None:
        return not scope.in_hand
    return transaction.failure is None


def _is_small(side: Side, works: list[Work]) -> bool:
    return why_not_statements(side.dialect, works) is None and not has_many_keys(
        side.dialect, works
    )


async def _written(session: Any, scope: Scope, side: Side, works: list[Work]) -> bool:
    session._flushing = True
    try:
        transaction = session._autobegin_t()
        try:
            record = await connection_for(scope, transaction, side)
            if record is None:
                return False
            lane = Lane(session, side.dialect)
            lane.record, lane.scope, lane.side, lane.awaited = record, scope, side, True
            session._warn_on_events = True
            try:
                await _seen_through(lane, statements_of(lane, works))
            finally:
                session._warn_on_events = False
            close_work(session, transaction, works)
        except BaseException as error:
            await greenlet_spawn(_undo, session, transaction, error)
            raise
    finally:
        session._flushing = False
    count("flush:fast")
    count("flush:awaited")
    return True


def _undo(session: Any, transaction: Any, error: BaseException) -> None:
    try:
        raise error
    except BaseException:
        undo(session, transaction)


async def connection_for(scope: Scope, transaction: Any, side: Side) -> ConnectionRecord | None:
    if scope.in_hand:
        return scope.connection
    if transaction._connections:
        return borrowed(scope, transaction, side)
    return await take(scope, side)


async def _seen_through(lane: Lane, steps: Steps) -> None:
    """As ``sending.see_through``."""
    answer: Any = None
    while True:
        try:
            step = steps.send(answer)
        except StopIteration:
            return
        except Unsaid as unsaid:
            await greenlet_spawn(
                failed_apart, lane.session, lane.side, unsaid.error, unsaid.sql, unsaid.parameters
            )
            raise
        try:
            answer = await answer_to(lane, step)
        except NotBegun:
            # somebody else holds the lock, or worse: SQLAlchemy's way waits, and says it in full
            await greenlet_spawn(_over_a_connection, lane, steps, step)
            return


def _over_a_connection(lane: Lane, steps: Steps, step: Step) -> None:
    lane.awaited = False
    lane.full()
    see_through(lane, steps, step)


async def answer_to(lane: Lane, step: Step) -> Answer:
    statement, parameters, many = step
    scope, side, connection = lane.scope, lane.side, lane.record
    assert connection is not None
    scope.check_statement()
    adapter = dbapi_of(lane.session, scope, side)
    trace = scope.trace
    if trace is not None:
        trace.sent(scope, statement.sql)
    begin = None
    transaction = connection.transaction
    if transaction is None:
        begin = side.begin
        transaction = begun_by(scope, connection, side)
    transaction.begin_now()
    transaction.statements += 1
    scope.statements += 1
    scope.last_statement = connection.last_statement = statement.sql
    connection.at_rest = False
    cursor = connection.cursor or side.wire.cursor(adapter)
    sql, first = statement.sql, None
    if side.limits and (scope.deadline is not None or transaction.limit is not None):
        sql, first = told(side, scope, connection, cursor, sql)
    if trace is not None and trace.comment is not None:
        sql = trace.comment(trace, sql, side.family, side.dialect.paramstyle, many)
    task: Any = current_task()
    cancellations = task.cancelling()
    try:
        if first is not None:
            await side.wire.tell(cursor, first)  # a class of cursors that the user named
        row, matched, last, source = await side.wire.write(
            adapter, sql, parameters, begin, side.dialect, cursor,
            statement.key == RETURNED, many,
        )  # fmt: skip
    except NotBegun:
        connection.scope = connection.transaction = scope.transaction = None
        scope.statements -= 1
        if trace is not None:
            trace.unsent()
        raise
    except BaseException as error:
        connection.cursor = None
        if isinstance(error, Exception):
            if task.cancelling() > cancellations:
                error = CancelledError()  # as with ``Delivering``
            else:
                error = side.wire.translated(adapter, error, side.dialect)
        await greenlet_spawn(failed_apart, lane.session, side, error, statement.sql, parameters)
        raise
    connection.at_rest = True
    if trace is not None:
        trace.answered(len(parameters) if many and matched < 0 else matched)
    connection.cursor = source
    described = None
    if row is not None and statement.result_processors is None:
        described = side.wire.description(source)
    return row, described, matched, last
