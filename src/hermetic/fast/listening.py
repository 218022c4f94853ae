"""Whether anybody listens to a session's events."""

from __future__ import annotations

from logging import INFO
from typing import Any

from sqlalchemy import orm

from .private import EmptyListener

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
    # what was never asked for is not there, and has no listener
    held: dict[str, Any] = own.__dict__
    for listeners in held.values():  # noqa: SIM110 - a compiled function has no closures
        if type(listeners) is not EmptyListener:
            return True
    return False
