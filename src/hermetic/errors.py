"""Everything hermetic raises.

::

    HermeticError
    ├── ConfigurationError            a wrong value, refused when it is given
    │   ├── InvalidOption
    │   ├── InvalidURL
    │   ├── InvalidRow                one of many, in row_errors
    │   └── MissingDriver
    ├── ScopeError                    a scope or session used in a way it does not allow
    │   ├── NoScope                   nothing is open here
    │   ├── ScopeEnded                it is over
    │   ├── ScopeRefused              propagation, or a stronger demand, says no
    │   │   ├── UnknownTenant         nobody has that name
    │   │   └── TenantRequired        none was given
    │   ├── ForeignOwner              it belongs to another thread or task
    │   │   ├── ForkedScope           the process was forked since
    │   │   └── ConcurrentUse         two at once
    │   ├── ReadOnlyScope             a write in a read-only scope
    │   ├── ScopeControls             commit, rollback or close by hand inside a scope
    │   ├── LostByPooler              what a pooler in transaction mode would not keep
    │   ├── ForeignTenant             an object of one tenant in the scope of another
    │   ├── StaleInstance             an object of an earlier attempt given to the next
    │   └── DetachedAccess            (also SQLAlchemy's DetachedInstanceError)
    ├── TransactionError              how a transaction ended, when that is not what was asked for
    │   ├── RolledBack                the outcome is NOT_COMMITTED
    │   ├── CommitUnknown             the outcome is UNKNOWN
    │   │   └── PartialCommit         of several databases: which ones are committed
    │   └── DeadlineExceeded          the scope's time is over
    ├── PoolError                     no connection was to be had
    │   ├── PoolTimeout
    │   ├── PoolOverloaded
    │   └── PoolSelfDeadlock
    ├── UnprotectedTenants            a role that row-level security does not bind
    ├── NoReplica                     a read-only scope has no replica to read from
    ├── DatabaseClosed                the Database was closed, or is draining
    ├── RetryRequested                raised by an application to have its unit run again
    └── FaultError                    what a server or driver reported, one class per FaultKind;
        ├── SerializationConflict     raised together with SQLAlchemy's own class for it
        ├── Deadlock
        └── …
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sqlalchemy.orm import exc as orm_exc

from .error_pages import Notes, Page
from .faults import Fault, FaultKind
from .proof import CommitProof


class Outcome(enum.Enum):
    """How a transaction ended. Never a fourth, never a guess."""

    COMMITTED = "committed"
    NOT_COMMITTED = "not committed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ScopeRef:
    """Which scope an error speaks of: its name, number, and the line that opened it."""

    name: str
    number: int
    opened_at: str

    def __str__(self) -> str:
        return f"scope {self.name!r} (#{self.number}, opened at {self.opened_at})"


def rebuild(cls: type[Exception], args: tuple[Any, ...], state: dict[str, Any]) -> Exception:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class HermeticError(Exception):
    """Base of everything hermetic raises.

    ``message`` says what happened, ``scope`` to which scope (``None`` where there is none), and
    ``hint`` what to do next. ``page`` is the name of what ``hermetic error`` prints, as the first
    note says. Every subclass keeps its data as attributes and survives pickling.
    """

    page = Page()
    __notes__ = Notes()

    def __init__(self, message: str, *, scope: ScopeRef | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.scope = scope
        self.hint = hint

    def __str__(self) -> str:
        where = f" In {self.scope}." if self.scope is not None else ""
        advice = f" {self.hint}" if self.hint else ""
        return f"{self.message}{where}{advice}"

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild, (type(self), self.args, self.__dict__)


# ---------------------------------------------------------------- configuration


class ConfigurationError(HermeticError, ValueError):
    """A wrong value, refused when it is given."""


class InvalidOption(ConfigurationError):
    """An option that does not exist, or a value outside its limits.

    ``option`` is its name, ``value`` what was given, ``place`` where (a keyword, an environment
    variable, a key of a TOML file).
    """

    def __init__(self, option: str, value: object, problem: str, *, place: str, hint: str = ""):
        shown = "" if value is ... else f"={value!r}"
        super().__init__(f"{place}: {option}{shown} {problem}.", hint=hint)
        self.option = option
        self.value = value
        self.place = place


class InvalidURL(ConfigurationError):
    """A database URL that cannot be used. The message never contains the URL's secrets."""


