"""The way of one small unit of work: a connection in hand, a plan, a row, an object.

A scope that asks for nothing special takes its connection here, straight from the pool, with the
same gate, records and guards as everywhere; nothing of SQLAlchemy's is made for it. As soon as
SQLAlchemy needs a connection for the scope it is given this one, in the middle of its transaction,
and goes on with it (``Scope.hand_over``, ``Execution.do_begin``).
"""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy.orm.session import SessionTransactionState
from sqlalchemy.orm.state import InstanceState

from ..clock import monotonic
from ..connection import ConnectionRecord, Transaction
from ..execution import KEY, watch
from ..gate import Gate, Ticket
from ..limits import limited
from ..pool import Admission
from ..registry import Scope
from ..sealed import seal
from .counts import count
from .fresh import keep_listed
from .inside import reads_inside, takes_none
from .instances import forget
from .kinds import kind_of
from .listening import is_heard
from .over import read_over
from .plans import Entity
from .private import WeakInstanceDict, int_to_boolean, killed, runids, sessions
from .side import Side, side_of
from .switch import ON

try:
    import cython  # type: ignore[import-untyped]
except ImportError:
    from . import shadow as cython

# the compiled form has these from instances.pxd
if not cython.compiled:
    from .instances import furnish, lacks, make, single, values_of


# the answer of a fast path that leaves the work to SQLAlchemy
ASIDE: Any = object()

# Keys of these types stand for themselves. SQLAlchemy takes others apart: what can be iterated
# over, such as a row, and composite values.
_KEYS = frozenset({bool, bytes, date, datetime, Decimal, float, int, str, time, UUID})
_ACTIVE = SessionTransactionState.ACTIVE
_now = monotonic
_State = InstanceState
_IdentityMap = WeakInstanceDict
_boolean = int_to_boolean


def get(session: Any, entity: Any, ident: Any) -> Any:
    """``session.get(entity, ident)``, or ``ASIDE``."""
    side = prepared(session)
    if side is None:
        return ASIDE
    found = sought(session, side, entity, ident)
    if type(found) is not tuple:
        return found
    plan: Entity = found[0]
    identity_map = session.identity_map
    rows = rows_of(session, side, plan, plan, found[1])
    if rows is ASIDE:
        return ASIDE
    if not rows:
        return None
    return instance_of(identity_map, session, plan, rows[0], next(runids))


def sought(session: Any, side: Side, entity: Any, ident: Any) -> Any:
    """The object, where the session has it; else a plan and its parameters, or ``ASIDE``."""
    plan = side.entities.get(entity)
    if plan is None:
        plan = side.entity(entity)
        if plan is None:
            count("get:aside:entity")
            return ASIDE
    if type(ident) is tuple:
        key = ident
    elif type(ident) in _KEYS:
        key = (ident,)
    else:
        return ASIDE
    if len(key) != len(plan.key_at) or None in key or not plan.current():
        return ASIDE
    known: Any = values_of(session)["identity_map"]._dict
    try:
        found = known.get((plan.identity_class, key, None))
    except TypeError:
        return ASIDE  # a key by names, or one that is none
    if found is not None:
        instance = found.obj()
        if instance is None or found.expired or not isinstance(instance, entity):
            return ASIDE
        return instance
    try:
        return (plan, plan.parameters(key))
    except Exception:
        return ASIDE  # a value that its type refuses: SQLAlchemy says so


def prepared(session: Any) -> Side | None:
    """The side of a session's engine, if the caller may use the session, and it has one engine."""
    scope = session._scope
    if scope is not None:
        scope.check_owner()
        if scope.side is not None:
            return scope.side  # type: ignore[no-any-return]
    return side_of(session.bind) if ON else None


