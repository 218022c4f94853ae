"""Which scope is open here: one context variable for all Databases, a linked list of scopes.

A task or thread that was given a copy of its parent's context sees the parent's scopes in it. They
are not its own; what to make of that is the caller's to decide.
"""

from __future__ import annotations

from contextvars import ContextVar

from .registry import Scope

current_scope: ContextVar[Scope | None] = ContextVar("hermetic_scope", default=None)


def open_scope(registry: object) -> Scope | None:
    """The innermost scope of a Database that is still open in this context, whoever owns it."""
    scope = current_scope.get()
    while scope is not None and (scope.ended or scope.left or scope.registry is not registry):
        scope = scope.parent
    return scope


def enter(scope: Scope) -> None:
    current_scope.set(scope)


def leave(scope: Scope) -> None:
    """Make the enclosing scope current again, where ``scope`` is the current one.

    A scope may end in another context than it began in (fixtures, generators); there nothing is
    undone.
    """
    if current_scope.get() is scope:
        parent = scope.parent
        while parent is not None and parent.ended:
            parent = parent.parent
        current_scope.set(parent)
