"""Sessions for scopes, like one that SQLAlchemy has made, without the making."""

from __future__ import annotations

from typing import Any

from ..registry import Scope
from .private import KeyedRef, WeakInstanceDict, session_numbers, sessions
from .side import Side
from .switch import ON

try:
    import cython  # type: ignore[import-untyped]
except ImportError:
    from . import shadow as cython

# the compiled form has these from instances.pxd
if not cython.compiled:
    from .instances import make, set_values, values_of, weak

_IdentityMap = WeakInstanceDict
# what no two sessions share
_OWN = frozenset({"identity_map", "_new", "_deleted", "hash_key", "dispatch"})
_listed: dict[int, Any] = sessions.data if ON else {}


def remember_session(side: Side, session: Any) -> None:
    """Keep what a session has in it that SQLAlchemy has just made, for those that come after."""
    if not ON:
        return
    side.session_class = type(session)
    side.session_dict = {
        name: value for name, value in session.__dict__.items() if name not in _OWN
    }


def new_session(side: Side, scope: Scope) -> Any:
    """A session like the one that was remembered, for a scope."""
    assert side.session_dict is not None
    session = make(side.session_class)
    identity_map: Any = make(_IdentityMap)
    inside = values_of(identity_map)
    inside["_wr"] = weak(identity_map, None)
    inside["_dict"] = {}
    inside["_modified"] = set()
    number = next(session_numbers)
    values = side.session_dict.copy()
    values["identity_map"] = identity_map
    values["_new"] = {}
    values["_deleted"] = {}
    values["hash_key"] = number
    values["_scope"] = scope
    set_values(session, values)
    # without the callback by which the registry strikes a session out: the end of the scope does
    _listed[number] = weak(session, None)
    return session


def keep_listed(session: Any) -> None:
    """Have SQLAlchemy find a session for as long as it lives: what it has deleted stays with it."""
    if ON:
        number = session.hash_key
        sessions.data[number] = KeyedRef(session, sessions._remove, number)
