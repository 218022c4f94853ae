"""What a driver's error means: its kind, and what it leaves behind."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class FaultKind(enum.Enum):
    """What went wrong, the same word for every server and driver."""

    SERIALIZATION = "serialization conflict"
    DEADLOCK = "deadlock"
    LOCK_TIMEOUT = "lock timeout"
    STATEMENT_TIMEOUT = "statement timeout or cancel"
    IDLE_TIMEOUT = "idle timeout"
    CONNECTION_LOST = "connection lost"
    CANNOT_CONNECT = "cannot connect"
    TLS = "server not trusted"
    TOO_MANY_CONNECTIONS = "too many connections"
    AUTHENTICATION = "authentication failed"
    READ_ONLY = "read-only server or transaction"
    NOT_READY = "cluster node not ready"
    TRANSACTION_ABORTED = "transaction already aborted"
    AMBIGUOUS = "completion unknown"
    STALE_PLAN = "schema changed under a statement"
    UNIQUE = "unique violation"
    FOREIGN_KEY = "foreign key violation"
    NOT_NULL = "not-null violation"
    CHECK = "check violation"
    INTEGRITY = "integrity violation"
    DATA = "invalid data"
    PROGRAMMING = "invalid statement"
    PERMISSION = "permission denied"
    RESOURCES = "server out of resources"
    CORRUPT = "database file unusable"
    UNSUPPORTED = "not supported"
    OTHER = "unclassified"


class Rerun(enum.Enum):
    """What may be run again after a fault."""

    TRANSACTION = "the whole unit: it was definitely not applied"
    CONNECT = "the connect: nothing was sent yet"
    RESOLVE = "nothing before the outcome is known"
    NEVER = "nothing: it would fail again"


class Transaction(enum.Enum):
    """What a fault, raised by a statement, leaves of the open transaction."""

    INTACT = "as before the statement"
    DOOMED = "must be rolled back, to the savepoint around the statement at least"
    GONE = "rolled back by the server, or lost with the connection"


class Wire(enum.Enum):
    """What a fault leaves of the connection."""

    USABLE = "usable after a rollback"
    DEAD = "to be destroyed"


class Pool(enum.Enum):
    """What a fault says about the other connections of its pool."""

    KEEP = "nothing"
    EVICT = "they are of no more use than this one"


@dataclass(frozen=True, slots=True)
class Fault:
    """A driver's error, classified by its SQLSTATE, errno or extended result code.

    ``code`` is what the server said (``"40001"``, ``"1213"``, ``"SQLITE_BUSY"``), or ``""`` where a
    driver raised without one. ``ambiguous_at_commit`` is true when the same error in answer to a
    COMMIT leaves the outcome unknown.
    """

    kind: FaultKind
    code: str
    rerun: Rerun
    transaction: Transaction
    wire: Wire = Wire.USABLE
    pool: Pool = Pool.KEEP
    ambiguous_at_commit: bool = False
    constraint: str | None = None

    @property
    def retryable(self) -> bool:
        """Whether the unit may run again on a fresh session, raised before its COMMIT was sent."""
        return self.rerun is Rerun.TRANSACTION or self.rerun is Rerun.CONNECT
