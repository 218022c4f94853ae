"""A group's scope in each of its databases.

The scope has one session, and a branch in every database that it has touched. A branch is what the
database sees of it: the engine's own machinery (gate, watchdog, outcome) knows a branch as it knows
any other scope, with a connection and a transaction of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

from sqlalchemy import Connection, Engine

from .boundary import Boundary, Entry
from .clock import monotonic
from .connection import Transaction
from .dialects.drivers import driver_of
from .errors import Outcome, PartialCommit
from .events import ScopeFinished, ScopeInfo, ScopeOpened, emit, logger
from .outcome import outcome_of, own_words
from .registry import Registry, Scope, describe_error
from .touched import announce
from .vote import vote_of

_COMMITTED, _NOT_COMMITTED, _UNKNOWN = Outcome.COMMITTED, Outcome.NOT_COMMITTED, Outcome.UNKNOWN


class GroupRegistry(Registry):
    """What is open of a group; ``members`` are the registries of its databases."""

    members: tuple[Registry, ...] = ()


class Branch(Scope):
    """What a group's scope is in one of its databases.

    Whose it is, what it may send and until when is the scope's to say.
    """

    __slots__ = ("engine", "key")

    def __init__(self, registry: Registry, root: Scope, key: str, engine: Engine) -> None:
        now = monotonic()
        super().__init__(registry, root.options, Entry.JOIN, None, root, root.place, now)
        self.key = key
        self.engine = engine
        # its own from the moment in which it has an outcome of its own
        self.boundary = root.boundary
        self.asynchronous = root.asynchronous
        self.handed = True

    @property
    def outcome(self) -> Outcome | None:
        """How its transaction ended."""
        return self.boundary.outcome

    def check_sending(self) -> None:
        """As the scope's."""
        self.root.check_sending()

    def settle(self, outcome: Outcome) -> None:
        """Note how its transaction ended. The first outcome stands."""
        if self.boundary is self.root.boundary:
            self.boundary = Boundary()
        self.boundary.end(outcome)

    def info(self, now: float) -> ScopeInfo:
        """Its line in a snapshot of its database."""
        connection = self.connection
        trace = self.trace
        counts_trips = trace is not None and not trace.uncounted
        return dataclasses.replace(
            super().info(now),
            rows=None if trace is None else trace.rows,
            round_trips=trace.round_trips if counts_trips else None,
            statements=self.statements,
            last_statement=self.last_statement,
            connection=None if connection is None else connection.number,
            attempt=self.root.attempt,
        )


