"""The way of a read: out of the cache, or out of the database and into the cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..fast.lean import is_clean
from ..registry import Scope
from .filling import Filling
from .reads import Reads
from .settings import is_other
from .store import Entry, with_all
from .values import Unkeyable
from .watch import called

# as ``Store.ask``, where no thread was free in time
_LATE = (None, None, "away")
# the description of what was found, and the rows
Found = tuple[Any, list[Any]]


class Asked:
    """A statement as it would be sent, without its parameters: what is the same each time.

    :param form: in which form its rows are kept.
    :param driver: whose rows they are.
    """

    __slots__ = ("key", "names", "places")

    def __init__(self, reads: Reads, form: str, driver: str, sql: str, names: frozenset[str]):
        self.key = (reads.store.identity, reads.reader, form, driver, sql)
        self.names = names
        self.places = reads.store.tokens.places(with_all(names))


def ready(session: Any) -> Scope:
    """The scope of a session that is about to read, with what was pending written."""
    scope: Scope = session._scope
    scope.check_statement()
    if not is_clean(session):
        session._autoflush()
    return scope


def look(reads: Reads, scope: Scope, asked: Asked, parameters: Any) -> Entry | None:
    """What is in the cache, where that may be used and takes no waiting; ``None`` otherwise."""
    return None if reads.store.blocking else look_with(reads, scope, asked, parameters)


def look_with(reads: Reads, scope: Scope, asked: Asked, parameters: Any) -> Entry | None:
    """What is in the cache, where that may be used; ``None`` otherwise."""
    if reads.why_not(scope, asked.names) is not None:
        return None
    key = key_of(reads, scope, asked, parameters)
    return None if key is None else _asked_for(reads, scope, asked, key)


def look_at(reads: Reads, scope: Scope, asked: Asked, key: Any) -> Entry | None:
    """As ``look_with``, of what has this key."""
    if reads.why_not(scope, asked.names) is not None:
        return None
    return _asked_for(reads, scope, asked, key)


def _asked_for(reads: Reads, scope: Scope, asked: Asked, key: Any) -> Entry | None:
    store = reads.store
    entry: Entry | None = called(store, scope, _LATE, store.ask, asked.places, key)[1]
    if entry is not None:
        _hit(reads, scope)
    return entry


def answer(
    reads: Reads, scope: Scope, asked: Asked, parameters: Any, run: Callable[[], Found | None]
) -> Entry | Found | None:
    """What a statement finds: what is in the cache, or what ``run`` finds, which is then in it.

    :param run: asks the database; ``None`` where that has to be done in another way.
    """
    counters = reads.store.counters
    why = reads.why_not(scope, asked.names)
    key = None if why is not None else key_of(reads, scope, asked, parameters)
    if key is None:
        if why is not None:
            counters[why] += 1
        return run()
    places = asked.places
    entry: Entry | None
    tokens, entry, why = called(reads.store, scope, _LATE, reads.store.ask, places, key)
    if entry is not None:
        _hit(reads, scope)
        return entry
    if tokens is None:
        counters[f"skipped: {why}"] += 1
        return run()
    counters["misses"] += 1
    return _filled(reads, scope, key, places, tokens, run)


def _filled(
    reads: Reads, scope: Scope, key: Any, places: Any, tokens: Any, run: Callable[[], Found | None]
) -> Entry | Found | None:
    with reads.lock:
        other = reads.fillings.get(key)
        if other is None:
            own = reads.fillings[key] = Filling(scope)
    if other is not None:
        waited = _waited(reads, scope, key, places, other)
        return waited or run()
    entry = None
    try:
        fresh = reads.is_fresh(scope)
        found = run()
        if found is not None:
            entry = _kept(reads, scope, key, tokens, found, fresh)
        return found
    finally:
        with reads.lock:
            reads.fillings.pop(key, None)
            own.finish(entry)


def _waited(reads: Reads, scope: Scope, key: Any, places: Any, other: Filling) -> Entry | None:
    """What another one has read meanwhile, if it is still so."""
    if not other.may_be_waited_for(scope):
        reads.store.counters["not waited"] += 1
        return None
    reads.store.counters["waits"] += 1
    other.wait(scope, reads.cache.wait, reads.lock)
    scope.check_sending()
    if other.entry is None:
        return None
    tokens, entry, _ = called(reads.store, scope, _LATE, reads.store.ask, places, key)
    if entry is None and tokens is not None and other.entry.tokens == tokens:
        entry = other.entry
    if entry is not None:
        _hit(reads, scope)
    return entry  # type: ignore[no-any-return]


def _kept(
    reads: Reads, scope: Scope, key: Any, tokens: Any, found: Found, fresh: bool
) -> Entry | None:
    description, rows = found
    counters = reads.store.counters
    if not fresh:
        counters["not kept: read of an older moment"] += 1
    elif is_other(scope):
        counters["not kept: the session was changed"] += 1
    elif not reads.is_primary(scope):
        counters["not kept: read from a replica"] += 1
    elif len(rows) > reads.cache.max_rows:
        counters["not kept: too many rows"] += 1
    elif description is not None:
        kept: Entry | None = called(
            reads.store, scope, None, reads.store.keep, key, tokens, description, rows
        )
        return kept
    return None


def key_of(reads: Reads, scope: Scope, asked: Asked, parameters: Any) -> Any:
    """By what the rows of a statement are found; ``None`` where its parameters cannot be told."""
    try:
        return reads.store.key(asked.key, scope.tenant, parameters)
    except Unkeyable:
        reads.store.counters["skipped: parameters"] += 1
        return None


def _hit(reads: Reads, scope: Scope) -> None:
    reads.store.counters["hits"] += 1
    session = scope.session
    if session is not None:
        session.cache_hits += 1
