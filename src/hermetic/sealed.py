"""Loaded objects after their scope: what was not loaded says so, and says where the scope was.

SQLAlchemy looks for a loader in ``InstanceState.callables`` before it asks the attribute's own,
and calls ``InstanceState._load_expired`` for expired ones. Both are set per object when a scope
ends, to something that loads as ever (the object may have been added to another session) and only
words the failure anew. Private to SQLAlchemy, checked on 2.1.7 to 2.1.9; tests/test_sealed.py
fails when it changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy.orm.base import LoaderCallableStatus, manager_of_class
from sqlalchemy.orm.exc import DetachedInstanceError
from sqlalchemy.orm.state import InstanceState

from .errors import DetachedAccess, ScopeRef

_Loader = Callable[[Any, Any], Any]


# the key, in an object's ``InstanceState.info``, of the tenant whose it is
TENANT = "hermetic.tenant"


def mark(states: Iterable[InstanceState[Any]], tenant: str | None) -> None:
    """Remember whose the objects of a scope are, where there are tenants."""
    for state in states:
        state.info[TENANT] = tenant


class Named(Protocol):
    """A scope, as far as its words go."""

    @property
    def name(self) -> str: ...
    @property
    def number(self) -> int: ...
    @property
    def place(self) -> object: ...


@dataclass(frozen=True, slots=True)
class _Late:
    """A scope's name and place, in words only when they are wanted; the scope itself may go."""

    name: str
    number: int
    place: object

    @property
    def ref(self) -> ScopeRef:
        return ScopeRef(self.name, self.number, str(self.place))


class Sealed(dict[str, _Loader]):
    """The ``callables`` of objects of one class and one ended scope; it has an answer for every
    attribute that has a loader, and for no other: what SQLAlchemy expires must stay expired.

    As a dict it holds only the loaders that an object had of its own, so that a copy made by
    ``Session.merge`` is what it would have been.
    """

    __slots__ = ("_class", "_scope")

    def __init__(self, scope: ScopeRef | _Late, own: dict[str, _Loader], class_: type[Any]) -> None:
        super().__init__(own)
        self._scope = scope
        self._class = class_

    @property
    def scope(self) -> ScopeRef:
        scope = self._scope
        return scope if isinstance(scope, ScopeRef) else scope.ref

    def __contains__(self, key: object) -> bool:
        if super().__contains__(key):
            return True
        manager: Any = manager_of_class(self._class)
        attribute = manager.get(key)
        return attribute is not None and getattr(attribute.impl, "callable_", None) is not None

    def __delitem__(self, key: str) -> None:
        self.pop(key, None)

    def __getitem__(self, key: str) -> _Loader:
        own: _Loader | None = self.get(key)

        def load(state: InstanceState[Any], passive: Any) -> Any:
            loader = own or state.manager[key].impl.callable_
            if loader is None:
                return LoaderCallableStatus.ATTR_EMPTY
            try:
                return loader(state, passive)
            except DetachedAccess:
                raise
            except DetachedInstanceError as error:
                raise _worded(state, key, self.scope) from error

        return load

    def load_expired(self, state: InstanceState[Any], passive: Any) -> Any:
        try:
            return type(state)._load_expired(state, state, passive)
        except DetachedAccess:
            raise
        except DetachedInstanceError as error:
            names = ", ".join(sorted(state.expired_attributes)) or "its attributes"
            raise _worded(state, names, self.scope) from error

    def __reduce__(self) -> tuple[Any, ...]:
        return Sealed, (self.scope, dict(self.items()), self._class)


def seal(states: Iterable[InstanceState[Any]], scope: Named | ScopeRef) -> None:
    """Mark the objects of a scope that ends."""
    if isinstance(scope, ScopeRef):
        late: ScopeRef | _Late = scope
    else:
        late = _Late(scope.name, scope.number, scope.place)
    # one for all objects of a class
    shared: dict[type[Any], tuple[Sealed, Any]] = {}
    for state in states:
        expired = bool(state.expired_attributes)
        # whoever has all its attributes, and its state beside them, has nothing to say
        if len(state.dict) > len(state.manager) and not expired:
            continue
        class_ = state.class_
        found = shared.get(class_)
        if found is None:
            sealed = Sealed(late, {}, class_)
            found = shared[class_] = sealed, sealed.load_expired
        # a state of its own only where there is something of its own in it
        own = state.callables
        state.callables = Sealed(late, dict(own), class_) if len(own) else found[0]
        if expired:
            state._load_expired = found[1]  # type: ignore[method-assign]


def _worded(state: InstanceState[Any], attribute: str, scope: ScopeRef) -> DetachedAccess:
    return DetachedAccess(
        f"{attribute!r} of {_named(state)} was not loaded when its scope ended.",
        attribute=attribute,
        scope=scope,
        hint="Load it inside the scope, by a loader option such as selectinload() or by reading it "
        "there, or add the object to another session.",
    )


def _named(state: InstanceState[Any]) -> str:
    key = state.identity
    name = state.class_.__name__
    return f"a {name}" if key is None else f"{name} {', '.join(map(repr, key))}"