def rows_of(session: Any, side: Side, plan: Entity, asked: Any, parameters: Any) -> Any:
    """All rows of a plan's statement, by the shortest way there is; or ``ASIDE``.

    :param asked: what has the statement: its ``sql``, ``compiled`` and ``construct``.
    """
    scope = session._scope
    if scope is not None:
        scope.check_sending()  # whose it is was asked in ``prepared``, by the same call
    if not may_run(session, side, plan):
        return ASIDE
    if not is_clean(session):
        session._autoflush()
    if scope is not None and scope.side is side and may_hold(scope, side):
        connection = in_hand(session, scope, side)
        if connection is not None:
            count("read:in hand")
            return fetch(session, scope, side, connection, plan, asked.sql, parameters)
    rows = read_over(session, side, asked, parameters)
    if rows is None:
        return ASIDE
    found, description = rows
    if plan.processors is None:
        plan.describe(side.dialect, description)
    count("read:over a Connection")
    return found


def may_hold(scope: Scope, side: Side) -> bool:
    """Whether the scope's connection may be in hand: waits of asyncio are not made here, and the
    server need not be told of a deadline.
    """
    return not side.asynchronous and (scope.deadline is None or side.limits_ahead)


def is_clean(session: Any) -> bool:
    """Whether a flush would have nothing to do."""
    values = values_of(session)
    modified: Any = values["identity_map"]._modified
    return not (values["_new"] or values["_deleted"] or modified)


def may_run(session: Any, side: Side, plan: Entity) -> bool:
    """Whether nobody could see that SQLAlchemy was not asked."""
    kind = kind_of(type(session))
    if plan.heard() or is_heard(session):
        count("read:aside:listeners of the session or the entity")
    elif side.watched():
        count("read:aside:listeners of the engine")
    elif session.bind is not side.engine or session.binds or session.execution_options:
        count("read:aside:binds or execution options of the session")
    elif not (kind.reads and kind.binds):
        count("read:aside:methods of one's own")
    else:
        return True
    return False


def in_hand(session: Any, scope: Scope, side: Side) -> ConnectionRecord | None:
    """The scope's connection, begun; ``None`` where SQLAlchemy has to see to it."""
    if side.asynchronous:
        return None  # in asyncio this is ``lean_async``'s
    connection = None
    transaction = session._transaction
    if scope.in_hand:
        connection = scope.connection if scope.transaction is not None else None
    elif takes_none(transaction):
        connection = take(session, scope, side)
    elif transaction._state is _ACTIVE:
        connection = borrowed(scope, transaction, side)
    if connection is None or not reads_inside(session, scope, side):
        return None
    return connection


def borrowed(scope: Scope, transaction: Any, side: Side) -> ConnectionRecord | None:
    """The connection that SQLAlchemy has taken, as it stands."""
    connection, record = scope.connection, scope.transaction
    if connection is None or record is None or record.failure is not None or record.over:
        return None
    if connection.scope is not scope or connection.transaction is not record:
        return None
    held = transaction._connections.get(side.engine)
    if held is None or held[0].invalidated or held[0]._execution_options:
        return None
    return connection


def take(session: Any, scope: Scope, side: Side) -> ConnectionRecord | None:
    """Take a connection from the pool, and begin on it."""
    pool: Any = side.pool()
    idle, admission = side.idle, side.admission
    gate = admission.gate
    if side.asynchronous or admission.closed or (not idle and gate.lent < gate.limit):
        return None  # SQLAlchemy connects, or says that it does not
    asked = now = _now()
    ticket = admission.enter_now(scope, now)
    if ticket is not None and ticket.since > now:
        now = ticket.since  # it had to wait, and what is idle may have been so for longer by now
    try:
        entry = idle.pop()
    except IndexError:
        # there is none for this place: SQLAlchemy makes one
        scope.reserved = (gate, ticket, asked)
        return None
    connection: ConnectionRecord | None = entry.info.get(KEY)
    if connection is None or ticket is None:
        put_back(pool, entry, admission, ticket)
        return None
    scope.ticket = (gate, ticket)
    scope.connection = connection
    scope.lent = entry
    scope.in_hand = True
    # a connection that others used while this one waited was given back after ``now``
    if not is_fit(connection, entry, side, now):
        return None  # in hand, and not begun: SQLAlchemy looks at it once more, and begins
    connection.returned = None
    connection.scope = scope
    trace = scope.trace
    if trace is not None:
        trace.meet(connection)
    return connection if _begin(scope, side, connection) else None


