"""What there is to be seen, as plain values that can be compared: objects, states, sessions,
results, errors. Nothing here loads anything.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Row, exc, inspect
from sqlalchemy.ext.mutable import Mutable
from sqlalchemy.orm import InstanceState
from sqlalchemy.orm.attributes import instance_state
from sqlalchemy.orm.collections import collection_adapter

_ADDRESS: Final = re.compile(r"0x[0-9a-f]{6,}")
_SESSION: Final = re.compile(r"(session|this is) '\d+'")
# hermetic's own errors where SQLAlchemy has another one, by docs/errors.md: a transaction that
# cannot be committed, or used, any more
_INSTEAD_OF: Final = {"RolledBack": "PendingRollbackError"}


# an error of hermetic's class says more than SQLAlchemy's
OWN_WORDS: Final = "(hermetic's words)"


def scrubbed(text: str) -> str:
    """Without what is different each time."""
    return _SESSION.sub(r"\1 '…'", _ADDRESS.sub("0x…", text))


class Names:
    """Names for objects, by the order in which they were met; they keep nothing alive."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[Any], str]] = {}
        self._count = 0

    def known(self, thing: Any) -> str | None:
        known = self._known.get(id(thing))
        return known[1] if known is not None and known[0]() is thing else None

    def of(self, thing: Any) -> str:
        known = self.known(thing)
        if known is not None:
            return known
        self._count += 1
        name = f"{type(thing).__name__}#{self._count}"
        self._known[id(thing)] = (weakref.ref(thing), name)
        return name


class Describer:
    """Values of one run; mapped objects are told by name, and the first time in full."""

    def __init__(self) -> None:
        self.names = Names()
        # sessions that are over; a deleted object belongs to its own for as long as that lives
        self.over: weakref.WeakSet[Any] = weakref.WeakSet()

    def value(self, value: Any) -> Any:
        if _state(value) is not None:
            return self.names.of(value)
        if isinstance(value, Row):
            return [type(value).__name__, *map(self.value, value)]
        if isinstance(value, Mutable):
            parents = sorted(value._parents.values())
            return [type(value).__name__, repr(value), parents]
        if isinstance(value, Mapping):
            return {str(key): self.value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [type(value).__name__, *map(self.value, value)]
        if isinstance(value, set | frozenset):
            return [type(value).__name__, *map(self.value, sorted(value, key=self._sorting))]
        return [type(value).__name__, scrubbed(repr(value))]

    # ------------------------------------------------------------ objects

    def state(self, thing: Any) -> dict[str, Any]:
        state = instance_state(thing)
        over = state.session in self.over
        described: dict[str, Any] = {
            "name": self.names.of(thing),
            "is": [
                name
                for name in ("transient", "pending", "persistent", "deleted", "detached")
                if getattr(state, name) and not (over and name == "deleted")
            ]
            or ["detached"],
            "key": _key(state.key),
            "identity": state.identity,
            "token": state.identity_token,
            "expired": state.expired,
            "expired_attributes": sorted(state.expired_attributes),
            "unloaded": sorted(state.unloaded),
            "unmodified": sorted(state.unmodified),
            "modified": state.modified,
            "has_session": state.session is not None and not over,
            "was_deleted": state.was_deleted,
            "attributes": {key: self._attribute(thing, key) for key in sorted(state.dict)},
            "history": {
                attribute.key: self._history(history, state.dict.get(attribute.key))
                for attribute in state.attrs
                # a composite's would load it
                if attribute.key not in state.mapper.composites
                if any(history := attribute.history)
            },
        }
        described["inside"] = self._inside(state)
        return described

    def _history(self, history: Any, value: Any) -> list[Any]:
        if isinstance(value, set):
            lists = (list, tuple, set)
            history = [sorted(p, key=self._sorting) if isinstance(p, lists) else p for p in history]
        return [self.value(part) for part in history]

    def _sorting(self, item: Any) -> str:
        """An order for the members of a set, also of those that have no name yet."""
        state = _state(item)
        if state is None:
            return repr(item)
        plain = {key: value for key, value in state.dict.items() if isinstance(value, str | int)}
        known = self.names.known(item)
        return str((_key(state.key), type(item).__name__, sorted(plain.items()), known))

    def _attribute(self, thing: Any, key: str) -> Any:
        if key == "_sa_instance_state":
            return "its state" if thing.__dict__[key] is instance_state(thing) else "another's"
        value = thing.__dict__[key]
        described = self.value(value)
        adapter = getattr(value, "_sa_adapter", None)
        if adapter is not None:
            adapted = collection_adapter(value)
            assert adapted is not None
            belongs = adapted.owner_state is instance_state(thing)
            described = [*described, "its own" if belongs else "another's"]
        return described

    def _inside(self, state: InstanceState[Any]) -> dict[str, Any]:
        """What has no public name, and shows later: in a flush, a refresh, an orphan."""
        return {
            "committed": {
                key: self._history([value], state.dict.get(key))
                for key, value in sorted(state.committed_state.items())
            },
            "strong": state._strong_obj is not None,
            "options": [type(option).__name__ for option in state.load_options],
            "parents": sorted(bool(parent) for parent in state.parents.values()),
            "pending": sorted(state._pending_mutations),
            "insert_order": getattr(state, "insert_order", None) if state.pending else None,
        }

    # ------------------------------------------------------------ sessions

    def session(self, session: Any) -> dict[str, Any]:
        # named in this order: what is dirty comes as a set
        held = sorted(session.identity_map.values(), key=lambda thing: str(_key(_key_of(thing))))
        for thing in held:
            self.names.of(thing)
        return {
            "keys": sorted(str(_key(key)) for key in session.identity_map),
            "new": sorted(map(self.names.of, session.new)),
            "dirty": sorted(map(self.names.of, session.dirty)),
            "deleted": sorted(map(self.names.of, session.deleted)),
            "objects": [self.state(thing) for thing in held],
            "pending": [self.state(thing) for thing in session.new],
            "in_transaction": session.in_transaction(),
            "in_nested": session.in_nested_transaction(),
            "is_active": session.is_active,
        }

    # ------------------------------------------------------------ errors

    def error(self, error: BaseException) -> dict[str, Any]:
        kind = sqlalchemy_class(error)
        described: dict[str, Any] = {"error": _INSTEAD_OF.get(kind.__name__, kind.__name__)}
        if isinstance(error, exc.StatementError):
            described["statement"] = error.statement
            described["params"] = scrubbed(repr(error.params))
            described["orig"] = [type(error.orig).__name__, scrubbed(str(error.orig))]
        else:
            own = type(error).__module__.startswith("hermetic")
            described["message"] = OWN_WORDS if own else scrubbed(str(error))
            if isinstance(error, exc.CircularDependencyError):
                described["message"] = "names a set, in no order"
        return described


def sqlalchemy_class(error: BaseException) -> type[BaseException]:
    """The class as SQLAlchemy knows it; hermetic's own where SQLAlchemy has none."""
    for base in type(error).__mro__:
        if not base.__module__.startswith("hermetic"):
            if base in (Exception, RuntimeError):
                break
            return base
    return type(error)


def _state(value: Any) -> InstanceState[Any] | None:
    found = inspect(value, raiseerr=False) if hasattr(value, "_sa_instance_state") else None
    return found if isinstance(found, InstanceState) else None


def _key_of(thing: Any) -> Any:
    return instance_state(thing).key


def _key(key: Any) -> Any:
    return None if key is None else [key[0].__name__, *key[1:]]
