"""How many connections the processes of an application may come to have, against what there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..tenancy import DatabasePerTenant
from .about import About
from .checks import Sign
from .findings import Severity

# beside the pools: to ask what became of a COMMIT, and to look at servers (``engine.Server``)
_APART, _PROBE = 2, 1


@dataclass(frozen=True, slots=True)
class Demand:
    """Of one process, on one server, at most."""

    writers: int
    readers: int
    apart: int
    tenants: int = 0

    @property
    def whole(self) -> int:
        return self.writers + self.readers + self.apart + self.tenants

    def __str__(self) -> str:
        parts = [f"{self.writers} writers"] if self.writers else []
        parts += [f"{self.readers} readers"] if self.readers else []
        parts += [f"{self.tenants} of tenants' databases"] if self.tenants else []
        parts += [f"{self.apart} beside the pools"] if self.apart else []
        return " + ".join(parts)


@dataclass(frozen=True, slots=True)
class Limit:
    """Connections that a server has for these: of how many, and which are somebody else's now.

    :param setting: where to raise it.
    """

    allowed: int
    taken: int
    told: str
    setting: str


def demand(about: About) -> Demand:
    """What one process may have out of a server: threads and tasks together, as the gates count."""
    options = about.options
    readers = options.reader_pool_size or options.pool_size
    apart = (_PROBE if options.replicas else 0) + (_APART if options.resolve_commits else 0)
    if about.is_replica:
        return _within(about, Demand(0, readers, _PROBE))
    # with replicas, readers come to the primary where none of those will do
    comes = readers if options.replica_fallback or not options.replicas else 0
    return _within(about, Demand(options.pool_size, comes, apart, _of_tenants(about)))


def _of_tenants(about: About) -> int:
    """What their databases may have on the same server; of a function's URLs nothing is known."""
    tenants = about.options.tenants
    if not isinstance(tenants, DatabasePerTenant) or callable(tenants.url):
        return 0
    theirs = tenants.url_of("t")
    same = (theirs.host, theirs.port) == (about.url.host, about.url.port)
    return tenants.connections if same else 0


def _within(about: About, wanted: Demand) -> Demand:
    budget = about.options.budget
    if budget is None or budget.limit >= wanted.writers + wanted.readers:
        return wanted
    writers = min(wanted.writers, budget.limit)
    return Demand(writers, budget.limit - writers, wanted.apart, wanted.tenants)


def over(about: About, limits: Sequence[Limit]) -> Iterator[Sign]:
    """Limits that are smaller than what may be asked for."""
    each = demand(about)
    whole = each.whole * about.programs
    for limit in limits:
        if whole > limit.allowed:
            yield Sign(f"{_asked(about, each)}; {limit.told}", _change(about, limit.allowed, limit))


def crowded(about: About, limits: Sequence[Limit]) -> Iterator[Sign]:
    """Limits that are large enough, and not with those who are connected now."""
    each = demand(about)
    whole = each.whole * about.programs
    for limit in limits:
        free = limit.allowed - limit.taken
        if free < whole <= limit.allowed:
            seen = f"{_asked(about, each)}; {limit.told}, of which {limit.taken} are others' now"
            yield Sign(seen, _change(about, free, limit))


def doubled(about: About, limits: Sequence[Limit]) -> Iterator[Sign]:
    """Limits that are too small only for a process that is at work in both worlds: each world keeps
    its own idle connections.
    """
    each = demand(about)
    once = each.whole * about.programs
    twice = (each.whole + each.writers + each.readers) * about.programs
    for limit in limits:
        if once <= limit.allowed < twice:
            seen = f"threads and asyncio of a process keep up to {twice} together; {limit.told}"
            yield Sign(seen, _change(about, limit.allowed // 2, limit), Severity.HINT)


def _asked(about: About, each: Demand) -> str:
    processes = f" in each of {about.programs} processes" if about.programs > 1 else ""
    return f"up to {each.whole * about.programs} connections ({each}{processes})"


def _change(about: About, room: int, limit: Limit) -> str:
    each = demand(about)
    share = room // about.programs - each.apart - each.tenants
    pools = 1 if about.is_replica else 2
    name = "reader_pool_size" if about.is_replica else "pool_size"
    if share < pools:
        return limit.setting
    return f"Database(…, {name}={share // pools}), or {limit.setting}"