# packages that no extra brings, by their modules
_PACKAGES = {"psycopg2": "psycopg2-binary"}


class MissingDriver(ConfigurationError, ImportError):
    """No driver for a database is installed. ``extra`` is the extra that brings one."""

    def __init__(self, message: str, *, extra: str, module: str = ""):
        package = f"'hermetic[{extra}]'" if extra else _PACKAGES.get(module, module)
        hint = f"Install one with: pip install {package}"
        super().__init__(message, hint=hint)
        self.extra = extra


# ---------------------------------------------------------------- scopes


class ScopeError(HermeticError):
    """A scope or session used in a way it does not allow."""


class NoScope(ScopeError):
    """The current session was asked for where no scope is open."""


class ScopeEnded(ScopeError):
    """A session was used after its scope had ended."""


class ScopeRefused(ScopeError):
    """A scope was not opened: its propagation or a stronger demand says no."""


class ForeignOwner(ScopeError):
    """A session was used by another thread or task than the one it belongs to.

    ``owner`` and ``user`` name the two parties.
    """

    def __init__(
        self, message: str, *, owner: str, user: str, scope: ScopeRef | None = None, hint: str = ""
    ) -> None:
        super().__init__(message, scope=scope, hint=hint)
        self.owner = owner
        self.user = user


class ForkedScope(ForeignOwner):
    """A forked child used, or left, a scope that its parent had opened before the fork.

    Nothing was sent: the scope is the parent's.
    """


class ConcurrentUse(ForeignOwner):
    """A session was used by one thread or task while another was still using it."""


class ReadOnlyScope(ScopeError):
    """A write was tried in a read-only scope. ``subject`` is the object or statement."""

    def __init__(
        self, message: str, *, subject: str, scope: ScopeRef | None, hint: str = ""
    ) -> None:
        super().__init__(message, scope=scope, hint=hint)
        self.subject = subject


class ScopeControls(ScopeError):
    """commit, rollback, begin or close was called by hand on the session of a scope."""


class LostByPooler(ScopeError):
    """What outlives its transaction, on a connection that a pooler lends for one transaction.

    Only with ``pooler="transaction"``. ``statement`` is what was not sent.
    """

    def __init__(
        self, message: str, *, statement: str, scope: ScopeRef | None = None, hint: str = ""
    ) -> None:
        super().__init__(message, scope=scope, hint=hint)
        self.statement = statement


class UnknownTenant(ScopeRefused):
    """Nobody has this name. ``tenant`` is what was asked for."""

    def __init__(
        self, message: str, *, tenant: str, scope: ScopeRef | None = None, hint: str = ""
    ) -> None:
        super().__init__(message, scope=scope, hint=hint)
        self.tenant = tenant


class TenantRequired(ScopeRefused):
    """A scope without a tenant, in a Database whose scopes have to have one."""


class ForeignTenant(ScopeError):
    """An object of one tenant, ``owner``, in a scope of another, ``tenant``; ``None`` is nobody."""

    def __init__(
        self,
        message: str,
        *,
        tenant: str | None,
        owner: str | None,
        scope: ScopeRef | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message, scope=scope, hint=hint)
        self.tenant = tenant
        self.owner = owner


