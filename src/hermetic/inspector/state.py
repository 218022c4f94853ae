"""The state of a process: everything that is seen of its Databases, as a JSON encoder takes it."""

from __future__ import annotations

import os
import platform
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Literal

from .. import Database, Group, ScopeInfo, Snapshot, __version__
from ..clock import monotonic
from ..known import all_open
from ..nearby.identity import command
from ..redaction import redacted
from ..seen import SeenScope
from ..shards import Shards
from ..watching.causes import stack_of
from ..watching.telling import seen_open
from ..watching.watcher import Watcher
from .ended import ended, finding, history
from .literals import without_literals
from .open_now import OpenNow
from .shape import (
    VERSION,
    DatabaseState,
    HistoryState,
    ProcessState,
    ScopeDetail,
    ServerState,
    State,
)

# what can be looked at
Shown = Database | Group | Shards

# scopes that are open, and what a scope keeps of statements: as many as can be kept
MOST_SCOPES = 10_000
_ALL = 100_000
# frames of where a scope's owner is: a driver may be deep below the user's line
_DEEP = 60


def state_of(
    *databases: Shown, steps: int = 50, with_history: bool = True, literals: bool = False
) -> State:
    """Everything that is seen of Databases, of which ``inspector.shape`` has every key.

    No connection is touched and nothing is waited for, but it takes a thread 20 µs for each open
    scope: under asyncio, call it in a thread.

    :param databases: whose. Default: all of this process that are not closed.
    :param steps: of how many statements an ended scope has text and time. Default 50.
    :param with_history: whether it has ended scopes and the last hour. Default ``True``.
    :param literals: whether strings in the text of statements are shown. Default ``False``.
    """
    looked = named(*databases)
    states = []
    paths: dict[str, int] = {}
    for number, database in looked.items():
        look = _Look(number, database, literals=literals)
        states.append(look.state(steps if with_history else None, looked))
        paths = look.snapshot.paths
    return State(version=VERSION, at=time.time(), process=_process(), databases=states, paths=paths)


def history_of(
    *databases: Shown, steps: int = 50, literals: bool = False
) -> dict[str, HistoryState]:
    """What has ended, of each watched Database by its id; arguments as of ``state_of``."""
    found = {}
    for number, database in named(*databases).items():
        watcher: Watcher | None = database.registry.watch
        if watcher is not None and watcher.looks:
            found[number] = history(watcher, _hiding(database, literals=literals), steps)
    return found


def scope_of(
    number: int, *databases: Shown, database: str | None = None, literals: bool = False
) -> ScopeDetail | None:
    """One scope, open or kept, with its statements and where its owner is now.

    :param number: of the scope.
    :param databases: as ``state_of``.
    :param database: the ``id`` of the one that it is of. Default: whichever knows it.
    :param literals: as ``state_of``.
    :return: ``None`` where nobody knows it any more.
    """
    for known, each in named(*databases).items():
        if database in (None, known):
            found = _Look(known, each, literals=literals).detail(number)
            if found is not None:
                return found
    return None


def named(*databases: Shown) -> dict[str, Database | Group]:
    """Databases by their ids: their names, with a number where several have the same one."""
    listed: list[Database | Group] = []
    for each in databases or all_open():
        inner = [] if isinstance(each, Database) else list(each.databases.values())
        own = [] if isinstance(each, Shards) else [each]
        listed += [one for one in (*own, *inner) if all(one is not known for known in listed)]
    found: dict[str, Database | Group] = {}
    for one in listed:
        number, name = 1, one.name
        while name in found:
            number += 1
            name = f"{one.name} #{number}"
        found[name] = one
    return found


