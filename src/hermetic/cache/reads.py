"""The cache of one Database: what its engines tell, what its sessions ask, what is counted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

from sqlalchemy import URL, Table, inspect

from ..events import logger
from ..options import DatabaseOptions, Isolation
from ..registry import Registry, Scope
from ..touched import EVERYTHING, name_of
from .identity import database_of, reader_of
from .options import Cache
from .settings import is_other
from .store import Store
from .tables import Following
from .watch import Reaches, Watch, touched_in

# why a read is not answered by the cache, as it is counted
_LEVEL = "skipped: isolation"
_WRITTEN = "skipped: written by the scope"
_OTHER = "skipped: the session was changed"
_FLOW = "skipped: a position was asked for"


class Reads:
    """What a Database has of its ``Cache``."""

    def __init__(
        self, cache: Cache, url: URL, options: DatabaseOptions, registry: Registry
    ) -> None:
        self.cache = cache
        self.registry = registry
        family: Any = registry.family
        self.family = family
        alone: bool = family.shares_one_connection(url)
        database = database_of(url, options, cache.namespace, family, alone=alone)
        self.store = Store(cache, database, alone=alone)
        # what is read may depend on who reads it, and how its session is set up
        self.reader = reader_of(url, options, family)
        self.following = Following(cache.metadata)
        # of classes that are cached, and of their tables
        self.entities: frozenset[type] = frozenset(cache.entities)
        self.tables: frozenset[str] = self._tables_of(cache.entities)
        self.reaches = Reaches(self.following, self.family, url.get_backend_name())
        self._restores = options.reset_connections != "never"
        self._given = _given_level(options)
        # of a transaction that names none; ``None`` where no server has told yet
        self._level = self._given
        if self._level is None and not self.family.tells_level:
            self._level = self.family.default_isolation
        self.primary: WeakSet[Any] = WeakSet()
        self.lock = threading.Lock()
        # who is reading what at this moment, and others wait for it
        self.fillings: dict[Any, Any] = {}
        # what is known of the statements of the fast paths
        self.asked: dict[Any, Any] = {}
        # of statements that programs keep, as ``keeping`` has them
        self.kept: dict[int, Any] = {}
        # and of others with their values, as ``repeating`` has them
        self.repeated: dict[Any, Any] = {}
        self._doubted = False
        # the classes of its sessions, which know the cache
        self.session_maker: Any = None
        self.facade_class: Any = None
        self.registry.after_fork.append(self._start_anew)

    def __repr__(self) -> str:
        return repr(self.cache)

    def bind(self, url: URL, options: DatabaseOptions, registry: Registry) -> Any:
        """The same for another Database, which is given this one's options."""
        return self.cache.bind(url, options, registry)

    def _tables_of(self, entities: tuple[type, ...]) -> frozenset[str]:
        found: set[str] = set()
        for entity in entities:
            mapper: Any = inspect(entity)
            for table in mapper.tables:
                found.add(name_of(table))
                self.following.add(table.metadata)
        return frozenset(found)

    def _start_anew(self) -> None:
        self.lock = threading.Lock()
        self.fillings = {}
        self.store.start_anew()

    # ------------------------------------------------------------ engines

    def watch(self, engine: Any, execution: Any, *, reader: bool, primary: bool) -> None:
        """See what an engine's transactions write; called when it was made."""
        Watch(self.store, self.reaches, engine, execution, reader=reader, restores=self._restores)
        if primary:
            self.primary.add(engine)

    def told(self, *, weak: bool) -> None:
        """A new connection tells at which level its transactions are.

        One that is above READ COMMITTED counts for all: which one a scope will get nobody knows.
        """
        if self._given is not None:
            return
        if not weak:
            self._level = Isolation.SERIALIZABLE
        elif self._level is None:
            self._level = Isolation.READ_COMMITTED

    # ------------------------------------------------------------ sessions

    def has(self, entity: Any) -> bool:
        """Whether a class is cached as a whole."""
        try:
            return entity in self.entities
        except TypeError:
            return False

    def names_of(self, plan: Any) -> frozenset[str]:
        """The tables that a plan's rows are made of."""
        tables = plan.mapper.tables
        for table in tables:
            self.following.add(table.metadata)
        return self.following.read(frozenset(map(name_of, tables)))

    def doubt(self, sql: str) -> None:
        """A statement asked for the cache, and nobody can tell what it depends on."""
        self.store.counters["skipped: tables unknown"] += 1
        if not self._doubted:
            self._doubted = True
            logger.warning(
                "%.80r is not cached: which tables it depends on does not show; name them with "
                "execution_options(depends=[…])",
                sql,
            )

    def why_not(self, scope: Scope, names: frozenset[str]) -> str | None:
        """Why a scope is not answered by the cache, or ``None``."""
        options = scope.options
        level = options.isolation
        if level is None:
            if self._level is not Isolation.READ_COMMITTED and not (
                scope.readonly or scope.entry == "plain"
            ):
                return _LEVEL
        elif level is not Isolation.READ_COMMITTED:
            return _LEVEL
        if is_other(scope):
            return _OTHER
        if options.after is not None or (scope.asks and self.registry.servers is not None):
            return _FLOW
        if scope.connection is not None:
            touched = touched_in(scope.connection)
            if touched is not None and touched.reaches(names):
                return _WRITTEN
        return None

    def is_fresh(self, scope: Scope) -> bool:
        """Whether the scope's next statement sees all that is committed when it is sent."""
        transaction = scope.transaction
        if transaction is not None and (transaction.plain or transaction.apart):
            return True
        level = scope.options.isolation or self._level
        if level is Isolation.READ_COMMITTED:
            return True
        if getattr(scope.session, "_given_out", None) is not None:
            return False  # what was sent by the driver itself is not counted
        return transaction is None or transaction.statements == 0

    def is_primary(self, scope: Scope) -> bool:
        """Whether the scope has read from the server that takes the writes."""
        connection = scope.connection
        return connection is not None and connection.engine in self.primary

    # ------------------------------------------------------------ what users call

    def invalidate(self, *tables: Any) -> None:
        """Forget what was read of these tables, in every process that shares the cache.

        For what this program does not see: another program's writes, triggers, a restored backup.

        :param tables: names, Tables or mapped classes; none at all stands for everything.
        """
        names: set[str] = set()
        for each in tables:
            if isinstance(each, (str, Table)):
                names.add(name_of(each))
            else:
                names.update(map(name_of, inspect(each).tables))
        self.store.forget(frozenset(names) if tables else frozenset({EVERYTHING}))

    async def ainvalidate(self, *tables: Any) -> None:
        """As ``invalidate``, without holding up the event loop."""
        work = self.store.submitted(self.invalidate, *tables)
        await asyncio.shield(asyncio.wrap_future(work))

    def counters(self) -> Mapping[str, int]:
        """How often what happened, in this process."""
        return dict(self.store.counters)

    def close(self) -> None:
        """With its Database."""
        self.store.close()


def _given_level(options: DatabaseOptions) -> Isolation | None:
    """The level that all connections of a Database were given."""
    given = options.engine_options.get("isolation_level")
    if isinstance(given, str):
        try:
            return Isolation(given.upper().replace("_", " "))
        except ValueError:
            return Isolation.SERIALIZABLE
    return None
