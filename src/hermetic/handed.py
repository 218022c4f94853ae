"""A session of threads that goes from thread to thread: it belongs to whoever has its scope in its
context, one at a time.

Web frameworks run the parts of one request in whichever thread is free, and give each a copy of the
request's context.
"""

from __future__ import annotations

import functools
import os
import threading
from asyncio import _get_running_loop
from collections.abc import Callable
from typing import Any

from .current import innermost
from .errors import ConcurrentUse
from .owner import Owner, describe_current
from .registry import Scope


class ContextOwner(Owner):
    """Whoever has the scope in its context, outside of any event loop, where it would block."""

    hint = (
        "Use it in a function that runs in a thread: in an event loop it would block everybody "
        "else. There, take the session of asyncio, or open one with 'async with db.session()'."
    )

    def is_current(self) -> bool:
        """Whether the caller is one of them."""
        if _get_running_loop() is not None or self._process != os.getpid():
            return False
        scope: Scope | None = innermost()
        while scope is not None:
            if scope.holder() is self:
                return True
            scope = scope.parent
        return False

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __str__(self) -> str:
        return f"the threads that work for {super().__str__()}"

    __repr__ = __str__


def hand_round(scope: Scope) -> None:
    """Have a scope that was just opened belong to whoever has it in its context."""
    scope.owner = ContextOwner()
    session = scope.session
    session.__class__ = _class_of(type(session))
    session._in_use = threading.RLock()


def _exclusive(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        in_use: threading.RLock = self._in_use
        if not in_use.acquire(blocking=False):
            user = describe_current()
            raise ConcurrentUse(
                f"This session is in use by another thread, and {user} tried to use it at the same "
                "time.",
                owner="another thread of the same context",
                user=user,
                scope=None if self._scope is None else self._scope.ref,
                hint="One after the other, or each with a scope of its own: db.session().",
            )
        try:
            return method(self, *args, **kwargs)
        finally:
            in_use.release()

    return call


# where a session does something that another thread must not see half done
_METHODS = (
    *("execute", "scalars", "scalar", "get", "get_one", "flush", "connection", "refresh", "merge"),
    *("add", "add_all", "delete", "delete_all", "merge_all", "expire", "expire_all", "expunge"),
    *("rows", "insert_many", "update_many", "delete_many", "begin", "begin_nested", "query"),
)
_classes: dict[type, type] = {}


def _class_of(kind: type) -> type:
    """A session's class, whose methods only one thread at a time is in."""
    found = _classes.get(kind)
    if found is None:
        own = {name: _exclusive(getattr(kind, name)) for name in _METHODS if hasattr(kind, name)}
        found = _classes[kind] = type(kind.__name__, (kind,), {**own, "__module__": __name__})
    return found
