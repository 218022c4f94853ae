"""Where what was read is kept, and what tells whether it is still so."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from ..clock import monotonic
from ..events import logger
from ..touched import EVERYTHING
from .away import CacheAway
from .options import Cache
from .packing import packed, unpacked
from .redis_tokens import RedisTokens
from .shared import SharedTokens, default_path
from .values import are_fixed, digest, parameters_key

# threads that have a word with Redis for event loops, at most
_THREADS = 16
# seconds for which a loop waits beyond a word's own time, for a thread that is free
_QUEUE = 0.1


class Entry(NamedTuple):
    """What was read: rows as the driver gave them, and what the driver said of their columns.

    ``rows`` are bytes where somebody who has got them could change them for others.
    """

    tokens: tuple[Any, ...]
    description: tuple[tuple[Any, ...], ...]
    rows: Any

    def taken(self) -> list[Any]:
        """The rows, for one reader."""
        rows = self.rows
        found: list[Any] = unpacked(rows) if type(rows) is bytes else list(rows)
        return found

    def fits(self, width: int) -> bool:
        """Whether its rows have so many columns: others can write to Redis."""
        return type(self.rows) is bytes or all(len(row) == width for row in self.rows)


class Commit(NamedTuple):
    """A commit that was announced, or could not be: then ``struck`` is whether it was tried."""

    names: frozenset[str]
    claim: Any
    struck: bool = False


class Bounded(dict[Any, Any]):
    """Keeps so many results, and lets go of the oldest."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._lock = threading.Lock()

    def __setitem__(self, key: Any, value: Any) -> None:
        with self._lock:
            super().__setitem__(key, value)
            while len(self) > self._size:
                super().__delitem__(next(iter(self)))

    def start_anew(self) -> None:
        """In a forked child: the lock may be one of a thread that is not here."""
        self._lock = threading.Lock()


