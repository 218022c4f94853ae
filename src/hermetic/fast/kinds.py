"""What is known of a class of sessions: who listens to all of them, and whose methods they have.

Factories make a class each, and some make a factory for every session: a class is kept by nobody
here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import ref

from sqlalchemy import orm

# what SQLAlchemy would call in the place of a fast path
_READING = ("execute", "_execute_internal", "_autoflush")
_WRITING = (
    *("_flush", "_register_persistent", "_register_altered", "_connection_for_bind", "get_bind"),
    *("connection", "_remove_newly_deleted"),
)
_ADDING = (
    *("add", "_save_or_update_state", "_save_or_update_impl", "_save_impl"),
    *("_before_attach", "_after_attach"),
)


class Kind:
    """One class of sessions."""

    __slots__ = ("adds", "binds", "collections", "reads", "reference", "writes")

    def __init__(self, class_: Any, reference: Any) -> None:
        self.reference = reference
        # the listeners of every event, for the class and those it inherits from
        self.collections = _collected(class_)
        # whether nobody's own methods wait for what a fast path does
        self.binds = class_.get_bind is orm.Session.get_bind
        self.reads = _are_known(class_, _READING)
        self.writes = _are_known(class_, _WRITING)
        self.adds = _are_known(class_, _ADDING)


# by the class's id
_kinds: dict[int, Kind] = {}


def kind_of(class_: Any) -> Kind:
    """What is known of a class, found out when it is first asked for."""
    found = _kinds.get(id(class_))
    return _met(class_) if found is None else found


def _met(class_: Any) -> Kind:
    number = id(class_)
    kind = _kinds[number] = Kind(class_, ref(class_, _forget(number)))
    return kind


def _forget(number: int) -> Callable[[object], None]:
    def forget(reference: object) -> None:
        _kinds.pop(number, None)

    return forget


def _collected(class_: Any) -> tuple[Any, ...]:
    found = []
    dispatch: Any = orm.Session.dispatch
    for name in dispatch._event_names:
        event = getattr(dispatch, name)
        event.update_subclass(class_)
        found.append(event._clslevel[class_])
    return tuple(found)


def _are_known(class_: Any, names: tuple[str, ...]) -> bool:
    """Whether a class has its methods from here and from SQLAlchemy."""
    return all(
        getattr(class_, name).__module__.partition(".")[0] in ("hermetic", "sqlalchemy")
        for name in names
    )
