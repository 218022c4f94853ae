"""Live records: which scopes are open, which connections exist, who holds what.

Records are plain objects written by their owner and read by anybody; a snapshot may therefore be a
moment old in one field and not in the next, and never blocks anyone.
"""

from __future__ import annotations

import itertools
import os
import weakref
from collections.abc import Callable
from typing import Any, NoReturn

from sqlalchemy.exc import SQLAlchemyError

from .boundary import Boundary, Entry, State
from .clock import monotonic
from .connection import ConnectionRecord, Transaction
from .dialects.family import Family
from .errors import (
    DeadlineExceeded,
    FaultError,
    ForeignOwner,
    ForkedScope,
    Outcome,
    RolledBack,
    ScopeEnded,
    ScopeRef,
)
from .events import (
    Listener,
    PoolInfo,
    ScopeInfo,
    ServerInfo,
    SessionInfo,
    Snapshot,
)
from .fast.counts import counts
from .forked import leave_to_parent
from .gate import Gate, Ticket
from .options import ScopeOptions
from .owner import Owner, current_owner, describe_current
from .place import Place
from .proof import CommitProof
from .watching.misuses import used_after_end

_scope_numbers = itertools.count(1)

# as in boundary
_DOOMED = State.DOOMED
_JOIN = Entry.JOIN
_COMMITTED = Outcome.COMMITTED


