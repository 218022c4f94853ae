"""Which entities of a query the compiled loop can load, and from which columns."""

from __future__ import annotations

from dataclasses import dataclass
from types import GetSetDescriptorType
from typing import Any

from .private import (
    STATE_ATTR,
    ClassManager,
    InstanceState,
    WeakInstanceDict,
    index_of,
    indexes_of,
    is_default_instrumentation,
)

# the reason that is gone after the first row
FIRST = "first instance"
# the flag of CPython's types that have abstract methods
_ABSTRACT = 1 << 20


@dataclass(frozen=True, slots=True)
class EntityPlan:
    """What does not change from one execution of a query to the next."""

    manager: Any
    keys: tuple[str, ...]
    columns: tuple[int, ...]
    expired: tuple[str, ...]
    primary: tuple[int, ...]


def plan_of(cells: dict[str, Any]) -> EntityPlan | str:
    """The plan of an entity, or the reason why its rows are SQLAlchemy's.

    :param cells: what SQLAlchemy's function for the entity's rows closes over.
    """
    mapper = cells["mapper"]
    reason = _unknown(cells) or _unusual_class(mapper.class_manager)
    if reason is not None:
        return reason
    quick = cells["populators"]["quick"]
    primary = indexes_of(cells["primary_key_getter"])
    columns = tuple(index_of(getter) for _, getter in quick)
    if primary is None or None in columns:
        return "columns"
    return EntityPlan(
        mapper.class_manager,
        tuple(key for key, _ in quick),
        columns,  # type: ignore[arg-type]
        tuple(key for key, installs in cells["populators"]["expire"] if installs),
        primary,
    )


def _unknown(cells: dict[str, Any]) -> str | None:
    """What of this query the compiled loop does not know."""
    if cells["load_evt"] or cells["refresh_evt"] or cells["persistent_evt"]:
        return "events"
    if cells["refresh_identity_key"]:
        return "refresh"
    if cells["populate_existing"]:
        return "populate_existing"
    if type(cells["session_identity_map"]) is not WeakInstanceDict:
        return "identity map"
    if "_add_unpresent" in vars(cells["session_identity_map"]):
        return "identity map"  # a killed one, which refuses
    if cells["post_load"] and type(cells["post_load"].states) is not dict:
        return "post load"
    return None


def _unusual_class(manager: Any) -> str | None:
    """What makes instances of this class otherwise than ``object`` does."""
    # reading it tells listeners that a first instance is made, which is for SQLAlchemy to do
    if "_state_constructor" not in vars(manager):
        return FIRST
    cls = manager.class_
    if (
        type(manager) is not ClassManager
        or manager._state_constructor is not InstanceState
        or not is_default_instrumentation()
    ):
        return "instrumentation"
    if (
        cls.__new__ is not object.__new__
        or cls.__setattr__ is not object.__setattr__
        or cls.__getattribute__ is not object.__getattribute__
        or cls.__flags__ & _ABSTRACT
        or hasattr(cls, STATE_ATTR)
        or not _has_plain_dictionary(cls)
    ):
        return "class"
    return None


def _has_plain_dictionary(cls: type) -> bool:
    for base in cls.__mro__:
        if "__dict__" in vars(base):
            return isinstance(vars(base)["__dict__"], GetSetDescriptorType)
    return False
