"""What scopes promise, told a second time and without a state machine.

Every transaction is a tree of regions: itself, and the savepoints inside. A region keeps what
happened directly in it, and only when it ends is the list read: what stands in it decides whether
its rows stay. Nothing here is taken from the code under test but the class of an error.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from hermetic.errors import RolledBack

TRANSACTION = "transaction"
SAVEPOINT = "savepoint"
JOIN = "join"
PLAIN = "plain"
REFUSED = "refused"

Trouble = Literal["harmless", "dooms", "aborts", "ends all"]
"""What a failed statement does: nothing; to the session what a failed flush does; to the
transaction what any error does on PostgreSQL; to the transaction what a deadlock does on MariaDB.
"""

# propagation: with nothing open, inside a transaction, inside a scope without one
ENTRIES = {
    "required": (TRANSACTION, JOIN, TRANSACTION),
    "requires_new": (TRANSACTION, TRANSACTION, TRANSACTION),
    "nested": (TRANSACTION, SAVEPOINT, TRANSACTION),
    "mandatory": (REFUSED, JOIN, REFUSED),
    "supports": (PLAIN, JOIN, JOIN),
    "not_supported": (PLAIN, PLAIN, JOIN),
    "never": (PLAIN, REFUSED, JOIN),
}


class Expected(Exception):
    """What scopes of these programs may name in `commit_on`."""


class Failed(Exception):
    """What they never do."""


@dataclass(frozen=True)
class RolledBackBy:
    """The prediction of a RolledBack, and of its cause."""

    cause: BaseException | None


@dataclass(frozen=True)
class SelfDeadlock:
    """The prediction of a PoolSelfDeadlock."""


def behind(error: BaseException | None) -> BaseException | None:
    """The first failure: a RolledBack only repeats what came before it."""
    while isinstance(error, RolledBack) and error.__cause__ is not None:
        error = error.__cause__
    return error


Refusal = RolledBackBy | SelfDeadlock
Raised = BaseException | RolledBackBy | None


@dataclass(eq=False)
class Region:
    """A transaction, a savepoint or a scope without either, and what happened directly in it."""

    kind: str
    parent: Region | None
    rows: list[int] = field(default_factory=list)
    inner: list[Region] = field(default_factory=list)
    doomed_by: BaseException | None = None
    asked_by_itself: bool = False
    asked_by_joined: bool = False
    aborted_by: BaseException | None = None
    ended_by: BaseException | None = None
    # it took the connection, or its SAVEPOINT was sent: both with its first statement
    begun: bool = False
    stands: bool = True

    def begin(self) -> None:
        self.begun = True
        if self.parent is not None:
            self.parent.begin()

    @property
    def root(self) -> Region:
        return self if self.parent is None else self.parent.root

    def surviving(self) -> set[int]:
        rows = set(self.rows)
        for region in self.inner:
            if region.stands:
                rows |= region.surviving()
        return rows

    def database_failure(self) -> BaseException | None:
        """The error that keeps statements from this region, and its rows from staying."""
        region: Region | None = self
        while region is not None:
            if region.aborted_by is not None:
                return region.aborted_by
            region = region.parent
        return self.root.ended_by


@dataclass(eq=False)
class Frame:
    """An open scope."""

    region: Region
    joined: bool
    commits_on_expected: bool

    def counts_as_success(self, error: BaseException | None) -> bool:
        return error is None or (self.commits_on_expected and isinstance(error, Expected))


class Model:
    """The rows and the open scopes of one database.

    `one_connection` is how it is with writers on SQLite: whoever has it waits for nobody, and
    refuses everybody of the same thread.
    """

    def __init__(self, *, one_connection: bool) -> None:
        self.one_connection = one_connection
        self.committed: set[int] = set()
        self.frames: list[Frame] = []

    @property
    def region(self) -> Region:
        return self.frames[-1].region

    # ------------------------------------------------------------ a scope begins

    def entry(self, propagation: str) -> str:
        column = 0
        if self.frames:
            column = 2 if self.region.root.kind == PLAIN else 1
        return ENTRIES[propagation][column]

    def refuses_to_open(self, propagation: str) -> Refusal | None:
        """Why a savepoint cannot begin: whatever it did, it would be rolled back."""
        if self.entry(propagation) == SAVEPOINT and self.region.doomed_by is not None:
            return RolledBackBy(self.region.doomed_by)
        return None

    def open(self, propagation: str, *, commits_on_expected: bool) -> Frame:
        entry = self.entry(propagation)
        if entry == JOIN:
            region = self.region
        elif entry == SAVEPOINT:
            region = Region(SAVEPOINT, self.region)
            self.region.inner.append(region)
        else:
            region = Region(entry, None)
        frame = Frame(region, entry == JOIN, commits_on_expected)
        self.frames.append(frame)
        return frame

    # ------------------------------------------------------------ it works

    def refuses_statement(self) -> Refusal | None:
        region = self.region
        if region.doomed_by is not None:
            return RolledBackBy(region.doomed_by)
        if self.one_connection and not region.root.begun and self._others_hold():
            return SelfDeadlock()
        failure = region.database_failure()
        return None if failure is None else RolledBackBy(failure)

    def _others_hold(self) -> bool:
        mine = self.region.root
        roots = {frame.region.root for frame in self.frames}
        return any(root.begun for root in roots if root is not mine)

    def insert(self, row: int) -> None:
        self.region.begin()
        if self.region.root.kind == PLAIN:
            self.committed.add(row)
        else:
            self.region.rows.append(row)

    def trouble(self, kind: Trouble, error: BaseException) -> None:
        """A statement failed with `error`."""
        region = self.region
        region.begin()
        if region.root.kind == PLAIN:
            return
        if kind == "dooms":
            region.doomed_by = error
        elif kind == "aborts":
            region.aborted_by = error
        elif kind == "ends all":
            region.root.ended_by = error

    def flush_refused(self) -> None:
        """A session whose flush failed takes nothing more, even if nothing was sent."""
        region = self.region
        if region.doomed_by is None:
            region.doomed_by = region.database_failure()

    def visible(self) -> set[int]:
        """The rows that the innermost scope sees."""
        self.region.begin()
        return self.committed | self.region.root.surviving()

    def ask_rollback(self) -> None:
        frame = self.frames[-1]
        if frame.joined:
            frame.region.asked_by_joined = True
        else:
            frame.region.asked_by_itself = True

    # ------------------------------------------------------------ it ends

    def leave(self, error: BaseException | None) -> Raised:
        """The innermost scope is left with an error or none; what comes out of it."""
        frame = self.frames.pop()
        region = frame.region
        if region.kind == PLAIN:
            return error
        if frame.joined:
            if not frame.counts_as_success(error) and region.doomed_by is None:
                region.doomed_by = behind(error)
            return error
        raised = self._end(frame, error)
        if region.stands and region.kind == TRANSACTION:
            self.committed |= region.surviving()
        return raised

    def _end(self, frame: Frame, error: BaseException | None) -> Raised:
        region = frame.region
        # a savepoint that was opened after the database failed has sent nothing, and ends in peace
        failure = region.database_failure() if region.begun else None
        succeeded = frame.counts_as_success(error)
        asked = region.asked_by_itself or region.asked_by_joined
        region.stands = succeeded and not (region.doomed_by or asked or failure)
        if region.stands or not succeeded or region.asked_by_itself:
            # it got what it asked for, or its own error tells enough
            return error
        return RolledBackBy(region.doomed_by or (None if asked else failure))