def put_back(pool: Any, entry: Any, admission: Admission, ticket: Ticket | None) -> None:
    pool.idle.append(entry)
    if ticket is not None:
        admission.leave(ticket)


def is_fit(connection: ConnectionRecord, entry: Any, side: Side, now: float) -> bool:
    """Whether it may be used as it is: alive as far as is known, not too old, not evicted."""
    if entry.dbapi_connection is None or not connection.ready:
        return False
    if connection.retired or now > connection.expires:
        return False
    returned, after = connection.returned, side.ping_after
    return returned is not None and (after is None or now - returned < after)


def _begin(scope: Scope, side: Side, connection: ConnectionRecord) -> bool:
    transaction = Transaction()
    if connection.cursor is None:
        connection.cursor = scope.lent.dbapi_connection.cursor()
    assert side.begin is not None
    try:
        for statement in side.begin:
            connection.cursor.execute(statement)
    except Exception:
        # somebody else holds the lock, or worse: SQLAlchemy's way waits, and says it in full
        connection.scope = None
        connection.cursor = None
        return False
    except BaseException:
        connection.dirty = True  # an interrupt: it may have begun
        raise
    if scope.deadline is not None:
        watch(connection, scope.deadline)
    transaction.begun = transaction.in_hand = True
    transaction.plain = transaction.apart = side.apart
    transaction.put_off = connection.puts_off and not side.apart
    connection.transaction = scope.transaction = transaction
    return True


def fetch(
    session: Any,
    scope: Scope,
    side: Side,
    connection: ConnectionRecord,
    plan: Entity,
    sql: str,
    parameters: Any,
) -> Any:
    """Execute a statement on the connection in hand, and take all its rows."""
    transaction = connection.transaction
    assert transaction is not None
    trace = scope.trace
    if trace is not None:
        trace.sent(scope, sql)
    transaction.statements += 1
    scope.statements += 1
    scope.last_statement = connection.last_statement = sql
    connection.at_rest = False
    cursor = connection.cursor
    if cursor is None:
        cursor = connection.cursor = dbapi_of(session, scope, side).cursor()
    sent = sql
    if side.limits and (scope.deadline is not None or transaction.limit is not None):
        sent, first = told(side, scope, connection, cursor, sql)
        if first is not None:
            cursor.execute(first)
    if trace is not None and trace.comment is not None:
        sent = trace.comment(trace, sent, side.family, side.dialect.paramstyle, False)
    if connection.puts_off:
        cursor.apart = transaction.put_off
    try:
        read = getattr(cursor, "read", None) if side.limits else None
        if read is None:
            cursor.execute(sent, parameters)
            rows: Any = cursor.fetchall()
        else:
            rows = read(sent, parameters)
    except BaseException as error:
        connection.cursor = None
        failed(session, side, error, sql, parameters, cursor)
        raise
    connection.at_rest = True
    if trace is not None:
        trace.answered(len(rows))
    if plan.processors is None:
        plan.describe(side.dialect, cursor.description)
    return rows


def told(side: Side, scope: Scope, connection: ConnectionRecord, cursor: Any, sql: str) -> Any:
    """A statement as it is sent where the server has to end it in time, and what has to be executed
    first, by itself, where a user's own class of cursors cannot take it along.
    """
    transaction = connection.transaction
    assert transaction is not None
    sql, first, limit = limited(
        side.family, side.options, side.dialect, connection, scope, cursor, sql
    )
    transaction.limit = limit
    if first is not None:
        transaction.begin_now()
        if side.family.send_ahead(cursor, first):
            first = None
    return (sql, first)


def dbapi_of(session: Any, scope: Scope, side: Side) -> Any:
    """The driver's connection, in hand or SQLAlchemy's."""
    if scope.in_hand:
        return scope.lent.dbapi_connection
    return session._transaction._connections[side.engine][0]._dbapi_connection.dbapi_connection