class Store:
    """A region of dogpile's, and the versions of tables, with what happens when they fail."""

    def __init__(self, cache: Cache, identity: str, *, alone: bool) -> None:
        self.cache = cache
        self.identity = identity
        self.counters: Counter[str] = Counter()
        self.region, client = _region_of(cache)
        self.tokens = _tokens_of(cache, identity, client, alone)
        self.blocking = self.tokens.blocking
        self._client = client
        # in this process a key may be what it is; elsewhere it is a word
        self._memory: Any = None if self.blocking else _memory_of(self.region)
        self._away_until = 0.0
        self._warned = False
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None
        # tables of which commits were not announced: they are before anything is read again. Each
        # with a number, which tells what was owed before a word from what came after it
        self._owed: dict[str, int] = {}
        self._debts = 0

    def key(self, statement: tuple[str, ...], tenant: str | None, parameters: Any) -> Any:
        """A key, of what there is to tell of a statement, whose rows it sees, and its parameters.

        :raises Unkeyable: it cannot be told in a way that stays.
        """
        if self._memory is not None:
            return (statement, tenant, parameters_key(parameters))
        return f"hermetic:{{{self.identity}}}:{digest(*statement, tenant, parameters)}"

    @property
    def patience(self) -> float:
        """Seconds for which a loop waits for a word."""
        return self.cache.timeout + _QUEUE

    def submitted(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Call in a thread of the store's own: a loop's may all be waiting for this very scope."""
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(_THREADS, "hermetic-cache")
            return self._threads.submit(function, *args)

    # ------------------------------------------------------------ readers

    def ask(self, places: Any, key: Any) -> tuple[Any, Entry | None, str]:
        """What a read from now on is good by, what was read before, and why there is neither."""
        if monotonic() < self._away_until:
            return None, None, "away"
        try:
            if self._owed:
                self._pay()
            if self._client is not None:
                tokens, found = self._in_one_word(places, key)
            else:
                tokens, found = self.tokens.look(places), None
            if tokens is None:
                return None, None, "being written"
            if self._memory is not None:
                found = self._remembered(key)
            elif self._client is None:
                found = self.region.get(key, expiration_time=self.cache.expire)
        except Exception as failed:
            self._failed(failed)
            return None, None, "away"
        self._warned = False
        entry = found if type(found) is Entry else _entry_of(found)
        return tokens, entry if entry is not None and entry.tokens == tokens else None, ""

    def _in_one_word(self, places: Any, key: str) -> tuple[Any, Any]:
        """What Redis has of a key, which expires there by itself, with the versions."""
        answer = self.tokens.look_for(places, key)
        if answer is None:
            return None, None
        tokens, kept = answer
        try:
            return tokens, None if kept is None else unpacked(kept)
        except Exception:
            # somebody else's; what is read now takes its place
            self.counters["not readable"] += 1
            return tokens, None

    def _remembered(self, key: Any) -> Any:
        """As the region's ``get``, without its detours."""
        found = self._memory.get(key)
        if found is None or time.time() - found.metadata["ct"] > self.cache.expire:
            return None
        return found.payload

    def keep(self, key: Any, tokens: Any, description: Any, rows: Any) -> Entry | None:
        """Keep what was read since ``tokens`` were given; ``None`` where it cannot be kept."""
        rows = tuple([row if type(row) is tuple else tuple(row) for row in rows])
        described = tuple([tuple(column)[:7] for column in description])
        kept: Any = rows
        if not are_fixed(rows) or not are_fixed(described):
            kept = packed(rows)
            if kept is None or packed(described) is None:
                self.counters["skipped: values"] += 1
                return None
        entry = Entry(tokens, described, kept)
        try:
            if self._client is not None:
                # each reader makes its own of it: nobody can change it for another
                whole = packed((tokens, described, rows))
                if whole is None:
                    self.counters["skipped: values"] += 1
                    return None
                self._client.set(key, whole, px=max(1, int(self.cache.expire * 1000)))
            else:
                self.region.set(key, entry if self._memory is not None else tuple(entry))
        except Exception as failed:
            self._failed(failed)
            return None
        self.counters["fills"] += 1
        return entry

    # ------------------------------------------------------------ writers

    def begin(self, names: frozenset[str]) -> Commit:
        """Announce a commit, before it is sent.

        :raises CacheAway: it cannot be, and the cache was told to refuse then.
        """
        # memory is tried in any case: its lock may be free again
        away = self.blocking and monotonic() < self._away_until
        try:
            if away:
                raise ConnectionError("it failed a moment ago")
            return Commit(names, self.tokens.begin(self.tokens.places(names)))
        except Exception as failed:
            self._failed(failed)
            if self.cache.on_failure == "refuse":
                raise CacheAway(
                    f"The commit could not be announced to the cache: {failed}. It was not sent.",
                    hint="Run the unit again when the cache is back; with Cache(on_failure='serve')"
                    " it is committed, and others may read what was there before for a while.",
                ) from failed
            self._owe(names)
            return Commit(names, None, struck=not away)

    def begin_late(self, names: frozenset[str]) -> Commit:
        """As ``begin``, of an announcement that is not over in time.

        :raises CacheAway: as there.
        """
        self._owe(names)
        if self.cache.on_failure == "refuse":
            raise CacheAway(
                "The commit could not be announced to the cache in time. It was not sent.",
                hint="Run the unit again, or give Cache(timeout=…) more time.",
            )
        return Commit(names, None, struck=True)

    def withdraw(self, begun: Future[Commit]) -> None:
        """Take away what was announced after nobody waited for it any more."""
        if not begun.cancelled() and begun.exception() is None:
            self.finish(begun.result())

    def finish(self, commit: Commit) -> None:
        """It is over: what was read before is not good any more."""
        self.counters["invalidations"] += 1
        try:
            if commit.claim is not None:
                self.tokens.finish(commit.claim)
                return
            self._owe(commit.names)
            # whom the first failure has struck tries once more: it may have been a moment's
            if not self.blocking or commit.struck or monotonic() >= self._away_until:
                self._pay()
                self._away_until = 0.0
        except Exception as failed:
            # where it was announced, the mark stays until its lease is over
            self._failed(failed)

    def lost(self, commit: Commit) -> None:
        """Nobody knows how it ended, or whether it has: the mark stays until its lease is over."""
        self.counters["unknown outcomes"] += 1
        if commit.claim is None:
            self._owe(commit.names)

    def forget(self, names: frozenset[str]) -> None:
        """What was read of these tables is not good any more."""
        self._owe(names)
        if not self.blocking or monotonic() >= self._away_until:
            try:
                self._pay()
            except Exception as failed:
                self._failed(failed)

    def _pay(self) -> None:
        """Announce, late, what could not be announced in time."""
        with self._lock:
            owed = dict(self._owed)
        self.tokens.forget(self.tokens.places(frozenset(owed)))
        with self._lock:
            for name, debt in owed.items():
                # what somebody has come to owe meanwhile is still to be told
                if self._owed.get(name) == debt:
                    del self._owed[name]

    def _owe(self, names: Iterable[str]) -> None:
        with self._lock:
            self._debts += 1
            self._owed.update(dict.fromkeys(names, self._debts))

    def _failed(self, error: Exception) -> None:
        if monotonic() >= self._away_until:
            self.counters["failures"] += 1
            self._away_until = monotonic() + self.cache.pause
        if not self._warned:
            self._warned = True
            logger.warning(
                "the cache of reads is away (%s: %s); reads go to the database until it is back",
                type(error).__name__,
                error,
            )

    def start_anew(self) -> None:
        """In a forked child."""
        self._lock = threading.Lock()
        self._threads = None
        if isinstance(self._memory, Bounded):
            self._memory.start_anew()
        self.tokens.start_anew()

    def close(self) -> None:
        """Let go of what this store has opened itself."""
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False)
        self.tokens.close()
        if isinstance(self.cache.region, str):
            self._client.close()


