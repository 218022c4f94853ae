"""The way of one small unit of work under asyncio: the driver is awaited itself.

As ``lean``, whose decisions these are; only the waits are made here, without SQLAlchemy's greenlet,
by the driver's ``Wire``. What SQLAlchemy has to see to, errors among it, it does in its greenlet.
"""

from __future__ import annotations

from asyncio import CancelledError, current_task
from typing import Any
from weakref import ref

from sqlalchemy.util import greenlet_spawn

from ..boundary import Ending, Entry, ending
from ..clock import monotonic
from ..connection import ConnectionRecord, Transaction
from ..dialects.wire import NotBegun
from ..execution import KEY, watch
from ..gate import Waiter
from ..pool import Admission
from ..registry import Scope
from ..trace import is_due
from . import statements
from .counts import count
from .found import executed
from .found import scalars as scalars_of
from .inside import reads_inside_unbegun, takes_none
from .lean import (
    _ACTIVE,
    ASIDE,
    borrowed,
    dbapi_of,
    failed,
    instance_of,
    is_clean,
    is_fit,
    may_run,
    put_back,
    sought,
    told,
)
from .listening import is_heard
from .plans import Entity
from .private import forget_proxy, proxies, runids
from .side import Side
from .switch import ON

# a result of more rows than this is not kept with the driver's cursor
_FEW = 100


async def get(session: Any, entity: Any, ident: Any) -> Any:
    """``await session.get(entity, ident)``, or ``ASIDE``."""
    side = side_of_scope(session)
    if side is None:
        return ASIDE
    found = sought(session, side, entity, ident)
    if type(found) is not tuple:
        return found
    plan: Entity = found[0]
    identity_map = session.identity_map
    rows = await rows_of(session, side, plan, plan, found[1])
    if rows is ASIDE:
        return ASIDE
    if not rows:
        return None
    return instance_of(identity_map, session, plan, rows[0], next(runids))


async def execute(session: Any, statement: Any) -> Any:
    """``await session.execute(statement)``, or ``ASIDE``."""
    return await _read(session, statement, executed)


async def scalars(session: Any, statement: Any) -> Any:
    """``await session.scalars(statement)``, or ``ASIDE``."""
    return await _read(session, statement, scalars_of)


async def scalar(session: Any, statement: Any) -> Any:
    """``await session.scalar(statement)``, or ``ASIDE``."""
    result = await _read(session, statement, executed)
    return ASIDE if result is ASIDE else result.scalar()


async def _read(session: Any, statement: Any, result_of: Any) -> Any:
    side = side_of_scope(session)
    if side is None:
        return ASIDE
    found = statements.sought(side, statement)
    if found is ASIDE:
        return ASIDE
    shape = found[0]
    rows = await rows_of(session, side, shape.entity, shape, found[1])
    if rows is ASIDE:
        return ASIDE
    return result_of(session, shape.entity, shape.metadata, rows)


def side_of_scope(session: Any) -> Side | None:
    """The side of a scope's engine, if the caller may use the session."""
    scope: Scope | None = session.__dict__.get("_scope")
    if scope is None or scope.side is None:
        return None
    scope.check_owner()
    side: Side = scope.side
    return side


async def rows_of(session: Any, side: Side, plan: Entity, asked: Any, parameters: Any) -> Any:
    """All rows of a plan's statement, or ``ASIDE``; as ``lean.rows_of``."""
    scope: Scope = session._scope
    scope.check_statement()
    if not may_run(session, side, plan):
        return ASIDE
    if (scope.deadline is not None and not side.limits_ahead) or not is_clean(session):
        return ASIDE  # to tell the server of a deadline, and to flush, is SQLAlchemy's
    connection: ConnectionRecord | None = None
    begun = session._transaction
    if scope.in_hand:
        connection = scope.connection if scope.transaction is not None else None
    elif takes_none(begun):
        connection = await take(scope, side)
    elif begun._state is _ACTIVE:
        connection = borrowed(scope, begun, side)
    if connection is None or not reads_inside_unbegun(session, scope, connection, side):
        return ASIDE
    count("read:awaited")
    return await _fetched(session, scope, side, connection, plan, asked.sql, parameters)


async def take(scope: Scope, side: Side) -> ConnectionRecord | None:
    """Take a connection from the pool, on which nothing is begun yet.

    ``None`` where SQLAlchemy has to see to it, for whom a place at the gate may be reserved.
    """
    pool: Any = side.engine.pool
    admission: Admission = pool.admission
    if admission.closed:
        return None  # SQLAlchemy's way says so
    asked = now = monotonic()
    ticket: Any = admission.ask(scope, now)
    if isinstance(ticket, Waiter):
        ticket = await admission.enter_natively(ticket, scope, now)
        now = monotonic()
    try:
        entry = pool.idle.pop()
    except IndexError:
        # there is no connection for this place: SQLAlchemy makes one
        scope.reserved = (admission.gate, ticket, asked)
        return None
    connection: ConnectionRecord | None = entry.info.get(KEY)
    if connection is None or admission.closed:
        put_back(pool, entry, admission, ticket)
        return None
    scope.ticket = (admission.gate, ticket)
    scope.connection = connection
    scope.lent = entry
    scope.in_hand = True
    if not is_fit(connection, entry, side, now):
        return None  # in hand, and not begun: SQLAlchemy looks at it once more, and begins
    connection.returned = None
    connection.scope = scope
    if scope.trace is not None:
        scope.trace.meet(connection)
    return connection