class _Look:
    """A look at one Database or Group."""

    def __init__(self, number: str, database: Database | Group, *, literals: bool) -> None:
        self.id = number
        self.database = database
        registry = database.registry
        self.snapshot: Snapshot = database.snapshot()
        family = registry.family
        self.family = None if family is None else family.name
        self.hide = _hiding(database, literals=literals)
        self.open = OpenNow(registry, self.snapshot.scopes, self.hide)

    @property
    def watcher(self) -> Watcher | None:
        """Who keeps what has ended, if anybody does; one that only records does not."""
        watcher: Watcher | None = self.database.registry.watch
        return watcher if watcher is not None and watcher.looks else None

    def state(self, steps: int | None, looked: dict[str, Database | Group]) -> DatabaseState:
        """All of it; without history where ``steps`` is ``None``."""
        database, watcher = self.database, self.watcher
        found = () if watcher is None else watcher.findings()
        pools = self.open.pools(self.id)
        return DatabaseState(
            id=self.id,
            name=database.name,
            kind="database" if isinstance(database, Database) else "group",
            family=self.family,
            url=redacted(database.server.url) if isinstance(database, Database) else None,
            state=_state_of(database),
            watched=watcher is not None,
            members=[] if isinstance(database, Database) else _members(database, looked),
            counters=self.snapshot.counters,
            open_scopes=len(self.snapshot.scopes),
            scopes=self.open.scopes(MOST_SCOPES),
            sessions=self.open.sessions(self.snapshot.sessions),
            connections=self.open.connections(),
            pools=pools,
            servers=self._servers(),
            cache=dict(self.snapshot.cache),
            findings=[finding(each, self.hide) for each in found],
            history=None
            if watcher is None or steps is None
            else history(watcher, self.hide, steps),
        )

    def _servers(self) -> list[ServerState]:
        return [
            ServerState(
                name=each.name,
                role=each.role,
                state=each.state,
                weight=each.weight,
                zone=each.zone,
                lag=each.lag,
                position=each.position,
                ejected_for=each.ejected_for,
                failures=each.failures,
                error=each.error,
                scopes=each.scopes,
            )
            for each in self.snapshot.servers
        ]

    def detail(self, number: int) -> ScopeDetail | None:
        """One scope, wherever it is kept."""
        scope = self.database.registry.scopes.get(number)
        info = next((each for each in self.snapshot.scopes if each.number == number), None)
        if scope is None or info is None:
            return self._ended(number)
        self.open.pools(self.id)
        live = self.open.scope(info)
        known = seen_open(scope.root, monotonic())
        if known is None:
            known = _unwatched(info, live["tenant"], live["server"])
        told = ended(known, self.hide, _ALL)
        # of one that joined another, the statements are those of the other
        own = {"number": number, "name": info.name, "opened_at": info.opened_at}
        return ScopeDetail(
            **{**told, **own},  # type: ignore[typeddict-item]
            database=self.id,
            watched=scope.root.trace is not None,
            live=live,
            stack=list(stack_of(scope.owner, _DEEP)),
        )

    def _ended(self, number: int) -> ScopeDetail | None:
        watcher = self.watcher
        if watcher is None:
            return None
        for kept in (watcher.recent(), watcher.slow(), watcher.failed()):
            for each in kept:
                if each.number == number:
                    told = ended(each, self.hide, _ALL)
                    return ScopeDetail(**told, database=self.id, watched=True, live=None, stack=[])
        return None


def _hiding(database: Database | Group, *, literals: bool) -> Callable[[str], str]:
    """How a statement may be shown."""
    if literals:
        return str
    family = database.registry.family
    return partial(without_literals, double_quoted=family is not None and family.name == "mysql")


def _unwatched(info: ScopeInfo, tenant: str | None, server: str | None) -> SeenScope:
    """What is known of a scope that nobody watches."""
    return SeenScope(
        number=info.number,
        name=info.name,
        opened_at=info.opened_at,
        owner=info.owner,
        propagation=info.propagation,
        readonly=info.readonly,
        attempt=info.attempt,
        tenant=tenant,
        server=server,
        outcome=None,
        error=None,
        ended_at=None,
        seconds=info.age,
        waited=0.0,
        working=0.0,
        leaving=0.0,
        statements=info.statements,
        steps=(),
    )


def _state_of(database: Database | Group) -> Literal["open", "draining", "closed"]:
    if database.server.closed:
        return "closed"
    return "draining" if database._closing else "open"


def _members(group: Group, looked: dict[str, Database | Group]) -> list[str]:
    inside = list(group.databases.values())
    return [number for number, each in looked.items() if any(each is one for one in inside)]


def _process() -> ProcessState:
    return ProcessState(
        pid=os.getpid(),
        host=socket.gethostname(),
        program=command(),
        python=platform.python_version(),
        hermetic=__version__,
    )
