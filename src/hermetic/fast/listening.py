"""Whether anybody listens: to a session's events, or to those of an engine or a mapped class.

SQLAlchemy adds listeners to its collections, and takes them off, in place: the collections of a
class are the same for as long as it lives. A target's own collection is made when it is first
listened to, and takes the place of an empty one in a slot of its dispatcher.
"""

from __future__ import annotations

from logging import INFO, Logger
from types import MemberDescriptorType
from typing import Any

from .kinds import kind_of
from .private import EmptyListener, ListenerCollection

try:
    import cython  # type: ignore[import-untyped]
except ImportError:
    from . import shadow as cython

# the compiled form has these from listening.pxd: it looks into a slot without filling it, as
# SQLAlchemy does with whatever is asked for
if not cython.compiled:

    def size(listeners: Any) -> int:
        return len(listeners)

    def holds(dispatch: Any, name: str, offset: int, value: Any) -> bool:
        return getattr(dispatch, name) is value

    def held_at(dispatch: Any, name: str, offset: int) -> Any:
        return getattr(dispatch, name)

    def values_of(session: Any) -> dict[str, Any]:
        return session.__dict__  # type: ignore[no-any-return]

    def slot_of(dispatch: Any, name: str) -> int:
        return 0


SLOT = MemberDescriptorType

# by class of a dispatcher: its events, and where their listeners are in it
_slots: dict[type, list[tuple[str, int]]] = {}


def is_heard(session: Any) -> bool:
    """Whether a listener is there, for this session or for all of its class."""
    found = kind_of(type(session)).collections
    for at in range(len(found)):
        if size(found[at]):
            return True
    own = values_of(session).get("dispatch")
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


class Event:
    """One event of one target: where its listeners are."""

    __slots__ = ("expected", "held", "lists", "name", "offset")

    def __init__(self, dispatch: Any, name: str, expected: int) -> None:
        self.name = name
        self.expected = expected
        self.offset = slot_of(dispatch, name)
        # what was last seen in the slot, and the lists of listeners that it is made of; None for
        # what is not known: somebody may be there
        self.held: Any = None
        self.lists: tuple[Any, ...] | None = None

    def look(self, dispatch: Any) -> None:
        held = self.held = getattr(dispatch, self.name)
        if type(held) is EmptyListener:
            self.lists = (held.parent_listeners,)
        elif type(held) is ListenerCollection:
            self.lists = (held.parent_listeners, held.listeners)
        else:
            self.lists = None


class Ear:
    """Whether others listen to some events of one target than those who are expected to."""

    __slots__ = ("_dispatch", "_events")

    def __init__(self, dispatch: Any, expected: dict[str, int]) -> None:
        """:param expected: by event, how many listeners of ours there are."""
        self._dispatch = dispatch
        self._events = tuple([Event(dispatch, *each) for each in expected.items()])

    def hears(self) -> bool:
        dispatch = self._dispatch
        for at in range(len(self._events)):
            event: Event = self._events[at]
            if not holds(dispatch, event.name, event.offset, event.held):
                event.look(dispatch)
            lists = event.lists
            if lists is None:
                return True
            number = 0
            for each in range(len(lists)):
                number += size(lists[each])
            if number != event.expected:
                return True
        return False


def is_logged(engine: Any) -> bool:
    """Whether an engine's statements are logged."""
    logger = engine.logger
    if type(logger) is not Logger:
        return True  # one of SQLAlchemy's, for an engine that echoes
    # the logger's own memory of isEnabledFor(INFO), emptied whenever a level changes
    known = logger._cache.get(INFO)  # type: ignore[attr-defined]
    return bool(logger.isEnabledFor(INFO) if known is None else known)
