"""Frozen records of what happened, and of what is, for whoever listens or looks.

The core makes an event only when somebody listens; a listener is a function of one event, called in
the thread or task in which it happened, outside every lock. What a listener raises is logged under
``hermetic`` and changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from .errors import Outcome, ScopeRef
from .faults import Fault
from .seen import Finding

logger = logging.getLogger("hermetic")


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events. ``database`` is the Database's name."""

    database: str


@dataclass(frozen=True, slots=True)
class ScopeOpened(Event):
    """A scope was entered; nothing was sent yet."""

    scope: ScopeRef
    owner: str
    entry: str


@dataclass(frozen=True, slots=True)
class ScopeFinished(Event):
    """A scope is over.

    ``seconds`` is its life, ``error`` the class name of what ended it, if any.
    """

    scope: ScopeRef
    outcome: Outcome | None
    seconds: float
    statements: int
    error: str | None


@dataclass(frozen=True, slots=True)
class RetryScheduled(Event):
    """A unit will run again after ``pause`` seconds. ``attempt`` is the number of the next run."""

    unit: str
    attempt: int
    pause: float
    fault: Fault | None


@dataclass(frozen=True, slots=True)
class RetryRefused(Event):
    """A unit that failed retryably is not run again. ``reason`` says why."""

    unit: str
    attempt: int
    reason: str
    fault: Fault | None


@dataclass(frozen=True, slots=True)
class CommitResolved(Event):
    """The answer to a COMMIT was lost, and the database was asked what became of it.

    ``outcome`` is UNKNOWN where it was not able to tell.
    """

    scope: ScopeRef
    outcome: Outcome
    seconds: float


@dataclass(frozen=True, slots=True)
class HookFailed(Event):
    """A hook raised. The outcome of its scope is not touched by that."""

    scope: ScopeRef
    hook: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class ConnectionDestroyed(Event):
    """A connection was thrown away instead of going back to its pool. ``reason`` says why."""

    connection: int
    reason: str


@dataclass(frozen=True, slots=True)
class ReplicaEjected(Event):
    """A replica could not be connected to, or does not answer: it gets no scopes for now."""

    server: str
    error: str


@dataclass(frozen=True, slots=True)
class ReplicaReturned(Event):
    """A replica that was ejected has answered."""

    server: str


@dataclass(frozen=True, slots=True)
class Found(Event):
    """Something that should not be was found for the first time, where a Database is watched."""

    finding: Finding


Listener = Callable[[Event], None]


def emit(listeners: tuple[Listener, ...], event: Event) -> None:
    """Tell every listener, whatever the others do."""
    for listener in listeners:
        try:
            listener(event)
        except Exception:
            logger.exception("a listener failed on %s", type(event).__name__)


# ---------------------------------------------------------------- what is


@dataclass(frozen=True, slots=True)
class ScopeInfo:
    """One open scope, as it was when looked at. ``age`` in seconds; ``cache_hits`` is how many of
    its reads the cache has answered. Where somebody watches, ``rows`` is how many rows its
    statements have returned or changed, and ``round_trips`` how often the server was waited for;
    ``None``: nobody has counted that. ``server`` is the one that it goes to, where there are
    several.
    """

    number: int
    name: str
    database: str
    opened_at: str
    owner: str
    state: str
    propagation: str
    readonly: bool
    age: float
    statements: int
    last_statement: str | None
    connection: int | None
    attempt: int
    depth: int
    cache_hits: int = 0
    rows: int | None = None
    round_trips: int | None = None
    tenant: str | None = None
    server: str | None = None


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One live session made by a factory, outside any scope, that is inside a transaction."""

    session: str
    owner: str
    opened_at: str
    age: float
    state: str
    connection: int | None


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """One open connection. ``scope`` is the number of the scope that holds it, if one does;
    ``in_transaction_for`` how many seconds ago its transaction sent its first statement, where
    somebody watches and one is open.
    """

    number: int
    server: str
    role: str
    world: str
    state: str
    age: float
    holder: str | None
    scope: int | None
    last_statement: str | None
    in_transaction_for: float | None = None


@dataclass(frozen=True, slots=True)
class PoolInfo:
    """One gate and the pools behind it: what may be out, what is, and who waits."""

    name: str
    limit: int
    lent: int
    waiting: int
    admitted: int
    waited: int
    refused: int
    wait_seconds: float


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """One server of a Database that has replicas.

    ``role`` is primary or replica; ``state`` unknown (nobody has looked yet), up, lagging, ejected,
    or promoted (it follows nobody). ``lag`` is how old what it shows is, in seconds; ``position``
    how far it has come; ``ejected_for`` seconds until it is looked at again; ``failures`` in a row,
    the last of them ``error``; ``scopes`` how many it was given.
    """

    name: str
    role: str
    state: str
    weight: float
    zone: str | None
    lag: float | None
    position: str | None
    ejected_for: float | None
    failures: int
    error: str | None
    scopes: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that is open at one moment, and what was counted until then.

    ``counters`` are the Database's; ``paths`` is how often each fast path ran, or stepped aside and
    why, in the whole process. ``servers`` is empty without replicas; ``cache`` is how often reads
    were answered by the cache, and why not, in this process, and empty without one.
    """

    database: str
    scopes: tuple[ScopeInfo, ...]
    sessions: tuple[SessionInfo, ...]
    connections: tuple[ConnectionInfo, ...]
    pools: tuple[PoolInfo, ...]
    counters: dict[str, int]
    paths: dict[str, int]
    servers: tuple[ServerInfo, ...] = ()
    cache: dict[str, int] = field(default_factory=dict)
