"""The fast flush: what a session has to write, written without SQLAlchemy's unit of work.

``flush`` returns False, with nothing done, unless it understands everything that the session has
collected; SQLAlchemy's own flush then does the work. Where it does the work itself, rows, states,
bookkeeping and errors are those of SQLAlchemy.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy.sql import ClauseElement
from sqlalchemy.util import safe_reraise

from .bookkeeping import close_work
from .counts import count
from .kinds import kind_of
from .lane import lane_of
from .listening import is_heard
from .private_flush import ACTIVE
from .sending import see_through, statements_of
from .switch import FLUSH_OFF, ON
from .write_order import in_order
from .write_plan import Plan, plan_of

# values of these types are never SQL expressions
_VALUES = frozenset(
    {
        *(bool, bytes, date, datetime, Decimal, dict, float, int, list, str, time, timedelta),
        *(tuple, type(None), UUID),
    }
)
_MISSING: Any = object()
_insert_order = attrgetter("insert_order")


class Work:
    """What one mapper's share of a flush is."""

    __slots__ = ("aside", "inserts", "masks", "plan", "states", "update_masks", "updates")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.aside: str | None = None
        # every state, also those that need no statement
        self.states: list[Any] = []
        self.inserts: list[Any] = []
        self.masks: list[int] = []
        self.updates: list[Any] = []
        self.update_masks: list[int] = []


def flush(session: Any) -> bool:
    """Write everything that a session holds; False, and nothing done, where that is too much."""
    if is_off(session):
        return False
    if not session._new and not session._deleted and not session.identity_map._modified:
        return False
    works = planned(session)
    reason = works if isinstance(works, str) else _write(session, works)
    if reason is None:
        count("flush:fast")
        return True
    count(f"flush:aside:{reason}")
    return False


def is_off(session: Any) -> bool:
    """Whether flushes are SQLAlchemy's at all, or this one is inside another."""
    return not ON or FLUSH_OFF is not None or bool(session._flushing)


def planned(session: Any) -> list[Work] | str:
    """Everything that there is to write, in order; the reason why not where that is too much."""
    reason = _why_not_session(session)
    if reason is not None:
        return reason
    works: dict[Any, Work] = {}
    reason = _collect(session, works)
    if reason is not None:
        return reason
    return in_order(works) or "order"


def _why_not_session(session: Any) -> str | None:
    if session._deleted:
        return "delete"
    if session.connection_callable is not None or session.binds or session.bind is None:
        return "binds"
    # a look into the session's own collections would make them
    if is_heard(session) and _is_concerned(session.dispatch):
        return "session events"
    context = session._trans_context_manager
    if context is not None and not context._transaction_is_active():
        return "transaction"
    transaction = session._transaction
    if transaction is not None and transaction._state is not ACTIVE:
        return "transaction"
    return None if kind_of(type(session)).writes else "session class"


def _is_concerned(dispatch: Any) -> bool:
    """Whether a listener is there for what a flush does."""
    return bool(
        dispatch.before_flush
        or dispatch.after_flush
        or dispatch.after_flush_postexec
        or dispatch.pending_to_persistent
        or dispatch.persistent_to_deleted
        or dispatch.after_transaction_create
        or dispatch.after_transaction_end
    )


# ---------------------------------------------------------------- collecting


def _collect(session: Any, works: dict[Any, Work]) -> str | None:
    """Sort out what there is to write; the reason where something of it is not understood."""
    reason = _collect_new(session, works) if session._new else None
    if reason is None and session.identity_map._modified:
        reason = _collect_changed(session, works)
    return reason


def _work_of(works: dict[Any, Work], manager: Any) -> Work:
    mapper = manager.mapper
    plan = plan_of(mapper)
    work = works[manager] = Work(plan)
    dispatch = mapper.dispatch
    if plan.aside is not None:
        work.aside = plan.aside
    elif (
        dispatch.before_insert
        or dispatch.after_insert
        or dispatch.before_update
        or dispatch.after_update
        or manager.dispatch.refresh_flush
    ):
        work.aside = "mapper events"
    return work


def _collect_new(session: Any, works: dict[Any, Work]) -> str | None:
    new = list(session._new)
    last = -1
    for state in new:
        order = state.insert_order
        if order < last:
            new.sort(key=_insert_order)
            break
        last = order
    known = session.identity_map._dict
    manager: Any = None
    work: Any = None
    for state in new:
        if state.manager is not manager:
            manager = state.manager
            work = works.get(manager)
            if work is None:
                work = _work_of(works, manager)
            if work.aside is not None:
                return str(work.aside)
        mask = _new_mask(work.plan, state, state.obj().__dict__, known)
        if mask < 0:
            return _REFUSED[mask]
        work.states.append(state)
        work.inserts.append(state)
        work.masks.append(mask)
    return None


_REFUSED = {
    -1: "expression",
    -2: "relationship",
    -3: "orphan",
    -4: "identity",
    -5: "pending",
    -6: "key",
}