class Scope:
    """One unit of work, from its opening to its end and, for its outcome, after it.

    A scope that joined another, or is a savepoint inside it, has ``root`` pointing at the scope
    that owns session and transaction; otherwise ``root`` is the scope itself.
    """

    __slots__ = (
        "__weakref__",
        "_owner",
        "_root",
        "asks",
        "asynchronous",
        "attempt",
        "borrower",
        "boundary",
        "cancelled",
        "connection",
        "deadline",
        "ended",
        "ending",
        "entry",
        "facade",
        "failed",
        "given_timeout",
        "handed",
        "hook_errors",
        "hook_keys",
        "hooks",
        "in_hand",
        "innermost",
        "interruptible",
        "last_statement",
        "left",
        "lent",
        "number",
        "options",
        "outer_deadline",
        "parent",
        "parent_boundary",
        "parent_savepoint",
        "place",
        "proof",
        "readonly",
        "registry",
        "rerun",
        "reserved",
        "route",
        "savepoint",
        "seconds",
        "session",
        "settings",
        "side",
        "started",
        "statements",
        "tenant",
        "ticket",
        "trace",
        "transaction",
        "unit",
        "watches_savepoints",
    )

    def __init__(
        self,
        registry: Registry,
        options: ScopeOptions,
        entry: Entry,
        parent: Scope | None,
        root: Scope | None,
        place: Place,
        started: float,
    ) -> None:
        self.number = next(_scope_numbers)
        self.registry = registry
        self.options = options
        self.entry = entry
        self.parent = parent
        self.place = place
        self.started = started
        self.ended = False
        self.statements = 0
        self.seconds = 0.0
        self.attempt = 1
        self.asynchronous = False
        # a nested scope's own savepoint; of a root, the innermost one that a scope has open
        self.savepoint: Any = None
        self.last_statement: str | None = None
        self.connection: ConnectionRecord | None = None
        # the sync session, and what the user was given: the same, or the AsyncSession over it
        self.session: Any = None
        self.facade: Any = None
        # what the fast paths may do for it; whether one of them holds its connection, and then the
        # pool's record of that
        self.side: Any = None
        self.in_hand = False
        self.lent: Any = None
        self.transaction: Transaction | None = None
        # what its COMMIT can be proved by
        self.proof: CommitProof | None = None
        # where it goes, where there is a choice; and whether the server is asked at its end how far
        # it has come
        self.route: Any = None
        self.asks = False
        # whose rows it sees, and what the server is told of that where its transaction begins
        self.tenant: str | None = None if root is None else root.tenant
        self.settings: tuple[str, ...] = ()
        # what it does, and when, where somebody watches
        self.trace: Any = None
        # what opened it, so that it can find it again
        self.unit: Any = None
        # whether its unit may be run again
        self.rerun = False
        # who has it on loan, and the place at the gate that its connection has
        self.borrower: Owner | None = None
        self.ticket: tuple[Gate, Ticket] | None = None
        # a place without a connection, for the one that SQLAlchemy is about to make
        self.reserved: tuple[Gate, Ticket, float] | None = None
        # it was given to whoever opened it; its end has begun; it is still before anything that a
        # cancellation must not reach; the cancellation came in the meantime; it ended with an error
        self.handed = False
        # under asyncio: its block was left, and its end has not begun
        self.left = False
        self.ending = False
        self.interruptible = False
        self.cancelled = False
        self.failed = False
        self.watches_savepoints = False
        self.hooks: list[Any] = []
        # the kinds and keys of them, once one has a key
        self.hook_keys: set[Any] | None = None
        self.hook_errors: tuple[BaseException, ...] = ()
        self.outer_deadline: float | None = None
        self.given_timeout = options.timeout
        if root is None:
            self._root: Scope | None = None
            self._owner = current_owner()
            self.innermost = self.boundary = Boundary()
            self.parent_boundary = self.boundary
            self.parent_savepoint = None
            self.readonly = bool(options.readonly)
            self.deadline = None if options.timeout is None else started + options.timeout
        else:
            self._root = root
            self.boundary = root.innermost if entry is _JOIN else Boundary()
            self.parent_boundary = root.innermost
            self.parent_savepoint = root.savepoint
            self.readonly = root.readonly
            self.deadline = root.deadline

    def __repr__(self) -> str:
        return (
            f"<Scope {self.name!r} #{self.number} of {self.owner}, {self.state}, "
            f"opened at {self.place}>"
        )

    @property
    def name(self) -> str:
        """What it is called: as its options have it, or as the function that opened it."""
        return self.options.name or self.place.function

    @property
    def root(self) -> Scope:
        """The scope that owns session and transaction: itself, or the one it joined."""
        return self if self._root is None else self._root

    def hand_over(self) -> Any:
        """Give the connection in hand to SQLAlchemy, as its pool's record."""
        self.in_hand = False
        lent, self.lent = self.lent, None
        if self.ticket is not None:
            lent.record_info.setdefault("hermetic.tickets", []).append(self.ticket[1])
        return lent

    def forget(self) -> None:
        """Let go, at the end, of what would keep a session, a connection or a traceback alive."""
        connection = self.connection
        if connection is not None:
            if connection.transaction is self.transaction:
                connection.transaction = None
            if connection.scope is self:
                # it was struck out of the hands of who was taking it: the collector finds it, if
                # nothing leads to the traceback of that
                connection.scope = None
        self.connection = self.transaction = self.ticket = self.reserved = None
        # the session knows its scope for as long as somebody has it; both ways would be a cycle
        self.session = self.facade = None

    @property
    def owner(self) -> Owner:
        """Whose it is.

        It changes only while the session is lent, and for the time of its ending.
        """
        return self.root._owner

    @owner.setter
    def owner(self, owner: Owner) -> None:
        self.root._owner = owner

    @property
    def ref(self) -> ScopeRef:
        """Name, number and opening line, as errors carry them."""
        return ScopeRef(self.name, self.number, str(self.place))

    def __str__(self) -> str:
        return str(self.ref)

    @property
    def state(self) -> State:
        """Where its transaction (or savepoint) stands."""
        return self.boundary.state

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; ``None`` while that is open.

        A savepoint shares the fate of its transaction.
        """
        own = self.boundary.outcome
        if self.root is self or own is Outcome.NOT_COMMITTED:
            return own
        return self.root.boundary.outcome

    def remaining(self, now: float) -> float | None:
        """Seconds until the deadline, negative when it has passed; ``None`` without one."""
        return None if self.deadline is None else self.deadline - now

    # ------------------------------------------------------------ guards

    def holder(self) -> Owner:
        """``owner``, for compiled code: it calls a method directly, a property it looks up."""
        return self._owner if self._root is None else self._root._owner

    def check_owner(self) -> None:
        """:raises ForeignOwner: the caller is another thread or task.
        :raises ScopeEnded: the scope is over.
        """
        owner = self.holder()
        if self.ended or not owner.is_current():
            self._refuse_use(owner)

    def _refuse_use(self, owner: Owner) -> NoReturn:
        if self.ended:
            if self.registry.watch is not None:
                used_after_end(self)
            raise ScopeEnded(
                f"The session's scope has ended ({self.outcome and self.outcome.value}).",
                scope=self.ref,
                hint="Open a scope of your own with db.session().",
            )
        raise self.foreign(f"This session belongs to {owner}, and", "tried to use it.")

    def foreign(self, whose: str, did: str) -> ForeignOwner:
        """The error for a caller who is not the owner: what it did, around what it is called."""
        owner, user = self.owner, describe_current()
        if owner.is_elsewhere():
            return ForkedScope(
                f"This scope was opened before this process was forked, by {owner}; here {user} "
                f"{did}",
                owner=str(owner),
                user=user,
                scope=self.ref,
                hint="It stays its parent's, untouched. A forked child opens scopes of its own "
                "with db.session(), and gets connections of its own.",
            )
        return ForeignOwner(
            f"{whose} {user} {did}",
            owner=str(owner),
            user=user,
            scope=self.ref,
            hint=owner.hint,
        )

    def leave_to_parent(self) -> None:
        """In a forked child: its copy of the scope can be left, and does nothing then."""
        self.in_hand = False
        self.connection = self.transaction = self.ticket = self.reserved = self.lent = None
        self.deadline = self.borrower = None
        self.hooks = []
        self.boundary.doom(self.foreign("", "was about to end it."))

    def check_statement(self) -> None:
        """What must hold before anything is sent to the server.

        :raises RolledBack: the scope is rollback-only.
        :raises DeadlineExceeded: its time is over.
        """
        self.check_owner()
        self.check_sending()

    def check_sending(self) -> None:
        """``check_statement``, for whoever has asked already whose the session is."""
        doomed = self.boundary if self.boundary.state is _DOOMED else self.innermost
        if doomed.state is _DOOMED:
            raise RolledBack(
                "The statement was not sent: the scope can only be rolled back, because of "
                f"{describe_error(doomed.cause)}.",
                scope=self.ref,
                hint="Let the error of a joined scope pass, or open that scope with "
                "propagation='nested'.",
            ) from doomed.cause
        if self.deadline is not None and monotonic() >= self.deadline:
            raise self.deadline_exceeded("before a statement was sent")

    def deadline_exceeded(self, when: str) -> DeadlineExceeded:
        timeout = self.root.given_timeout
        if timeout is None:
            timeout = (self.deadline or 0.0) - self.started
        error = DeadlineExceeded(
            f"The scope's time, {timeout:g} s, was over {when}.",
            timeout=timeout,
            scope=self.ref,
            hint="Give it less to do, or a longer timeout=, which is for waits and attempts too.",
        )
        if self.root.entry is Entry.PLAIN:
            error.outcome = Outcome.UNKNOWN  # what was sent in autocommit may stand
        return error

    def info(self, now: float) -> ScopeInfo:
        connection = self.root.connection
        trace = self.root.trace
        counts_trips = trace is not None and not trace.uncounted
        depth = 0
        parent = self.parent
        while parent is not None:
            depth, parent = depth + 1, parent.parent
        return ScopeInfo(
            number=self.number,
            name=self.name,
            database=self.registry.name,
            opened_at=str(self.place),
            owner=str(self.owner),
            state=str(self.state),
            propagation=str(self.options.propagation),
            readonly=self.readonly,
            age=now - self.started,
            statements=self.root.statements,
            last_statement=self.root.last_statement,
            connection=None if connection is None else connection.number,
            attempt=self.attempt,
            depth=depth,
            cache_hits=getattr(self.root.session, "cache_hits", 0),
            rows=None if trace is None else trace.rows,
            round_trips=trace.round_trips if counts_trips else None,
            tenant=self.tenant,
            server=getattr(getattr(self.root.route, "state", None), "name", None),
        )


def describe_error(error: BaseException | None) -> str:
    """An error in one short line: its class, and the first line of what it says."""
    if error is None:
        return "a rollback that was asked for"
    # SQLAlchemy's own text begins with details; what the server said is in the driver's error
    said = getattr(error, "orig", None) if isinstance(error, FaultError) else None
    first = str(said or error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


class Registry:
    """Everything that is open of one Database."""

    def __init__(self, name: str, family: Family | None = None) -> None:
        self.name = name
        self.family = family
        self.scopes: dict[int, Scope] = {}
        self.connections: dict[int, ConnectionRecord] = {}
        self.gates: list[Gate] = []
        self.counters: dict[str, int] = dict.fromkeys(
            ("scopes", "committed", "not_committed", "unknown", "resolved", "retries", "destroyed"),
            0,
        )
        # whether the statements of a read-only scope are apart, each in the driver's autocommit
        self.reads_apart = False
        # whether objects are some tenant's, and not another's
        self.has_tenants = False
        self.listeners: tuple[Listener, ...] = ()
        # sees every scope, where the Database is watched
        self.watch: Any = None
        # called, each time, when the last open scope has ended
        self.on_empty: list[Callable[[], None]] = []
        self.after_fork: list[Callable[[], None]] = []
        # of a parent process: kept, so that no collector closes sockets that are not ours
        self.inherited: list[object] = []
        # what notes how commits can be proved, where that is wanted
        self.resolver: Any = None
        # tells of the servers, where there are several
        self.servers: Callable[[], tuple[ServerInfo, ...]] | None = None
        registries.add(self)

    def opened(self, scope: Scope) -> None:
        self.scopes[scope.number] = scope
        self.counters["scopes"] += 1

    def closed(self, scope: Scope) -> None:
        self.scopes.pop(scope.number, None)
        if scope._root is None:
            outcome = scope.boundary.outcome
            if outcome is _COMMITTED:
                self.counters["committed"] += 1
            elif outcome is not None:
                self.counters[outcome.name.lower()] += 1
        if self.on_empty and not self.scopes:
            for tell in tuple(self.on_empty):
                tell()

    def start_anew(self) -> None:
        """In a forked child: nothing of what the parent had open is open here."""
        scopes, self.scopes = self.scopes, {}
        connections, self.connections = self.connections, {}
        self.on_empty = []
        self.inherited += leave_to_parent(connections.values())
        for scope in scopes.values():
            scope.leave_to_parent()
        for start in self.after_fork:
            start()
        if self.watch is not None:
            self.watch.start_anew()

    def snapshot(self) -> Snapshot:
        now = monotonic()
        # copies of dict.values() are atomic under the GIL; records may change while they are read
        return Snapshot(
            database=self.name,
            scopes=tuple(scope.info(now) for scope in list(self.scopes.values())),
            sessions=tuple(sessions_in_transaction(now)),
            connections=tuple(c.info(now) for c in list(self.connections.values())),
            pools=tuple(
                PoolInfo(
                    gate.name,
                    gate.limit,
                    gate.lent,
                    gate.waiting,
                    gate.counters.admitted,
                    gate.counters.waited,
                    gate.counters.refused + gate.counters.timed_out,
                    gate.counters.wait_seconds,
                )
                for gate in self.gates
            ),
            counters=dict(self.counters),
            paths=dict(counts),
            servers=() if self.servers is None else self.servers(),
        )


registries: weakref.WeakSet[Registry] = weakref.WeakSet()


def _after_fork() -> None:
    for registry in list(registries):
        registry.start_anew()


os.register_at_fork(after_in_child=_after_fork)


# ---------------------------------------------------------------- sessions outside any scope

# sessions that factories made, each of which has ``_loose_info(now)``; SQLAlchemy's own registry of
# sessions does not say whose they are
loose_sessions: dict[int, weakref.ref[Any]] = {}


def sessions_in_transaction(now: float) -> list[SessionInfo]:
    """Every session outside any scope that is inside a transaction, in this process."""
    # list() of a dict's values is one step under the GIL
    sessions = [reference() for reference in list(loose_sessions.values())]
    infos = (_loose_info(session, now) for session in sessions if session is not None)
    return [info for info in infos if info is not None]


def _loose_info(session: Any, now: float) -> SessionInfo | None:
    """Its owner goes on meanwhile: what changes while it is read is told at the next look."""
    try:
        info: SessionInfo | None = session._loose_info(now)
    except (RuntimeError, SQLAlchemyError):
        return None
    return info
