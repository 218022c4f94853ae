"""Whoever wants to see the scopes of a Database, whether that is watched for findings or not."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from ..events import Listener
from ..registry import Registry
from ..seen import FINDINGS, Watch
from .sink import Sink, overrides
from .watcher import Watcher

_lock = threading.Lock()
# of Databases that nobody watches: one each, for scopes that outlive whoever asked, which hold it.
# It holds its registry, so that holding it here would keep both for ever
_quiet: weakref.WeakKeyDictionary[Registry, weakref.ref[Watcher]] = weakref.WeakKeyDictionary()


def _start_anew() -> None:
    global _lock  # noqa: PLW0603 - a thread of the parent's may have had it
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_start_anew)


class HasScopes(Protocol):
    """A Database, or a Group."""

    @property
    def registry(self) -> Registry:
        """What is open of it."""


def change(registry: Registry, changed: Callable[[Watcher], None]) -> Watcher:
    """Change what a Database's watcher tells to whom; one that finds nothing is made if need be,
    and goes when it has nobody to tell.
    """
    with _lock:
        watcher: Watcher = registry.watch or _quiet_watcher(registry)
        changed(watcher)
        idle = not (watcher.recorders or watcher.sinks or watcher.looks)
        registry.watch = None if idle else watcher
    return watcher


def _quiet_watcher(registry: Registry) -> Watcher:
    known = _quiet.get(registry)
    watcher = None if known is None else known()
    if watcher is None:
        options = Watch(keep=0, repeats=1_000_000, chatty=1_000_000, ignore=set(FINDINGS))
        watcher = Watcher(registry, options, looks=False)
        _quiet[registry] = weakref.ref(watcher)
    return watcher


def attach(database: HasScopes, sink: Sink) -> Callable[[], None]:
    """Have a sink told of the scopes of a Database, from the next one that is opened on.

    Of scopes outside of which statements are sent (``db.engine``, sessions of a factory) it is
    told nothing; findings are there with ``watch=`` alone.

    :return: what takes it off again.
    """
    registry = database.registry
    undo: list[Callable[[], Any]] = []
    change(registry, lambda watcher: watcher.tell(sink))
    undo.append(lambda: change(registry, lambda watcher: watcher.forget(sink)))
    if overrides(sink, "told"):
        listener: Listener = sink.told
        registry.listeners = (*registry.listeners, listener)
        undo.append(lambda: _unlisten(registry, listener))
    if overrides(sink, "forked"):
        forked = sink.forked
        registry.after_fork.append(forked)
        undo.append(lambda: registry.after_fork.remove(forked))

    def detach() -> None:
        while undo:
            undo.pop()()

    return detach


def _unlisten(registry: Registry, listener: Listener) -> None:
    registry.listeners = tuple(known for known in registry.listeners if known is not listener)