def _entry_of(found: Any) -> Entry | None:
    """What a region had, as an entry, where it is one; dogpile's word for nothing is none."""
    if type(found) is not tuple or len(found) != len(Entry._fields):
        return None
    tokens, description, rows = found
    if not _are_tuples(description) or type(tokens) is not tuple:
        return None
    # the rows of objects have no description: whoever asked knows how wide they are
    if type(rows) is not bytes and not _are_tuples(rows, len(description) or None):
        return None
    return Entry(tokens, description, rows)


def _are_tuples(found: Any, width: int | None = None) -> bool:
    return type(found) is tuple and all(
        type(each) is tuple and width in (None, len(each)) for each in found
    )


def _region_of(cache: Cache) -> tuple[Any, Any]:
    """The region, and the client of its Redis, if it is in one."""
    given = cache.region
    if given is None:
        from dogpile.cache import make_region

        region = make_region()
        kept = {"cache_dict": Bounded(cache.max_entries)}
        return region.configure("dogpile.cache.memory", arguments=kept), None
    if not isinstance(given, str):
        return given, getattr(given.actual_backend, "writer_client", None)
    # a word and its answer in one, which dogpile's own way to Redis does not have
    return None, _client_of(given, cache.timeout)


def _client_of(url: str, seconds: float) -> Any:
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    # its own retries would hold a scope for longer than its deadline has
    retry = Retry(NoBackoff(), 0)
    return Redis.from_url(url, socket_timeout=seconds, socket_connect_timeout=seconds, retry=retry)


def _memory_of(region: Any) -> Any:
    """The dictionary of a region that is one of this process's, and takes any key."""
    if region is None:
        return None
    backend = region.backend
    plain = type(backend).__name__ == "MemoryBackend" and region.key_mangler is None
    return backend._cache if plain and region.expiration_time is None else None


def _tokens_of(cache: Cache, identity: str, client: Any, alone: bool) -> Any:
    if client is not None:
        return RedisTokens(client, identity, cache.lease)
    if cache.shared is not None:
        return SharedTokens(cache.shared, cache.lease)
    return SharedTokens(None if alone else default_path(identity), cache.lease)


def with_all(names: frozenset[str]) -> frozenset[str]:
    """These tables, for a reader: what touches everything touches them."""
    return names | {EVERYTHING}
