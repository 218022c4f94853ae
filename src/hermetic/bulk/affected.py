"""Objects of a session whose rows were written past them: what they know is not true any more."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from .target import Target


def expire_all(session: Any, target: Target) -> None:
    """All objects of the class are loaded again when they are next looked at."""
    for state in _states(session, target):
        _expire(session, state)


def expire(session: Any, target: Target, keys: Collection[tuple[Any, ...]]) -> None:
    """The same for those with these primary keys."""
    for state in _states(session, target):
        if state.key[1] in keys:
            _expire(session, state)


def forget(session: Any, target: Target, keys: Collection[tuple[Any, ...]]) -> None:
    """Objects with these primary keys are deleted."""
    gone = [state for state in _states(session, target) if state.key[1] in keys]
    if gone:
        session._remove_newly_deleted(gone)


def _states(session: Any, target: Target) -> Iterator[Any]:
    if target.mapper is None:
        table = target.table
        for state in session.identity_map.all_states():
            if state.mapper.local_table is table:
                yield state
        return
    base = target.mapper.base_mapper
    for state in session.identity_map.all_states():
        if state.mapper.base_mapper is base:
            yield state


def _expire(session: Any, state: Any) -> None:
    instance = state.obj()
    if instance is not None:
        # changes that were not flushed, where the session does not flush by itself, are kept
        kept = state.committed_state
        session.expire(instance, [prop.key for prop in state.mapper.attrs if prop.key not in kept])
