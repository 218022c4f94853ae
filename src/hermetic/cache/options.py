"""What is cached, where, and for how long: an option of a Database."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import URL, MetaData

from ..checking import Checker
from ..errors import ConfigurationError

_LIBRARIES = {"dogpile": "cache", "sqlglot": "cache", "redis": "redis"}


@dataclass(frozen=True, slots=True)
class Cache:
    """A cache of reads, which the commits of all its users empty. Given as ``Database(cache=…)``.

    Nothing is cached but reads of ``entities``, and statements with
    ``execution_options(cache=True)``. See the guide for what it promises, and to whom.

    :param region: where what was read is kept. ``None``, the default: in this process; other
        processes of the same user on this host see to it that nothing old is read. A URL
        ``redis://…``: in that Redis, for all who use it. Or a ``CacheRegion`` of dogpile.cache on
        memory or Redis that was configured elsewhere: of one on Redis, its connection.
    :param entities: mapped classes of which every ``session.get()`` and every select that reads
        nothing but them is cached. Default: none.
    :param expire: seconds after which what was read is read anew in any case. Default 60.
    :param lease: seconds for which nothing of a table is cached after a writer that never said how
        its commit ended: it was killed, or the answer was lost. Longer than any COMMIT takes.
        Default 30.
    :param on_failure: what a commit does that cannot announce itself to the cache: ``"serve"``, the
        default, commits, and others may read what was there before until ``expire`` is over;
        ``"refuse"`` rolls back with CacheAway.
    :param timeout: seconds for one word with Redis. Default 0.1.
    :param pause: seconds for which Redis is left alone after it has failed. Default 2.
    :param wait: seconds to wait for somebody else who is reading the same, at most. Default 1.
    :param max_entries: how many results are kept in this process, where it is there. Default 10000.
    :param max_rows: how many rows a result may have to be kept. Default 1000.
    :param shared: the file by which processes of this host tell each other of commits; ``None``,
        the default: one in memory of this user's and this database's.
    :param metadata: MetaData by whose foreign keys raw SQL is followed, besides those of the
        statements and entities that the cache has seen.
    :param namespace: what tells two databases apart that have the same URL, as seen from two hosts.
        Default ``""``.
    :raises ConfigurationError: a library is missing, or an option is wrong.
    """

    region: Any = None
    entities: tuple[type, ...] = ()
    expire: float = 60.0
    lease: float = 30.0
    on_failure: str = "serve"
    timeout: float = 0.1
    pause: float = 2.0
    wait: float = 1.0
    max_entries: int = 10_000
    max_rows: int = 1_000
    shared: Path | None = None
    metadata: tuple[MetaData, ...] = field(default=(), repr=False)
    namespace: str = ""

    def __post_init__(self) -> None:
        check = Checker("Cache()")
        self._check_region(check)
        object.__setattr__(self, "entities", _many(check, "entities", self.entities, type))
        given = (self.metadata,) if isinstance(self.metadata, MetaData) else self.metadata
        object.__setattr__(self, "metadata", _many(check, "metadata", given, MetaData))
        for name in ("expire", "lease", "timeout", "pause"):
            check.seconds(name, getattr(self, name))
        check.seconds("wait", self.wait, zero=True)
        check.whole("max_entries", self.max_entries, at_least=1, at_most=100_000_000)
        check.whole("max_rows", self.max_rows, at_least=1, at_most=100_000_000)
        if self.on_failure not in ("serve", "refuse"):
            raise check.refuse("on_failure", self.on_failure, "must be serve or refuse")
        if not isinstance(self.namespace, str):
            raise check.refuse("namespace", self.namespace, "must be a string")
        if self.shared is not None:
            object.__setattr__(self, "shared", Path(self.shared))

    def _check_region(self, check: Checker) -> None:
        region = self.region
        needed = ["dogpile", "sqlglot"]
        if isinstance(region, str):
            if not region.startswith(("redis://", "rediss://", "unix://")):
                # it may have a password in it
                limits = "must be a URL of Redis, a CacheRegion, or None"
                raise check.refuse("region", ..., limits)
            needed.append("redis")
        for library in needed:
            if importlib.util.find_spec(library) is None:
                raise ConfigurationError(
                    f"A cache needs {library}, which is not installed.",
                    hint=f"Install it with: pip install 'hermetic[{_LIBRARIES[library]}]'",
                )
        if region is not None and not isinstance(region, str) and not hasattr(region, "backend"):
            limits = "must be a URL of Redis, a CacheRegion, or None"
            raise check.refuse("region", type(region), limits)

    def bind(self, url: URL, options: Any, registry: Any) -> Any:
        """This cache as one Database has it; called by it."""
        from .reads import Reads
        from .sessions import AsyncCachedSession, maker_of

        reads = Reads(self, url, options, registry)
        reads.session_maker, reads.facade_class = maker_of(reads), AsyncCachedSession
        return reads


def _many(check: Checker, option: str, given: Any, kind: type) -> tuple[Any, ...]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise check.refuse(option, type(given), f"must be several of {kind.__name__}")
    found = tuple(given)
    for each in found:
        if not isinstance(each, kind):
            raise check.refuse(option, each, f"must be several of {kind.__name__}")
    return found