async def _fetched(
    session: Any,
    scope: Scope,
    side: Side,
    connection: ConnectionRecord,
    plan: Entity,
    sql: str,
    parameters: Any,
) -> Any:
    adapter = dbapi_of(session, scope, side)
    trace = scope.trace
    if trace is not None:
        trace.sent(scope, sql)
    begin = None
    transaction = connection.transaction
    if transaction is None:
        begin = side.begin
        transaction = begun_by(scope, connection, side)
    transaction.statements += 1
    scope.statements += 1
    scope.last_statement = connection.last_statement = sql
    connection.at_rest = False
    cursor = connection.cursor or side.wire.cursor(adapter)
    sent, first = sql, None
    if side.limits and (scope.deadline is not None or transaction.limit is not None):
        sent, first = told(side, scope, connection, cursor, sql)
    if trace is not None and trace.comment is not None:
        sent = trace.comment(trace, sent, side.family, side.dialect.paramstyle, False)
    apart = transaction.put_off or transaction.apart
    task: Any = current_task()
    cancellations = task.cancelling()
    try:
        if first is not None:
            await side.wire.tell(cursor, first)  # a class of cursors that the user named
        rows, source = await side.wire.run(
            adapter, sent, parameters, begin, side.dialect, cursor, apart
        )
    except NotBegun:
        # somebody else holds the lock, or worse: SQLAlchemy's way waits, and says it in full
        connection.scope = connection.transaction = scope.transaction = None
        scope.statements -= 1
        if trace is not None:
            trace.unsent()
        return ASIDE
    except BaseException as error:
        connection.cursor = None
        if isinstance(error, Exception):
            if task.cancelling() > cancellations:
                error = CancelledError()  # as with ``Delivering``
            else:
                error = side.wire.translated(adapter, error, side.dialect)
        await greenlet_spawn(failed_apart, session, side, error, sql, parameters)
        raise
    connection.at_rest = True
    if trace is not None:
        trace.answered(len(rows))
    connection.cursor = source if len(rows) <= _FEW else None
    if plan.processors is None:
        plan.describe(side.dialect, side.wire.description(source))
    return rows


def begun_by(scope: Scope, connection: ConnectionRecord, side: Side) -> Transaction:
    # before it is sent: a cancellation in the middle leaves a connection on which something is
    # under way, and which has to be treated so
    transaction = Transaction()
    transaction.begun = transaction.in_hand = True
    transaction.plain = transaction.apart = side.apart
    transaction.put_off = connection.puts_off and not side.apart
    connection.transaction = scope.transaction = transaction
    if scope.deadline is not None:
        watch(connection, scope.deadline)
    return transaction


def failed_apart(session: Any, side: Side, error: BaseException, sql: str, parameters: Any) -> None:
    """``lean.failed``, in a greenlet, which knows of no exception that is being handled."""
    try:
        raise error
    except BaseException:
        failed(session, side, error, sql, parameters, None)


# ---------------------------------------------------------------- the end


def may_end(scope: Scope, error: BaseException | None) -> bool:
    """Whether all that there is to end is a transaction in hand, by a COMMIT and nothing else."""
    if not scope.in_hand or scope.transaction is None or not is_clean(scope.session):
        return False
    if not may_commit(scope, error):
        return False
    side: Side = scope.side
    begun = scope.session._transaction
    if begun is not None and (begun._state is not _ACTIVE or begun._parent is not None):
        return False
    if not (scope.transaction.apart or scope.transaction.put_off):
        worked = scope.transaction.statements > 0
        adapter = scope.lent.dbapi_connection
        if side.family.server_gave_up(adapter, side.driver, worked=worked):
            return False
    return True


def may_commit(scope: Scope, error: BaseException | None) -> bool:
    """Whether the end of a scope is its flush and a COMMIT, of which nobody else has to know."""
    if error is not None or scope.entry is not Entry.TRANSACTION or scope.side is None:
        return False
    if is_due(scope):
        return False
    if scope.side.wire is None or scope.hooks or scope.borrower is not None or scope.asks:
        return False
    if is_heard(scope.session):
        return False
    if ending(scope.boundary, None, scope.options.commit_on) is not Ending.COMMIT:
        return False
    if scope.deadline is not None and monotonic() >= scope.deadline:
        return False
    return scope._owner.is_current()


def keeps_savepoint(scope: Scope, error: BaseException | None) -> bool:
    """Whether the end of a nested scope is a matter of this process: nothing of it was sent."""
    session = scope.session
    if error is not None or session._transaction is not scope.savepoint:
        return False
    if scope.savepoint._connections or not is_clean(session) or is_heard(session):
        return False
    if ending(scope.boundary, None, scope.options.commit_on) is not Ending.COMMIT:
        return False
    return scope.owner.is_current()


def may_close(scope: Scope) -> bool:
    """Whether the connection in hand goes back to the pool without a wait."""
    connection: Any = scope.connection
    pool: Any = scope.side.engine.pool
    return not (connection.dirty or connection.retired or pool.admission.closed)


# ---------------------------------------------------------------- the beginning


# what no two of them share
_OWN = frozenset({"_async_binds", "sync_session", "_proxied"})


def remember_facade(side: Side, facade: Any) -> None:
    """Keep what an AsyncSession has in it that SQLAlchemy has just made."""
    if not ON:
        return
    side.facade_class = type(facade)
    side.facade_dict = {name: value for name, value in facade.__dict__.items() if name not in _OWN}


def new_facade(side: Side, session: Any) -> Any:
    """An AsyncSession like the one that was remembered, around a session."""
    facade = side.facade_class.__new__(side.facade_class)
    values = side.facade_dict.copy()  # type: ignore[union-attr]
    values["_async_binds"] = {}
    values["sync_session"] = values["_proxied"] = session
    facade.__dict__ = values
    # one callback is enough: the facade keeps its session, so that it goes first
    proxies[ref(session, forget_proxy)] = ref(facade)
    return facade