def failed(
    session: Any, side: Side, error: BaseException, sql: str | None, parameters: Any, cursor: Any
) -> None:
    """Have a driver's error wrapped, worded and noted as every other: it is raised from here."""
    inside = session._nested_transaction is not None and not _is_lost(session, side, error)
    connection: Any = hand_over(session, side)
    if inside:
        # the savepoint that waits to be sent has to be there, to be rolled back to
        connection = session._transaction._connection_for_bind(side.engine, None)
    connection._handle_dbapi_exception(error, sql, parameters, cursor, None)


def hand_over(session: Any, side: Side) -> Any:
    """SQLAlchemy's connection over the one in hand, outside of any savepoint."""
    transaction = session._autobegin_t()
    while transaction._parent is not None:
        transaction = transaction._parent
    return transaction.adopted(side.engine)


def _is_lost(session: Any, side: Side, error: BaseException) -> bool:
    """Whether an error on the connection in hand has left nothing of the transaction."""
    scope: Scope = session._scope
    transaction = scope.transaction
    if not scope.in_hand or transaction is None:
        return False
    adapter = scope.lent.dbapi_connection
    if not isinstance(error, Exception) or side.dialect.is_disconnect(error, adapter, None):
        return True
    if transaction.put_off or transaction.apart:
        return False
    worked = transaction.statements > 0
    return bool(side.family.server_gave_up(adapter, side.driver, worked=worked))


def worded(scope: Scope, error: BaseException) -> BaseException:
    """What ``failed`` raises for a COMMIT."""
    try:
        try:
            raise error  # SQLAlchemy takes it from what is being handled
        except BaseException:
            failed(scope.session, scope.side, error, None, None, None)
    except BaseException as raised:
        return raised
    return error


def instance_of(identity_map: Any, session: Any, plan: Entity, row: Any, runid: int) -> Any:
    """The object of a row: the one that the session has, or a new one, persistent in it."""
    if plan.processors:
        row = processed(plan, row)
    if len(plan.key_at) == 1:
        key = single(row[plan.key_at[0]])
    else:
        key = tuple([row[at] for at in plan.key_at])
    if None in key:
        return None
    identity = (plan.identity_class, key, None)
    known = identity_map._dict
    if identity in known:
        state = known[identity]
        instance = state.obj()
        if instance is not None:
            has = values_of(instance)
            # what a user has put there counts too, but is nothing that was loaded
            if state.expired_attributes or len(has) <= plan.width or lacks(has, plan.keys):
                fill_in(plan, state, row)
            return instance
    if "_add_unpresent" in values_of(identity_map):
        # the session was closed, or emptied, since the rows were asked for
        identity_map._add_unpresent(_State(make(plan.class_), plan.manager), identity)
    instance = make(plan.class_)
    state = make(_State)
    furnish(state, instance, plan.class_, plan.manager, forget)
    values = values_of(instance)
    values["_sa_instance_state"] = state
    for at in range(len(plan.keys)):
        values[plan.keys[at]] = row[at]
    inside = values_of(state)
    inside["key"] = identity
    inside["identity_token"] = None
    inside["session_id"] = values_of(session)["hash_key"]
    inside["_instance_dict"] = identity_map._wr
    inside["load_options"] = ()
    inside["load_path"] = plan.load_path
    inside["runid"] = runid
    known[identity] = state
    return instance


def processed(plan: Entity, row: Any) -> list[Any]:
    """A driver's row, as the types of the columns have it."""
    processors: Any = plan.processors
    found: list[Any] = list(row)
    for at in range(len(found)):
        process = processors[at]
        if process is _boolean:
            if found[at] is not None:
                found[at] = bool(found[at])
        elif process is not None:
            found[at] = process(found[at])
    return found


def fill_in(plan: Entity, state: Any, row: Any) -> None:
    """Give an object that the session has what it lacks, and nothing else."""
    unloaded = state.unloaded
    values = state.dict
    for at in range(len(plan.keys)):
        if plan.keys[at] in unloaded:
            values[plan.keys[at]] = row[at]
    state._commit(values, unloaded)


# ---------------------------------------------------------------- the end