class Branches:
    """The branches of one scope, and how they end. In the place of a ``Route``.

    :param order: the names of the databases, as they are committed.
    :param engines: gives a database's engine, for the world of the scope, and its registry.
    """

    # a branch goes to its database's primary, always
    open: ClassVar[bool] = False
    settled: ClassVar[bool] = True
    position: ClassVar[str | None] = None

    def __init__(
        self,
        scope: Scope,
        order: tuple[str, ...],
        engines: Callable[[str], tuple[Engine, Registry]],
    ) -> None:
        self.scope = scope
        self._order = order
        self._engines = engines
        self._known: dict[str, Engine] = {}
        self._owners: dict[Engine, tuple[str, Registry]] = {}
        self._branches: dict[Engine, Branch] = {}
        # where its parts are prepared: what does that, and what the unit is called
        self.coordinator: Any = None
        self.unit: str | None = None
        # when the block was left; and what went wrong in a branch at its COMMIT
        self._left = 0.0
        self._failures: dict[Branch, BaseException] = {}

    @property
    def branches(self) -> tuple[Branch, ...]:
        """In the order in which they are committed."""
        found = {branch.key: branch for branch in list(self._branches.values())}
        return tuple(found[key] for key in self._order if key in found)

    def engine(self, key: str) -> Engine:
        """The engine of a database. Nothing is connected."""
        found = self._known.get(key)
        if found is None:
            found, registry = self._engines(key)
            self._known[key] = found
            self._owners[found] = key, registry
        return found

    def branch(self, engine: Engine) -> Branch | None:
        """The branch in a database, made when first asked for; ``None``: it is not the group's."""
        branch = self._branches.get(engine)
        if branch is not None:
            return branch
        if engine not in self._owners:
            return None
        key, registry = self._owners[engine]
        vote = None
        if self.coordinator is not None:
            vote = self.coordinator.vote(self, key, driver_of(engine.url))
        branch = self._branches[engine] = Branch(registry, self.scope, key, engine)
        branch.route = vote
        registry.opened(branch)
        if registry.watch is not None:
            registry.watch.opened(branch)
            if self._left:
                branch.trace.left = branch.started
        if registry.listeners:
            emit(
                registry.listeners,
                ScopeOpened(registry.name, branch.ref, str(branch.owner), str(self.scope.entry)),
            )
        return branch

    def leave(self) -> None:
        """The block was left."""
        self._left = monotonic()
        for branch in self.branches:
            if branch.trace is not None:
                branch.trace.left = self._left

    def counted(self) -> tuple[int | None, int | None]:
        """Rows and round trips of all branches; ``None`` where those of one were not counted."""
        traces = [branch.trace for branch in self.branches]
        if None in traces:
            return None, None
        uncounted = any(trace.uncounted for trace in traces)
        trips = None if uncounted else sum(trace.round_trips for trace in traces)
        return sum(trace.rows for trace in traces), trips

    def _add_up(self, trace: Any) -> None:
        """Have the record of the whole say what its branches did."""
        rows, trips = self.counted()
        trace.statements = self.scope.statements
        trace.rows, trace.round_trips = rows or 0, trips or 0
        trace.uncounted = trips is None

    def _error_of(self, branch: Branch, error: BaseException | None) -> BaseException | None:
        """What ended a branch: an error of its own, or of the whole."""
        if branch.outcome is _COMMITTED:
            return None
        record = branch.transaction
        own = self._failures.get(branch) or (None if record is None else record.failure)
        return own or error

    def ended(self, scope: Scope, error: BaseException | None = None) -> None:
        """The scope is over, and with it every branch; more than once, where it was interrupted."""
        scope.statements = sum(branch.statements for branch in self.branches)
        if scope.trace is not None:
            self._add_up(scope.trace)
        for branch in self.branches:
            if branch.ended:
                continue
            if branch.boundary is scope.boundary and scope.boundary.outcome is not None:
                branch.settle(_NOT_COMMITTED)
            branch.ended = True
            branch.seconds = monotonic() - branch.started
            _take_back(branch)
            cause = self._error_of(branch, error)
            branch.forget()
            registry = branch.registry
            registry.closed(branch)
            if branch.trace is not None:
                trace, branch.trace = branch.trace, None
                trace.close(branch, cause)
            outcome = branch.outcome
            if outcome is not None:
                registry.counters[outcome.name.lower()] += 1
            if registry.listeners:
                name = None if cause is None else type(cause).__name__
                finished = ScopeFinished(
                    registry.name, branch.ref, outcome, branch.seconds, branch.statements, name
                )
                emit(registry.listeners, finished)
        self._failures = {}  # a traceback leads to whatever was there

    # ------------------------------------------------------------ the end

    def commit(self, held: dict[Any, Any], connect: Callable[[str], Connection]) -> None:
        """Commit: as a whole where that is prepared, otherwise one database after the other.

        :param held: SQLAlchemy's record of connections; those that are over are taken out of it.
        :param connect: takes the connection of a database into the scope's transaction.
        :raises PartialCommit: some are committed, and some are not, or not surely.
        :raises BaseException: the first COMMIT failed, as of any scope; nothing is committed.
        """
        if self.coordinator is not None and self.coordinator.commit(self, held, connect):
            return
        record = self.scope.transaction = Transaction()
        waiting = list(self.parts(held))
        for _, connection, _ in waiting:
            announce(connection)
        record.commit_sent = True
        committed: list[Branch] = []
        while waiting:
            branch, _, transaction = waiting.pop(0)
            raised = None
            try:
                transaction.commit()
            except BaseException as struck:
                raised = self._failed(branch, struck, committed, [each[0] for each in waiting])
            if raised is not None:
                raise raised
            branch.settle(_COMMITTED)
            committed.append(branch)
        record.committed = record.over = True
        self.let_go(held)

    def _failed(
        self, branch: Branch, struck: BaseException, committed: list[Branch], rest: list[Branch]
    ) -> BaseException:
        """What to raise for a COMMIT that raised; ``rest`` is rolled back after this."""
        failed = own_words(branch, struck)
        outcome = outcome_of(branch, failed)
        branch.settle(outcome)
        self._failures[branch] = failed
        record = self.scope.transaction
        assert record is not None
        if self.scope.readonly or (not committed and (outcome is _NOT_COMMITTED or not rest)):
            # as in any scope of one database
            record.commit_sent = outcome is _UNKNOWN
            record.committed = outcome is _COMMITTED
            return failed
        if outcome is _COMMITTED:
            committed = [*committed, branch]
        return report(
            self.scope,
            failed,
            committed=committed,
            failed=[*([branch] if outcome is _NOT_COMMITTED else []), *rest],
            unknown=[branch] if outcome is _UNKNOWN else [],
        )

    def roll_back(self, held: dict[Any, Any]) -> None:
        """Roll back whatever is not over, each whatever becomes of the others.

        :raises BaseException: the first failure; that connection was destroyed.
        """
        first: BaseException | None = None
        for branch, connection, transaction in self.parts(held):
            sent = branch.transaction is not None and branch.transaction.commit_sent
            vote = vote_of(branch)
            left = vote is not None and vote.left
            try:
                if left or _is_broken_off(branch):
                    connection.invalidate()
                elif transaction.is_active or connection.get_transaction() is transaction:
                    transaction.rollback()
            except BaseException as failed:
                first = first or failed
                _destroy(connection)
            if vote is not None and vote.pending and not left:
                self.coordinator.finish(branch, vote, commit=False)
            if not sent:
                unsure = branch.transaction is not None and branch.transaction.unsure
                unsure = unsure or left
                branch.settle(_UNKNOWN if unsure else _NOT_COMMITTED)
        self.let_go(held)
        if first is not None:
            raise first

    def let_go(self, held: dict[Any, Any]) -> None:
        """Give every connection back, or destroy it where it is not known what is on it."""
        for branch, connection, _ in self.parts(held):
            record = branch.transaction
            try:
                if record is not None and not record.over and not connection.invalidated:
                    connection.invalidate()
                connection.close()
            except BaseException:
                logger.exception("a connection of %s was not given back in good order", branch.ref)
                _destroy(connection)
        held.clear()

    def parts(self, held: dict[Any, Any]) -> list[tuple[Branch, Connection, Any]]:
        """Branch, connection and SQLAlchemy's transaction, in the order of the commits."""
        found = []
        for branch in self.branches:
            branch.ending = self.scope.ending
            if branch.engine in held:
                connection, transaction, *_ = held[branch.engine]
                found.append((branch, connection, transaction))
        return found


