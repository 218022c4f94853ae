"""The state of a process, as the inspector gives it: what a JSON encoder takes.

Keys stay; new ones may come. ``VERSION`` changes when one means something else. Times ``at`` are
Unix times, all others are seconds. A scope, a connection and a finding keep their ``number`` or
``id`` for as long as they are there, so that two states can be compared. There are no parameters of
statements in it, and no secrets of URLs.
"""

from __future__ import annotations

from typing import Literal, TypedDict

VERSION = 1

# what a scope is at: in line for a connection, waiting for a statement's answer, at something else
# inside its transaction, leaving (flush, COMMIT), or with no connection at all
Phase = Literal["waiting", "statement", "idle", "leaving", "open"]


class StepState(TypedDict):
    """A statement: when it was sent, after the opening of its scope, and how long it took.

    ``seconds`` is ``None`` where it failed or is not answered yet, ``rows`` where it is not known
    how many it has returned or changed.
    """

    statement: str
    at: float
    seconds: float | None
    rows: int | None


class ScopeState(TypedDict):
    """An open scope.

    ``root`` is the number of the scope that it joined, if it did. ``waited`` and ``working`` are
    what it spent in line and at statements, ``idle`` how long ago its last statement was answered,
    ``None`` where one is under way or nobody watches; ``left`` what its deadline leaves it.
    ``rows`` and ``round_trips`` are ``None`` where nobody counts them.
    """

    number: int
    root: int | None
    name: str
    opened_at: str
    owner: str
    phase: Phase
    state: str
    propagation: str
    readonly: bool
    attempt: int
    depth: int
    tenant: str | None
    server: str | None
    age: float
    waited: float
    working: float
    idle: float | None
    left: float | None
    statements: int
    rows: int | None
    round_trips: int | None
    last_statement: str | None
    connection: int | None
    cache_hits: int


class EndedState(TypedDict):
    """A scope that has ended. ``steps`` are its first statements, ``statements`` how many it sent.

    Of ``seconds`` it ``waited`` for a connection and was ``working`` at statements; ``leaving`` is
    what flush, COMMIT and giving back took. ``rows`` were returned or changed; ``round_trips`` is
    how often its server was waited for, ``None`` where that cannot be seen.
    """

    number: int
    name: str
    opened_at: str
    owner: str
    propagation: str
    readonly: bool
    attempt: int
    tenant: str | None
    server: str | None
    outcome: str | None
    error: str | None
    ended_at: float | None
    seconds: float
    waited: float
    working: float
    leaving: float
    statements: int
    rows: int
    round_trips: int | None
    steps: list[StepState]


class ScopeDetail(EndedState):
    """One scope with all that is kept of it, open or ended.

    ``watched`` is whether anybody writes down what it does. ``live`` is what it is at while it is
    open, and ``stack`` where its owner is, innermost last.
    """

    database: str
    watched: bool
    live: ScopeState | None
    stack: list[str]


class PlaceState(TypedDict):
    """Who has a place in a pool, or waits for one: the number of the scope, if it is one."""

    scope: int | None
    owner: str
    seconds: float


class PoolState(TypedDict):
    """The pools behind one gate. ``wait_seconds`` is what ``waited`` waited together.

    ``holders`` and ``waiters`` are in the order in which they came; of very many the first ones.
    """

    id: str
    name: str
    limit: int
    lent: int
    waiting: int
    suspended: bool
    admitted: int
    waited: int
    refused: int
    wait_seconds: float
    holders: list[PlaceState]
    waiters: list[PlaceState]


class ConnectionState(TypedDict):
    """An open connection. ``idle`` is since when it was given back, ``None`` while it is lent;
    ``in_transaction_for`` since when it is in a transaction, where that is known.
    """

    number: int
    server: str
    role: str
    world: str
    state: str
    age: float
    idle: float | None
    generation: int
    holder: str | None
    scope: int | None
    last_statement: str | None
    in_transaction_for: float | None


class SessionState(TypedDict):
    """A session outside any scope that is in a transaction."""

    session: str
    owner: str
    opened_at: str
    age: float
    state: str
    connection: int | None


class ServerState(TypedDict):
    """A server of a Database that has replicas, as ``hermetic.ServerInfo``."""

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


class Figures(TypedDict):
    """Scopes that ended, counted: percentiles and the longest, all others are sums."""

    count: int
    committed: int
    not_committed: int
    unknown: int
    failed: int
    retried: int
    statements: int
    rows: int
    round_trips: int
    seconds: float
    waited: float
    p50: float
    p95: float
    p99: float
    longest: float


class NameState(Figures):
    """The last hour of the scopes of one name."""

    name: str


class PointState(Figures):
    """Ten seconds in which scopes ended, and when they began. Those without any are left out."""

    at: float


class LinkState(TypedDict):
    """Which scope a finding was last seen in."""

    number: int
    name: str
    opened_at: str


class FindingState(TypedDict):
    """Something that should not be. ``place`` is ``file:line in function``."""

    id: str
    code: str
    message: str
    advice: str
    place: str
    file: str | None
    line: int | None
    scope: LinkState | None
    statement: str | None
    stack: list[str]
    count: int
    first: float
    last: float


class HistoryState(TypedDict):
    """What has ended: the last scopes, the slow and the failed ones, and the last hour in figures.

    The lists have the latest first, ``names`` those first that took most time, ``timeline`` is in
    the order of time.
    """

    recent: list[EndedState]
    slow: list[EndedState]
    failed: list[EndedState]
    names: list[NameState]
    timeline: list[PointState]


class DatabaseState(TypedDict):
    """A Database, or a Group, whose ``members`` are the ids of its databases.

    ``open_scopes`` is how many scopes are open; of very many, ``scopes`` has the oldest.
    ``history`` is ``None`` where it was not asked for.
    """

    id: str
    name: str
    kind: Literal["database", "group"]
    family: str | None
    url: str | None
    state: Literal["open", "draining", "closed"]
    watched: bool
    members: list[str]
    counters: dict[str, int]
    open_scopes: int
    scopes: list[ScopeState]
    sessions: list[SessionState]
    connections: list[ConnectionState]
    pools: list[PoolState]
    servers: list[ServerState]
    cache: dict[str, int]
    findings: list[FindingState]
    history: HistoryState | None


class ProcessState(TypedDict):
    """Whose state it is. ``program`` is the name of what was started, without its arguments."""

    pid: int
    host: str
    program: str
    python: str
    hermetic: str


class State(TypedDict):
    """All there is to see of the Databases of a process. ``version`` is that of these keys."""

    version: int
    at: float
    process: ProcessState
    databases: list[DatabaseState]
    paths: dict[str, int]