class UnprotectedTenants(HermeticError):
    """Row-level security does not bind the role that has connected. ``role`` is its name."""

    def __init__(self, message: str, *, role: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.role = role


class StaleInstance(ScopeError):
    """An object of an earlier attempt, or of another session, was handed to a retried unit."""


class DetachedAccess(ScopeError, orm_exc.DetachedInstanceError):
    """An attribute that was not loaded when its scope ended. Also a DetachedInstanceError.

    ``attribute`` is its name.
    """

    def __init__(self, message: str, *, attribute: str, scope: ScopeRef, hint: str = "") -> None:
        super().__init__(message, scope=scope, hint=hint)
        self.attribute = attribute


# ---------------------------------------------------------------- transactions


class TransactionError(HermeticError):
    """A transaction ended otherwise than asked for. ``outcome`` says how."""

    outcome: Outcome = Outcome.NOT_COMMITTED


class RolledBack(TransactionError):
    """A scope that ended normally could not commit: nothing of it was applied.

    ``__cause__`` is the first failure: a swallowed database error, a failed joined scope, or the
    server's own rollback.
    """


class CommitUnknown(TransactionError):
    """The answer to a COMMIT was lost, and the database was not able to tell.

    Nothing was run again. The unit is either applied as a whole or not at all. ``proof`` is what
    ``Database.resolve_commit`` asks the database by, later; ``None`` without ``resolve_commits``.
    """

    outcome = Outcome.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        scope: ScopeRef | None = None,
        hint: str = "",
        proof: CommitProof | None = None,
    ) -> None:
        super().__init__(message, scope=scope, hint=hint)
        self.proof = proof


class PartialCommit(CommitUnknown):
    """A group's scope was committed in some of its databases, and not, or not surely, in others.

    ``committed``, ``failed`` and ``unknown`` have their names, in the order of the commits.
    """

    def __init__(
        self,
        message: str,
        *,
        committed: Iterable[str] = (),
        failed: Iterable[str] = (),
        unknown: Iterable[str] = (),
        scope: ScopeRef | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message, scope=scope, hint=hint)
        self.committed, self.failed = tuple(committed), tuple(failed)
        self.unknown = tuple(unknown)


class DeadlineExceeded(TransactionError, TimeoutError):
    """The scope's time is over. ``timeout`` is what it was given, in seconds."""

    def __init__(
        self, message: str, *, timeout: float, scope: ScopeRef | None = None, hint: str = ""
    ) -> None:
        super().__init__(message, scope=scope, hint=hint)
        self.timeout = timeout


# ---------------------------------------------------------------- pools


class PoolError(HermeticError):
    """No connection was to be had.

    ``pool`` is its name, ``limit`` how many may be out, ``holders`` who has them and since when,
    ``waiting`` how many wait, ``waiters`` who is first in line and since when.
    """

    def __init__(
        self,
        message: str,
        *,
        pool: str,
        limit: int,
        holders: Sequence[str] = (),
        waiting: int = 0,
        waiters: Sequence[str] = (),
        scope: ScopeRef | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message, scope=scope, hint=hint)
        self.pool = pool
        self.limit = limit
        self.holders = tuple(holders)
        self.waiting = waiting
        self.waiters = tuple(waiters)

    def __str__(self) -> str:
        held = "".join(f"\n  held by {holder}" for holder in self.holders)
        return super().__str__() + held + "".join(f"\n  wanted by {each}" for each in self.waiters)


class PoolTimeout(PoolError, TimeoutError):
    """The wait for a connection reached its limit."""


class PoolOverloaded(PoolError):
    """As many already wait as may."""


class PoolSelfDeadlock(PoolError):
    """The wait could never end: whoever holds the connections is the one that asks for another."""


class NoReplica(HermeticError):
    """No replica will do for a read-only scope, and ``replica_fallback`` is off.

    ``position`` is what it had to have come as far as, if anything; ``servers`` is what was known
    of each, as in ``Snapshot.servers``.
    """

    def __init__(
        self,
        message: str,
        *,
        position: str | None = None,
        servers: Sequence[Any] = (),
        scope: ScopeRef | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message, scope=scope, hint=hint)
        self.position = position
        self.servers = tuple(servers)


class DatabaseClosed(HermeticError):
    """The Database was closed, or is draining and takes no new scopes."""


class RetryRequested(HermeticError):
    """Raise it inside a unit to have the unit rolled back and run again under its retry policy."""

    def __init__(self, message: str = "the unit asked to be run again", **extra: Any) -> None:
        super().__init__(message, **extra)


# ---------------------------------------------------------------- faults