def commits_in_one_step(scope: Scope) -> bool:
    """Whether no bytecode runs, after which Python looks for signals, from COMMIT to its record."""
    side: Side = scope.side
    transaction = scope.transaction
    if transaction is not None and transaction.put_off:
        return bool(cython.compiled)
    return bool(cython.compiled and side.one_step)


def commit(session: Any, scope: Scope) -> bool:
    """Commit what is in hand.

    :return: whether it was; if not, nothing was sent, and SQLAlchemy has to.
    """
    connection, transaction = scope.connection, scope.transaction
    assert connection is not None
    side: Side = scope.side
    if transaction is None:
        # it was taken, and nothing begun: what was to be sent was refused
        hand_over(session, side)
        return False
    dbapi = scope.lent.dbapi_connection
    none = transaction.apart or transaction.put_off
    begun = session._transaction
    if (
        scope.asks  # the server is asked something afterwards, on this connection
        or is_heard(session)
        or (begun is not None and begun._parent is not None)
        or (not none and gave_up(side, connection, dbapi, transaction.statements > 0))
    ):
        hand_over(session, side)
        return False
    transaction.commit_sent = transaction.over = True
    try:
        if not none:
            dbapi.commit()
    except BaseException as error:
        failed(session, side, error, None, None, None)
        raise
    transaction.committed = True
    if scope.trace is not None:
        scope.trace.look()
    forget_begun(session)
    return True


def forget_begun(session: Any) -> None:
    """End SQLAlchemy's transaction, of which only the beginning was noted: it has no connection."""
    begun = session._transaction
    if begun is not None:
        begun._state = SessionTransactionState.CLOSED
        session._transaction = None


def gave_up(side: Side, connection: ConnectionRecord, dbapi: Any, worked: bool) -> bool:
    """Whether the server has lost the transaction that is open on our side."""
    if side.told_by_probe and connection.probe is not None:
        return not connection.probe()
    return bool(side.family.server_gave_up(dbapi, side.driver, worked=worked))


def may_close(session: Any) -> bool:
    """Whether ``close`` will do: nobody listens, and SQLAlchemy has nothing to end."""
    return ON and session._transaction is None and not session._new and not is_heard(session)


def close(session: Any, scope: Scope) -> None:
    """What ``Session.close`` does for a session that has no transaction and no listeners."""
    values = values_of(session)
    identity_map: Any = values["identity_map"]
    states = identity_map._dict
    if states:
        loaded = list(states.values())
        seal(loaded, scope)
        for state in loaded:
            # one by one: asked for its dictionary, a state has one from then on
            state.session_id = state._strong_obj = None
    if type(identity_map) is _IdentityMap:
        values_of(identity_map)["_add_unpresent"] = killed  # as ``_kill``
    else:
        identity_map._kill()
    # nothing is ever added to it: the session of an ended scope refuses to be used
    values["identity_map"] = _NOTHING_LOADED
    if scope.in_hand or scope.connection is None:
        # nobody looks it up any more: SQLAlchemy leaves only what it has deleted attached
        _listed.pop(values["hash_key"], None)
    else:
        keep_listed(session)
    if scope.in_hand:
        give_back(scope)


def give_back(scope: Scope) -> None:
    """Return the connection in hand, on which nothing is open."""
    connection = scope.connection
    assert connection is not None
    if connection.alarm is not None:
        connection.alarm.cancel()
        connection.alarm = None
    scope.in_hand = False
    lent = scope.lent
    scope.lent = None
    now = _now()
    connection.returned = now
    connection.scope = connection.transaction = connection.owner = None
    side: Side = scope.side
    pool: Any = side.pool()
    assert scope.ticket is not None
    gate: Gate = scope.ticket[0]
    ticket: Ticket = scope.ticket[1]
    if connection.dirty or connection.retired or side.admission.closed:
        pool.destroy(lent)
    else:
        side.idle.append(lent)
    gate.leave(ticket, now)


_NOTHING_LOADED = WeakInstanceDict()
_listed: dict[int, Any] = sessions.data if ON else {}
