"""Who may write many rows: the owner of a scope that writes and has time left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import ReadOnlyScope, ScopeControls

if TYPE_CHECKING:
    from ..registry import Scope


def stray_write(scope: Scope, subject: str) -> ReadOnlyScope:
    """The error for a write in a read-only scope."""
    return ReadOnlyScope(
        f"The scope is read-only, and {subject} would be written.",
        subject=subject,
        scope=scope.ref,
        hint="Open the scope without readonly=True.",
    )


@contextmanager
def admitted(session: Any, subject: str) -> Iterator[None]:
    """A block for whoever may write with a session; nobody else is in it meanwhile.

    :param session: the sync session, also under asyncio.
    """
    scope = session._scope
    if scope is not None:
        scope.check_owner()
        check(scope, subject)
        session._many = True
        try:
            yield
        finally:
            session._many = False
        return
    outermost = session._enter_use()
    try:
        yield
    finally:
        if outermost:
            session._leave_use()


def check(scope: Scope, subject: str) -> None:
    """:raises ReadOnlyScope: nothing may be written in the scope.
    :raises ScopeControls: what is written there could not be taken back.
    """
    scope.check_statement()
    if scope.readonly:
        raise stray_write(scope, subject)
    if (scope._root or scope).entry == "plain":
        raise ScopeControls(
            "The scope has no transaction: a part of the rows could be written and stay.",
            scope=scope.ref,
            hint="Write many rows in a scope with propagation='required'.",
        )