class FaultError(HermeticError):
    """What a server or driver reported, the same class for the same fault on every driver.

    It is raised as an instance of SQLAlchemy's own class as well, with ``statement``, ``orig`` and
    the rest of it, so that code which catches ``sqlalchemy.exc`` goes on working. ``fault`` is the
    classification (``None`` on one that an application raised itself); ``outcome`` is set once the
    transaction has ended. ``row`` is the position of the row that was refused, from 0, where many
    were written at once and it is known.
    """

    kind: ClassVar[FaultKind] = FaultKind.OTHER
    fault: Fault | None = None
    outcome: Outcome | None = None
    row: int | None = None


class SerializationConflict(FaultError):
    """The unit ran against another one at its isolation level. It may run again."""

    kind = FaultKind.SERIALIZATION


class Deadlock(FaultError):
    """The server broke a circle of locks by ending this transaction. It may run again."""

    kind = FaultKind.DEADLOCK


class LockTimeout(FaultError):
    """A lock was not to be had in the time set for it."""

    kind = FaultKind.LOCK_TIMEOUT


class StatementTimeout(FaultError):
    """A statement was ended by a time limit, or cancelled."""

    kind = FaultKind.STATEMENT_TIMEOUT


class IdleTimeout(FaultError):
    """The server closed a connection that was idle for too long, in a transaction or out of one."""

    kind = FaultKind.IDLE_TIMEOUT


class ConnectionLost(FaultError):
    """The connection broke, or the server ended it."""

    kind = FaultKind.CONNECTION_LOST


class CannotConnect(FaultError):
    """No connection could be made."""

    kind = FaultKind.CANNOT_CONNECT


class UntrustedServer(CannotConnect):
    """No connection was made, because TLS could not be used as it has to be.

    The server offers none, its certificate is not of a known authority, or it is another host's.
    """

    kind = FaultKind.TLS


class TooManyConnections(FaultError):
    """The server has no connection left for this user or at all."""

    kind = FaultKind.TOO_MANY_CONNECTIONS


class AuthenticationFailed(FaultError):
    """The server refused the credentials."""

    kind = FaultKind.AUTHENTICATION


class ReadOnlyServer(FaultError):
    """The server, or the transaction on it, takes no writes."""

    kind = FaultKind.READ_ONLY


class NodeNotReady(FaultError):
    """The node of a cluster is not able to serve."""

    kind = FaultKind.NOT_READY


class TransactionAborted(FaultError):
    """A statement was sent in a transaction that an earlier error had already ended."""

    kind = FaultKind.TRANSACTION_ABORTED


class CompletionUnknown(FaultError):
    """The server itself does not know whether a statement was completed."""

    kind = FaultKind.AMBIGUOUS


class StalePlan(FaultError):
    """The schema changed under a prepared statement or an open transaction. It may run again."""

    kind = FaultKind.STALE_PLAN


class IntegrityViolation(FaultError):
    """A constraint was violated. ``fault.constraint`` names it where the server does."""

    kind = FaultKind.INTEGRITY


class UniqueViolation(IntegrityViolation):
    """A unique or exclusion constraint was violated."""

    kind = FaultKind.UNIQUE


class ForeignKeyViolation(IntegrityViolation):
    """A foreign key was violated."""

    kind = FaultKind.FOREIGN_KEY


class NotNullViolation(IntegrityViolation):
    """A NOT NULL column got none."""

    kind = FaultKind.NOT_NULL


class CheckViolation(IntegrityViolation):
    """A CHECK constraint was violated."""

    kind = FaultKind.CHECK


class InvalidData(FaultError):
    """A value does not fit its type, its column or the function it was given to."""

    kind = FaultKind.DATA


class InvalidStatement(FaultError):
    """The server does not understand the statement, or not the names in it."""

    kind = FaultKind.PROGRAMMING


class PermissionDenied(FaultError):
    """The user may not do that."""

    kind = FaultKind.PERMISSION


class OutOfResources(FaultError):
    """The server has no disk, memory or lock space left."""

    kind = FaultKind.RESOURCES


class UnusableFile(FaultError):
    """The database file is broken, replaced, or not a database."""

    kind = FaultKind.CORRUPT


class UnsupportedFeature(FaultError):
    """The server does not support what was asked for."""

    kind = FaultKind.UNSUPPORTED
