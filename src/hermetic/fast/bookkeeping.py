"""What a flush leaves in the session: identities, states without changes, and what to restore."""

from __future__ import annotations

import weakref
from typing import Any

from sqlalchemy.orm.state import InstanceState
from sqlalchemy.util import warn

_ref = weakref.ref


def close_work(session: Any, transaction: Any, works: list[Any]) -> None:
    """Take note that everything was written."""
    for work in works:
        if _is_plain(session, work):
            _register(session, transaction, work)
        else:
            session._register_persistent(set(work.states))
    modified = session.identity_map._modified
    if modified:
        _drop_late_changes(session, modified)


def _is_plain(session: Any, work: Any) -> bool:
    """Whether every key is complete, new and nobody else's: SQLAlchemy knows the other cases."""
    plan = work.plan
    known = session.identity_map._dict
    pk_props = plan.pk_props
    for state in work.states:
        instance = state.obj()
        if instance is None:
            return False
        values = instance.__dict__
        for prop in pk_props:
            if values.get(prop) is None:
                return False
        key = (
            plan.identity_class,
            tuple([values[prop] for prop in pk_props]),
            state.identity_token,
        )
        if state.key is None:
            if key in known:
                return False
        elif state.key != key or known.get(key) is not state:
            return False
    return True


def _register(session: Any, transaction: Any, work: Any) -> None:
    plan = work.plan
    identity_map = session.identity_map
    known = identity_map._dict
    reference = identity_map._wr
    modified = identity_map._modified
    new = session._new
    noted_new, forget_new = transaction._new.data, transaction._new._remove
    noted_dirty, forget_dirty = transaction._dirty.data, transaction._dirty._remove
    pk_props = plan.pk_props
    collections = plan.has_collections
    for state in work.states:
        values = state.obj().__dict__
        if state.key is None:
            key = (
                plan.identity_class,
                tuple([values[prop] for prop in pk_props]),
                state.identity_token,
            )
            if key in known:  # two of this flush have one key, and the database does not mind
                session._register_persistent({state})
                continue
            state.key = key
            known[key] = state
            state._instance_dict = reference
        if state._orphaned_outside_of_session:
            state._orphaned_outside_of_session = False
        committed = state.committed_state
        if committed:
            committed.clear()
        if collections and "_pending_mutations" in state.__dict__:
            del state.__dict__["_pending_mutations"]
        expired = state.expired_attributes
        if expired:
            expired.difference_update(values)
        if state.modified:
            modified.discard(state)
        state.modified = False
        state.expired = False
        state._strong_obj = None
        if state in new:
            noted_new[_ref(state, forget_new)] = True
            del new[state]
        else:
            noted_dirty[_ref(state, forget_dirty)] = True


def _drop_late_changes(session: Any, modified: Any) -> None:
    """What was changed while the statements were sent, by a default or a type, is not kept."""
    count = len(modified)
    InstanceState._commit_all_states(
        [(state, state.dict) for state in modified], session.identity_map
    )
    warn(
        f"Attribute history events accumulated on {count} previously clean instances "
        "within inner-flush event handlers have been reset, and will not result in database "
        "updates. Consider using set_committed_value() within inner-flush event handlers to "
        "avoid this warning."
    )
