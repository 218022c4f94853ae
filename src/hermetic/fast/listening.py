"""Whether anybody listens to a session's events."""

from __future__ import annotations

from logging import INFO
from types import MemberDescriptorType
from typing import Any

from sqlalchemy import orm

from .private import EmptyListener

try:
    import cython  # type: ignore[import-untyped]
except ImportError:
    from . import shadow as cython

# the compiled form has these from listening.pxd: it looks into a slot without filling it, as
# SQLAlchemy does with whatever is asked for
if not cython.compiled:

    def slot_of(dispatch: Any, name: str) -> int:
        return 0

    def held_at(dispatch: Any, name: str, offset: int) -> Any:
        return getattr(dispatch, name)


SLOT = MemberDescriptorType

# by class of a dispatcher: its events, and where their listeners are in it
_slots: dict[type, list[tuple[str, int]]] = {}

# by class: the collections of listeners of every event, for the class and those it inherits from;
# SQLAlchemy appends to them for as long as the class lives
_collections: dict[type, list[Any]] = {}


def _collected(class_: type) -> list[Any]:
    found = []
    dispatch: Any = orm.Session.dispatch
    for name in dispatch._event_names:
        event = getattr(dispatch, name)
        event.update_subclass(class_)
        found.append(event._clslevel[class_])
    _collections[class_] = found
    return found


def is_silent(listeners: Any) -> bool:
    """Whether a target's collection of listeners is empty, with those of its class."""
    return type(listeners) is EmptyListener and not listeners.parent_listeners


def is_alone(listeners: Any) -> bool:
    """Whether a collection holds one listener, ours."""
    return len(listeners.parent_listeners) + len(listeners.listeners) == 1


def is_logged(engine: Any) -> bool:
    """Whether an engine's statements are logged."""
    logger = engine.logger
    # the logger's own memory of isEnabledFor(INFO), emptied whenever a level changes
    known = logger._cache.get(INFO)
    return bool(logger.isEnabledFor(INFO) if known is None else known)


def is_heard(session: Any) -> bool:
    """Whether a listener is there, for this session or for all of its class."""
    class_ = type(session)
    found = _collections.get(class_)
    if found is None:
        found = _collected(class_)
    for listeners in found:
        if listeners:
            return True
    own = session.__dict__.get("dispatch")
    if own is None:
        return False
    slots = _slots.get(type(own))
    if slots is None:
        slots = _slots[type(own)] = [(name, slot_of(own, name)) for name in own._event_names]
    for name, offset in slots:
        held = held_at(own, name, offset)
        if held is not None and type(held) is not EmptyListener:
            return True
    return False
