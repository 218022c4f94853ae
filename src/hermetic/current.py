"""Which scope is open here: one context variable for all Databases, a linked list of scopes.

A task or thread that was given a copy of its parent's context sees the parent's scopes in it. They
are not its own; what to make of that is the caller's to decide.
"""

from __future__ import annotations

from contextvars import ContextVar

from .registry import Scope

try:
    import cython  # type: ignore[import-untyped]
except ImportError:
    from .fast import shadow as cython

# the compiled form has these from current.pxd
if not cython.compiled:

    def get_value(variable: ContextVar[Scope | None]) -> Scope | None:
        return variable.get()

    def set_value(variable: ContextVar[Scope | None], scope: Scope | None) -> None:
        variable.set(scope)


current_scope: ContextVar[Scope | None] = ContextVar("hermetic_scope", default=None)
# the same, within reach of the compiled form
_current_scope = current_scope


def innermost() -> Scope | None:
    """The innermost scope of this context, of any Database and owner; it may have ended."""
    return get_value(_current_scope)


def is_over(scope: Scope) -> bool:
    """Whether a scope has ended, or the one that it is part of, which it may have outlived in the
    hands of a paused generator.
    """
    return scope.ended or (scope._root is not None and scope._root.ended)


def open_scope(registry: object) -> Scope | None:
    """The innermost scope of a Database that is still open in this context, whoever owns it."""
    scope = get_value(_current_scope)
    while scope is not None and (scope.left or scope.registry is not registry or is_over(scope)):
        scope = scope.parent
    return scope


def make_current(scope: Scope | None) -> None:
    set_value(_current_scope, scope)


def leave(scope: Scope) -> None:
    """Make the enclosing scope current again, where ``scope`` is the current one.

    A scope may end in another context than it began in (fixtures, generators); there nothing is
    undone.
    """
    if get_value(_current_scope) is scope:
        parent = scope.parent
        while parent is not None and parent.ended:
            parent = parent.parent
        set_value(_current_scope, parent)
