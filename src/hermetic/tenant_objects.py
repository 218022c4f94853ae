"""Whose an object is: it stays with the tenant that it was loaded for, or written by.

What a scope had is marked when the scope ends, or lets it go; until then its session tells.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect, orm
from sqlalchemy.orm.state import InstanceState

from .errors import ForeignTenant
from .sealed import TENANT, mark

if TYPE_CHECKING:
    from .registry import Scope

# nobody's, and everybody's: it was in no scope of a Database with tenants
_UNMARKED: Any = object()


class TenantSession(orm.Session):
    """A Session that takes no object of another tenant."""

    _scope: Scope | None

    @property
    def tenant(self) -> str | None:
        """Whose rows it sees; ``None`` for nobody's, or outside any scope."""
        return None if self._scope is None else self._scope.tenant

    def bulk_save_objects(self, objects: Iterable[object], *args: Any, **kwargs: Any) -> None:
        """As SQLAlchemy's; an object of another tenant is refused."""
        given = list(objects)
        for instance in given:
            self._check_given(instance)
        super().bulk_save_objects(given, *args, **kwargs)

    def enable_relationship_loading(self, obj: object) -> None:
        """As SQLAlchemy's; an object of another tenant is refused."""
        self._check_given(obj)
        super().enable_relationship_loading(obj)

    def _expunge_states(self, states: Iterable[InstanceState[Any]], *args: Any, **kw: Any) -> None:
        states = list(states)
        self._mark(states)
        super()._expunge_states(states, *args, **kw)

    def _mark(self, states: Iterable[InstanceState[Any]]) -> None:
        scope = self._scope
        if scope is not None and scope.registry.has_tenants:
            mark((state for state in states if state.key is not None), scope.tenant)

    def _check_given(self, instance: object) -> None:
        state: InstanceState[Any] | None = getattr(instance, "_sa_instance_state", None)
        if state is not None:
            self._check_tenant(state)

    def _check_merged(self, state: InstanceState[Any] | None) -> None:
        """What is merged comes with all that it leads to."""
        scope = self._scope
        if state is None or not ("info" in state.__dict__ or _has_tenants(scope)):
            return
        self._check_tenant(state)
        for _, _, each, _ in list(state.mapper.cascade_iterator("merge", state)):
            self._check_tenant(each)

    def _check_tenant(self, state: InstanceState[Any]) -> None:
        """:raises ForeignTenant: it is another's."""
        owner = self._owner_of(state)
        scope = self._scope
        if owner is _UNMARKED or owner == self.tenant:
            return
        raise ForeignTenant(
            f"{described(state.obj())} is one of {owner or 'nobody'!r}, and the scope is one of "
            f"{self.tenant or 'nobody'!r}.",
            tenant=self.tenant,
            owner=owner,
            scope=None if scope is None else scope.ref,
            hint="An object stays with its tenant: copy its values into a new one.",
        )

    def _owner_of(self, state: InstanceState[Any]) -> Any:
        if "info" in state.__dict__ and TENANT in state.info:
            return state.info[TENANT]
        holder: Any = None if state.session_id is None else state.session
        if holder is None or holder is self:
            return _UNMARKED
        # a scope that is open still: as one around this one
        scope: Scope | None = getattr(holder, "_scope", None)
        return scope.tenant if scope is not None and _has_tenants(scope) else _UNMARKED


def _has_tenants(scope: Scope | None) -> bool:
    return scope is not None and bool(scope.registry.has_tenants)


def described(instance: object) -> str:
    """An object in words: its class, and its key where it has one."""
    if instance is None:
        return "an object"
    state = inspect(instance, raiseerr=False)
    identity = getattr(state, "identity", None)
    name = type(instance).__name__
    return name if identity is None else f"{name} {', '.join(map(repr, identity))}"
