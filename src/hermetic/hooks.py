"""What a scope's users want done at its end, in order, dropped with a rolled-back savepoint."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import SessionTransaction

from .errors import Outcome, ScopeControls
from .registry import Scope


class HookKind(enum.Enum):
    """When a hook runs; the value is the method that adds it."""

    BEFORE_COMMIT = "before_commit"
    AFTER_COMMIT = "on_commit"
    AFTER_ROLLBACK = "on_rollback"


@dataclass(slots=True)
class Hook:
    """One function to call. ``savepoint`` is the innermost one that was open when it was added."""

    kind: HookKind
    function: Callable[[], Any]
    key: object
    savepoint: SessionTransaction | None
    undone: bool = False
    ran: bool = False

    @property
    def name(self) -> str:
        return getattr(self.function, "__qualname__", repr(self.function))


def add_hook(scope: Scope, session: Any, hook: Hook) -> None:
    """Add a hook to a scope, unless its key is known.

    :raises ScopeControls: a coroutine function in a scope of threads, which cannot await it.
    """
    if not callable(hook.function):
        raise TypeError(f"a hook must be callable, not {hook.function!r}")
    if not scope.asynchronous and inspect.iscoroutinefunction(hook.function):
        raise ScopeControls(
            f"{hook.name} is a coroutine function, and nobody can await it in a scope of threads.",
            scope=scope.ref,
            hint="Use 'async with db.session()', or an ordinary function.",
        )
    if hook.key is not None and _is_known(scope, hook):
        return
    if hook.savepoint is not None and not scope.watches_savepoints:
        scope.watches_savepoints = True
        event.listen(session, "after_soft_rollback", _drop_of(scope))
    scope.hooks.append(hook)


def _is_known(scope: Scope, hook: Hook) -> bool:
    """Whether the scope has a hook of this kind and key already. From now on it has."""
    keys = scope.hook_keys
    if keys is None:
        keys = scope.hook_keys = {known for each in scope.hooks if (known := _hashable(each))}
    wanted = _hashable(hook)
    if wanted is None:
        return any(known.key == hook.key and known.kind is hook.kind for known in scope.hooks)
    if wanted in keys:
        return True
    keys.add(wanted)
    return False


def _hashable(hook: Hook) -> tuple[HookKind, object] | None:
    try:
        hash(hook.key)
    except TypeError:
        return None
    return None if hook.key is None else (hook.kind, hook.key)


def run_before_commit(scope: Scope, run: Callable[[Hook], None]) -> None:
    """Call ``run`` with every hook that is due before the COMMIT; one may add others, or roll back
    the savepoint that another was added in.
    """
    while due := [
        hook for hook in scope.hooks if hook.kind is HookKind.BEFORE_COMMIT and not hook.ran
    ]:
        for hook in due:
            hook.ran = True
            if not hook.undone:
                run(hook)


def ending_hooks(scope: Scope) -> list[Hook]:
    """The hooks to run once the scope has ended, in order, by how it ended."""
    outcome = scope.outcome
    if outcome is Outcome.UNKNOWN:
        return []
    # a scope without a transaction has no outcome, only an end with or without an error
    committed = outcome is Outcome.COMMITTED or (outcome is None and not scope.failed)
    wanted = HookKind.AFTER_COMMIT if committed else HookKind.AFTER_ROLLBACK
    return [hook for hook in scope.hooks if hook.kind is wanted or hook.undone]


def _drop_of(scope: Scope) -> Callable[[Any, SessionTransaction], None]:
    def drop(session: Any, ended: Any) -> None:
        # a failed flush ends with a transaction of its own, inside the savepoint it dooms
        while not ended.nested:
            if ended.parent is None:
                return
            ended = ended.parent
        kept = []
        # those that were added since the savepoint began are the last ones
        while scope.hooks and _within(scope.hooks[-1].savepoint, ended):
            hook = scope.hooks.pop()
            hook.undone = True
            if hook.kind is HookKind.AFTER_ROLLBACK:
                # its part of the work is rolled back, whatever becomes of the rest
                kept.append(hook)
            else:
                scope.hook_keys = None
        scope.hooks.extend(reversed(kept))

    return drop


def _within(savepoint: SessionTransaction | None, ended: SessionTransaction) -> bool:
    while savepoint is not None:
        if savepoint is ended:
            return True
        savepoint = savepoint.parent
    return False