def _new_mask(plan: Plan, state: Any, values: Any, known: Any) -> int:
    """Which optional columns a new object has values for, as bits; negative for a refusal."""
    if state.key is not None:
        return -4
    for key in plan.relations:
        if key in values:
            return -2
    if plan.has_collections and "_pending_mutations" in state.__dict__:
        return -5
    if plan.orphans and plan.mapper._is_orphan(state):
        return -3
    mask = 0
    for index, key in enumerate(plan.props):
        value = values.get(key, _MISSING)
        if value is None or value is _MISSING:
            if plan.none_counts[index] and value is None:
                mask |= 1 << index
        else:
            if type(value) not in _VALUES and _is_expression(value):
                return -1
            if not plan.as_none[index]:
                mask |= 1 << index
    if plan.pk_bits & ~(mask | plan.made):
        return -6
    if mask & plan.pk_bits == plan.pk_bits:
        identity = tuple([values[key] for key in plan.pk_props])
        try:
            if (plan.identity_class, identity, state.identity_token) in known:
                return -4
        except TypeError:
            return -4
    return mask


def _is_expression(value: Any) -> bool:
    return hasattr(value, "__clause_element__") or isinstance(value, ClauseElement)


def _collect_changed(session: Any, works: dict[Any, Work]) -> str | None:
    manager: Any = None
    work: Any = None
    touched: list[Work] = []
    for state in session.identity_map._modified:
        if state.manager is not manager:
            manager = state.manager
            work = works.get(manager)
            if work is None:
                work = _work_of(works, manager)
            if work.aside is not None:
                return str(work.aside)
            if work not in touched:
                touched.append(work)
        work.updates.append(state)
    for work in touched:
        reason = _collect_updates(work)
        if reason is not None:
            return reason
    return None


def _collect_updates(work: Work) -> str | None:
    """Sort the changed objects of one mapper, and find which of their columns changed."""
    plan = work.plan
    states = work.updates
    if len(states) > 1:
        try:
            states.sort(key=plan.sort_key)
        except TypeError:
            return "order"
    kept: list[Any] = []
    for state in states:
        instance = state.obj()
        if instance is None:
            return "identity"
        mask = _changed_mask(plan, state, instance.__dict__)
        if mask < 0:
            return _REFUSED[mask]
        work.states.append(state)
        if mask:
            kept.append(state)
            work.update_masks.append(mask)
    work.updates = kept
    return None


def _changed_mask(plan: Plan, state: Any, values: Any) -> int:
    """Which columns of a loaded object have another value than before; negative for a refusal."""
    if plan.has_collections and "_pending_mutations" in state.__dict__:
        return -5
    if plan.orphans and plan.mapper._is_orphan(state):
        return -3
    for key in plan.own_relations:
        if key in values:
            return -2
    for key in plan.pk_props:
        if key in state.committed_state or values.get(key) is None:
            return -4
    mask = 0
    committed = state.committed_state
    for key in committed:
        index = plan.by_prop.get(key, -1)
        if index < 0:
            return -2
        value = values.get(key, _MISSING)
        if value is _MISSING or (type(value) not in _VALUES and _is_expression(value)):
            return -1
        if plan.equal[index](value, committed[key]) is not True:
            mask |= 1 << index
    return -6 if mask & plan.referred else mask


# ---------------------------------------------------------------- writing


def _write(session: Any, works: list[Work]) -> str | None:
    session._flushing = True
    try:
        transaction = session._autobegin_t()
        if transaction._state is not ACTIVE:
            return "transaction"
        try:
            session._warn_on_events = True
            try:
                reason = _send(session, transaction, works)
            finally:
                session._warn_on_events = False
            if reason is None:
                close_work(session, transaction, works)
            return reason
        except BaseException:
            undo(session, transaction)
    finally:
        session._flushing = False
    raise AssertionError


def undo(session: Any, transaction: Any) -> None:
    """Roll back after a flush whose error is being handled, and raise that again."""
    count("flush:fast")
    with safe_reraise():
        if transaction._state is ACTIVE:
            scope = session._scope
            if scope is not None and scope.in_hand and not transaction.nested:
                transaction.adopted(scope.side.engine)  # SQLAlchemy's, to roll it back
            # the level of a flush, for the one thing that it is there for
            transaction._begin().rollback(_capture_exception=True)


def _send(session: Any, transaction: Any, works: list[Work]) -> str | None:
    lane = lane_of(session, transaction, works[0].plan.mapper)
    if isinstance(lane, str):
        return lane
    reason = why_not_statements(lane.dialect, works)
    if reason is not None:
        return reason
    see_through(lane, statements_of(lane, works))
    return None


def why_not_statements(dialect: Any, works: list[Work]) -> str | None:
    """Whether every statement is one that can be sent here; after the first it is too late."""
    for work in works:
        plan = work.plan
        for masks, statement in ((work.masks, plan.insert), (work.update_masks, plan.update)):
            for mask in masks if len(masks) < 2 else set(masks):
                reason = statement(dialect, mask, False).aside
                if reason is None and len(masks) > 1:
                    reason = statement(dialect, mask, True).aside
                if reason is not None:
                    return reason
    return None
