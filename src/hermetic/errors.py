"""Everything hermetic raises.

::

    HermeticError
    ├── ConfigurationError            a wrong value, refused when it is given
    │   ├── InvalidOption
    │   ├── InvalidURL
    │   └── MissingDriver
    ├── ScopeError                    a scope or session used in a way it does not allow
    │   ├── NoScope                   nothing is open here
    │   ├── ScopeEnded                it is over
    │   ├── ScopeRefused              propagation, or a stronger demand, says no
    │   ├── ForeignOwner              it belongs to another thread or task
    │   │   └── ConcurrentUse         two at once
    │   ├── ReadOnlyScope             a write in a read-only scope
    │   ├── ScopeControls             commit, rollback or close by hand inside a scope
    │   ├── StaleInstance             an object of an earlier attempt given to the next
    │   └── DetachedAccess            (also SQLAlchemy's DetachedInstanceError)
    ├── TransactionError              how a transaction ended, when that is not what was asked for
    │   ├── RolledBack                the outcome is NOT_COMMITTED
    │   ├── CommitUnknown             the outcome is UNKNOWN
    │   └── DeadlineExceeded          the scope's time is over
    ├── PoolError                     no connection was to be had
    │   ├── PoolTimeout
    │   ├── PoolOverloaded
    │   └── PoolSelfDeadlock
    ├── DatabaseClosed                the Database was closed, or is draining
    ├── RetryRequested                raised by an application to have its unit run again
    └── FaultError                    what a server or driver reported, one class per FaultKind;
        ├── SerializationConflict     raised together with SQLAlchemy's own class for it
        ├── Deadlock
        └── …
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sqlalchemy import exc as sa_exc
from sqlalchemy.orm import exc as orm_exc

from .faults import Fault, FaultKind


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


def _rebuild(cls: type[Exception], args: tuple[Any, ...], state: dict[str, Any]) -> Exception:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class HermeticError(Exception):
    """Base of everything hermetic raises.

    ``message`` says what happened, ``scope`` to which scope (``None`` where there is none), and
    ``hint`` what to do next. Every subclass keeps its data as attributes and survives pickling.
    """

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
        return _rebuild, (type(self), self.args, self.__dict__)


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

    Nothing was run again. The unit is either applied as a whole or not at all.
    """

    outcome = Outcome.UNKNOWN


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
    ``waiting`` how many wait.
    """

    def __init__(
        self,
        message: str,
        *,
        pool: str,
        limit: int,
        holders: Sequence[str] = (),
        waiting: int = 0,
        scope: ScopeRef | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message, scope=scope, hint=hint)
        self.pool = pool
        self.limit = limit
        self.holders = tuple(holders)
        self.waiting = waiting

    def __str__(self) -> str:
        return super().__str__() + "".join(f"\n  held by {holder}" for holder in self.holders)


class PoolTimeout(PoolError, TimeoutError):
    """The wait for a connection reached its limit."""


class PoolOverloaded(PoolError):
    """As many already wait as may."""


class PoolSelfDeadlock(PoolError):
    """The wait could never end: whoever holds the connections is the one that asks for another."""


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
    transaction has ended.
    """

    kind: ClassVar[FaultKind] = FaultKind.OTHER
    fault: Fault | None = None
    outcome: Outcome | None = None


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


def _fault_classes(base: type[FaultError]) -> dict[FaultKind, type[FaultError]]:
    found = {base.kind: base}
    for subclass in base.__subclasses__():
        if "_blended" not in subclass.__dict__:
            found.update(_fault_classes(subclass))
    return found


FAULT_CLASSES: dict[FaultKind, type[FaultError]] = _fault_classes(FaultError)

_blends: dict[tuple[type[FaultError], type[Exception]], type[Exception]] = {}


def _blend(fault_class: type[FaultError], sa_class: type[Exception]) -> type[Exception]:
    """The class that is both ours and SQLAlchemy's, made once."""
    blended = _blends.get((fault_class, sa_class))
    if blended is None:
        namespace = {
            "__doc__": fault_class.__doc__,
            "__module__": fault_class.__module__,
            "__str__": sa_class.__str__,
            "__reduce__": _reduce_blended,
            "_blended": (fault_class, sa_class),
        }
        blended = type(fault_class.__name__, (fault_class, sa_class), namespace)
        _blends[fault_class, sa_class] = blended
    return blended


def _reduce_blended(self: Any) -> tuple[Any, ...]:
    fault_class, sa_class = self._blended
    return _rebuild_blended, (fault_class, sa_class, self.args, self.__dict__)


def _rebuild_blended(
    fault_class: type[FaultError],
    sa_class: type[Exception],
    args: tuple[Any, ...],
    state: dict[str, Any],
) -> Exception:
    return _rebuild(_blend(fault_class, sa_class), args, state)


def fault_error(
    error: sa_exc.StatementError, fault: Fault, *, scope: ScopeRef | None = None
) -> FaultError:
    """SQLAlchemy's error again, as an instance of the fault's class too."""
    blended = _blend(FAULT_CLASSES[fault.kind], type(error))
    copy = blended.__new__(blended)
    copy.args = error.args
    copy.__dict__.update(error.__dict__)
    if error.hide_parameters:
        # not in the text, and not in a pickle either
        copy.__dict__["params"] = None
    assert isinstance(copy, FaultError)
    copy.message = str(error.args[0]) if error.args else ""
    copy.hint = ""
    copy.fault = fault
    copy.scope = scope
    if scope is not None:
        copy.detail = [*error.detail, f"in {scope}"]  # type: ignore[attr-defined]
    return copy