def report(
    scope: Scope,
    cause: BaseException,
    *,
    committed: list[Branch],
    failed: list[Branch],
    unknown: list[Branch],
) -> BaseException:
    """The error for a commit that went wrong half-way; an interrupt stays what it is."""
    words = [
        f"{what} in {', '.join(branch.key for branch in branches)}"
        for what, branches in (
            ("committed", committed),
            ("not committed", failed),
            ("not known", unknown),
        )
        if branches
    ]
    said = f"The databases of a group do not agree about a scope: it is {'; '.join(words)}."
    if not isinstance(cause, Exception):
        cause.add_note(said)
        return cause
    error = PartialCommit(
        f"{said} {describe_error(cause)}.",
        committed=[branch.key for branch in committed],
        failed=[branch.key for branch in failed],
        unknown=[branch.key for branch in unknown],
        scope=scope.ref,
        hint="Nothing was run again. Set right what is missing, or use two_phase=….",
    )
    error.__cause__ = cause
    return error


def _is_broken_off(branch: Branch) -> bool:
    """Whether the watchdog has destroyed its socket already."""
    connection = branch.connection
    if connection is None or connection.alarm is None or connection.scope is not branch:
        return False
    return bool(connection.alarm.fired) and not connection.family.embedded


def _destroy(connection: Connection) -> None:
    try:
        if not connection.invalidated and not connection.closed:
            connection.invalidate()
    except BaseException:
        logger.exception("a connection could not be destroyed in good order")


def _take_back(branch: Branch) -> None:
    """What a branch still has where nobody could end it: its loop was closed around it."""
    connection = branch.connection
    if connection is None or connection.scope is not branch:
        return
    branch.registry.connections.pop(connection.number, None)
    connection.abandon()
    if branch.ticket is not None:
        gate, ticket = branch.ticket
        gate.leave(ticket, monotonic())
