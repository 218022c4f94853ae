"""The servers of tenants that have a database each: made when first needed, few at a time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from weakref import WeakSet

from sqlalchemy import URL

from .budget import Budget
from .clock import monotonic
from .dialects.drivers import parse_url
from .engine import Server
from .errors import InvalidOption
from .options import DatabaseOptions
from .registry import Registry, Scope
from .tenancy import DatabasePerTenant

# at most so often it is looked whether there are too many connections
_EVERY = 0.05


def servers_of(options: DatabaseOptions, registry: Registry, url: URL) -> TenantServers | None:
    """Where the tenants of a Database have a database each.

    :raises InvalidOption: an option does not go together with that.
    """
    tenants = options.tenants
    if not isinstance(tenants, DatabasePerTenant):
        return None
    for option in ("replicas", "resolve_commits"):
        if getattr(options, option):
            problem = "does not go together with a database for each tenant"
            raise InvalidOption(option, ..., problem, place="Database()")
    return TenantServers(tenants, options, registry, url)


class _Tenant:
    """One tenant's server, and the scopes that were told of it."""

    __slots__ = ("held", "scopes", "server")

    def __init__(self, server: Server) -> None:
        self.server = server
        self.scopes: WeakSet[Scope] = WeakSet()
        # how many use it outside of scopes
        self.held = 0

    @property
    def in_use(self) -> bool:
        """Under the lock: a set that grows meanwhile cannot be gone through."""
        return self.held > 0 or any(not scope.ended for scope in self.scopes)


class TenantServers:
    """:param own: the Database's own URL: tenants have the same driver, and another database."""

    def __init__(
        self,
        tenants: DatabasePerTenant,
        options: DatabaseOptions,
        registry: Registry,
        own: URL,
    ) -> None:
        self._tenants = tenants
        self._registry = registry
        self._own = own
        budget = options.budget or Budget(tenants.connections)
        self._options = replace(options, budget=budget)
        # guards which servers there are; the longest unused come first
        self._lock = threading.Lock()
        self._known: dict[str, _Tenant] = {}
        self._looked = 0.0
        self._closed = False
        self._suspended = False
        registry.after_fork.append(self._start_anew)

    def __iter__(self) -> Iterator[Server]:
        return iter([tenant.server for tenant in list(self._known.values())])

    def server(self, name: str, scope: Scope) -> Server:
        """A tenant's, made if need be.

        :param scope: who is about to use it; it is not closed before that has ended.
        :raises InvalidOption: what the tenant's URL comes to is none, or of another driver.
        """
        with self._lock:
            tenant = self._taken(name)
            tenant.scopes.add(scope)
            over = self._too_many()
        _close(over)
        return tenant.server

    @contextlib.contextmanager
    def held(self, name: str) -> Iterator[Server]:
        """As ``server``, for the time of a block, outside of scopes."""
        with self._lock:
            tenant = self._taken(name)
            tenant.held += 1
            over = self._too_many()
        try:
            _close(over)
            yield tenant.server
        finally:
            with self._lock:
                tenant.held -= 1

    def _taken(self, name: str) -> _Tenant:
        """Under the lock: a tenant, who is now the last to have been used."""
        found = self._known.pop(name, None)
        if found is None:
            found = _Tenant(self._made(name))
            if self._closed:
                found.server.closed = True
            if self._suspended:
                found.server.suspend()
        self._known[name] = found
        return found

    def _made(self, name: str) -> Server:
        url = parse_url(self._tenants.url_of(name))
        own = self._own
        if url.drivername != own.drivername:
            problem = f"comes to a {url.drivername} for a tenant of a {own.drivername} Database"
            raise InvalidOption("url", ..., problem, place="DatabasePerTenant()")
        if _place_of(url) == _place_of(own):
            problem = f"comes to the Database's own for tenant {name!r}"
            raise InvalidOption("url", ..., problem, place="DatabasePerTenant()")
        server = Server(url, self._options, self._registry, tenant=name)
        server.connected = self._grown
        return server

    def _too_many(self) -> list[Server]:
        """Under the lock: those to be closed, so that no more are open than may be."""
        found = []
        for name, tenant in list(self._known.items()):
            if len(self._known) <= self._tenants.open_at_once:
                break
            if not tenant.in_use:
                found.append(self._known.pop(name).server)
        return found

    def _grown(self) -> None:
        """A connection was made: idle ones of others go, where there are too many."""
        now = monotonic()
        if now < self._looked + _EVERY:
            return
        self._looked = now
        engines: dict[Any, _Tenant] = {}
        with self._lock:
            tenants = [(tenant, tenant.in_use) for tenant in self._known.values()]
        for tenant, _ in tenants:
            for engine in tenant.server.engines():
                engines[engine] = tenant
        mine = [c for c in list(self._registry.connections.values()) if c.engine in engines]
        over = len(mine) - self._tenants.connections
        for tenant, in_use in tenants:
            if over <= 0:
                return
            if in_use:
                continue
            idle = sum(c.returned is not None and engines[c.engine] is tenant for c in mine)
            if idle:
                tenant.server.evict()
                over -= idle

    def suspend(self) -> None:
        """Suspend every server, also those that are made later."""
        with self._lock:
            self._suspended = True
            known = list(self._known.values())
        for tenant in known:
            tenant.server.suspend()

    def resume(self) -> None:
        """Have them lend again."""
        with self._lock:
            self._suspended = False
            known = list(self._known.values())
        for tenant in known:
            tenant.server.resume()

    def resize(self, options: DatabaseOptions) -> None:
        """As Server.resize, also for those that are made later."""
        with self._lock:
            self._options = options = replace(options, budget=self._options.budget)
            known = list(self._known.values())
        for tenant in known:
            tenant.server.resize(options)

    def take_all(self) -> list[Server]:
        """Every server there is, to be closed by the caller; there will be no more."""
        with self._lock:
            self._closed = True
            known, self._known = list(self._known.values()), {}
        return [tenant.server for tenant in known]

    def _start_anew(self) -> None:
        """In a forked child: another thread may have held the lock, and none of the parent's ends a
        scope here.
        """
        self._lock = threading.Lock()
        for tenant in self._known.values():
            tenant.scopes, tenant.held = WeakSet(), 0


def _close(servers: list[Server]) -> None:
    for server in servers:
        server.close()
        server.forget()


def _place_of(url: URL) -> tuple[object, ...]:
    return url.host, url.port, url.database, url.query.get("host")
