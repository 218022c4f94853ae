"""Frozen, checked options: of a scope, of a retry policy, of a Database.

Every value is checked when it is given; a wrong one raises InvalidOption, which names the option,
its limits and the place it came from. Nothing is corrected in silence.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from sqlalchemy.pool import Pool

from .errors import InvalidOption
from .faults import FaultKind


class Propagation(enum.StrEnum):
    """What a scope does when one is open already in this thread or task. Spring's meanings."""

    REQUIRED = "required"
    REQUIRES_NEW = "requires_new"
    NESTED = "nested"
    MANDATORY = "mandatory"
    SUPPORTS = "supports"
    NOT_SUPPORTED = "not_supported"
    NEVER = "never"


class Isolation(enum.StrEnum):
    """The four levels of the SQL standard, weakest first. Which of them exist is the server's."""

    READ_UNCOMMITTED = "READ UNCOMMITTED"
    READ_COMMITTED = "READ COMMITTED"
    REPEATABLE_READ = "REPEATABLE READ"
    SERIALIZABLE = "SERIALIZABLE"

    @property
    def strength(self) -> int:
        """0 for the weakest, 3 for SERIALIZABLE."""
        return list(Isolation).index(self)


# seconds; what a server that counts milliseconds in 32 bits can still hold, about 24 days
LONGEST = 2_147_483

RETRYABLE_KINDS = frozenset(
    {
        FaultKind.SERIALIZATION,
        FaultKind.DEADLOCK,
        FaultKind.LOCK_TIMEOUT,
        FaultKind.CONNECTION_LOST,
        FaultKind.IDLE_TIMEOUT,
        FaultKind.CANNOT_CONNECT,
        FaultKind.TOO_MANY_CONNECTIONS,
        FaultKind.NOT_READY,
        FaultKind.STALE_PLAN,
    }
)


@dataclass(frozen=True, kw_only=True)
class Retry:
    """When, how often and how fast a unit of work is run again.

    A unit runs again only at the outermost scope, on a fresh session, when it was certainly not
    applied. The pause before attempt n is drawn evenly from 0 to ``min(cap, base * 2 ** (n - 2))``.

    :param attempts: runs in all, the first one included. Default 5.
    :param within: seconds for all attempts and pauses together; ``None`` for no limit. Default 30.
    :param base: seconds, the upper end of the first pause. Default 0.02.
    :param cap: seconds, the upper end of every pause. Default 2.
    :param on: the kinds of fault that are retried. Unique violations are not among the default
        ones.
    :param when: called with the exception; its answer, true or false, overrules ``on``. An unknown
        or committed outcome is never retried, whatever it answers.
    """

    attempts: int = 5
    within: float | None = 30.0
    base: float = 0.02
    cap: float = 2.0
    on: frozenset[FaultKind] = RETRYABLE_KINDS
    when: Callable[[BaseException], bool | None] | None = None

    def __post_init__(self) -> None:
        check = Checker("Retry")
        check.whole("attempts", self.attempts, at_least=1, at_most=1000)
        check.seconds("within", self.within, optional=True)
        check.seconds("base", self.base, zero=True)
        check.seconds("cap", self.cap, zero=True)
        kinds: Any = self.on
        if not isinstance(kinds, (set, frozenset, list, tuple)) or not all(
            isinstance(kind, FaultKind) for kind in kinds
        ):
            raise InvalidOption("on", kinds, "must be a set of FaultKind members", place="Retry")
        object.__setattr__(self, "on", frozenset(kinds))
        if self.when is not None and not callable(self.when):
            raise InvalidOption("when", self.when, "must be callable", place="Retry")


@dataclass(frozen=True)
class Checker:
    """Checks single values on behalf of one place, which every refusal names."""

    place: str

    def refuse(self, option: str, value: object, problem: str, hint: str = "") -> InvalidOption:
        return InvalidOption(option, value, problem, place=self.place, hint=hint)

    def unknown(self, option: str, owner: str, known: str) -> InvalidOption:
        # a misspelt option may hold a secret: its value is not shown
        problem = f"is not an option of {owner}"
        return InvalidOption(option, ..., problem, place=self.place, hint=f"Known: {known}.")

    def seconds(
        self, option: str, value: object, *, optional: bool = False, zero: bool = False
    ) -> float | None:
        if value is None and optional:
            return None
        limits = (
            f"must be a number of seconds from 0 to {LONGEST}"
            if zero
            else f"must be a number of seconds above 0, up to {LONGEST}"
        )
        if optional:
            limits += ", or None"
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.refuse(option, value, limits)
        # comparisons are exact for any int; NaN fails the first
        if not 0 <= value <= LONGEST or (value == 0 and not zero):
            raise self.refuse(option, value, limits)
        return float(value)

    def rate(self, option: str, value: object) -> float:
        limits = "must be a number above 0, of things per second"
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.refuse(option, value, limits)
        if not 0 < value <= LONGEST:
            raise self.refuse(option, value, limits)
        return float(value)

    def whole(
        self, option: str, value: object, *, at_least: int, at_most: int, optional: bool = False
    ) -> int | None:
        if value is None and optional:
            return None
        limits = f"must be a whole number from {at_least} to {at_most}"
        if optional:
            limits += ", or None"
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.refuse(option, value, limits)
        if not at_least <= value <= at_most:
            raise self.refuse(option, value, limits)
        return value

    def flag(self, option: str, value: object, *, optional: bool = False) -> bool | None:
        if value is None and optional:
            return None
        if not isinstance(value, bool):
            allowed = "True, False or None" if optional else "True or False"
            raise self.refuse(option, value, f"must be {allowed}")
        return value

    def text(self, option: str, value: object, *, longest: int = 63) -> str:
        if not isinstance(value, str) or not value or len(value) > longest:
            raise self.refuse(option, value, f"must be a string of 1 to {longest} characters")
        if not value.isprintable():
            raise self.refuse(option, value, "must be printable")
        return value

    def propagation(self, value: object) -> Propagation:
        try:
            return Propagation(value)  # type: ignore[arg-type]
        except ValueError:
            known = ", ".join(Propagation)
            raise self.refuse("propagation", value, f"must be one of {known}") from None

    def isolation(self, value: object) -> Isolation | None:
        if value is None:
            return None
        if isinstance(value, str):
            try:
                return Isolation(value.replace("_", " ").replace("-", " ").upper())
            except ValueError:
                pass
        known = ", ".join(Isolation)
        raise self.refuse("isolation", value, f"must be one of {known}")

    def retry(self, value: object) -> Retry | None:
        if value is None or isinstance(value, Retry):
            return value
        if value is False:
            return None
        if isinstance(value, int) and not isinstance(value, bool):
            attempts = self.whole("retry", value, at_least=1, at_most=1000)
            assert attempts is not None
            return Retry(attempts=attempts)
        raise self.refuse("retry", value, "must be a number of attempts or a Retry")

    def exceptions(self, option: str, value: object) -> tuple[type[BaseException], ...]:
        given = value if isinstance(value, tuple) else (value,)
        for each in given:
            if not (isinstance(each, type) and issubclass(each, Exception)):
                raise self.refuse(
                    option, value, "must be a subclass of Exception, or a tuple of them"
                )
        return given


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeOptions:
    """What one scope promises.

    :param propagation: what happens when a scope is open already. Default ``"required"``: join it.
    :param isolation: a level of the SQL standard, in any case, with spaces or underscores. Default
        ``None``: the server's own. A level that the database lacks is refused.
    :param readonly: ``True`` for a scope that cannot write, enforced by the database; joining a
        writable scope it asks for no more than that gives, and has no effect. ``None``, the
        default, means writable when outermost, and whatever the outer scope is when it joins.
    :param timeout: seconds for the whole scope: pool wait, statements, commit, retries and pauses.
        Default ``None``: no deadline.
    :param retry: a number of attempts, a Retry, or ``None`` (the default) for a single run.
    :param name: what the scope is called in reprs, errors and snapshots. Default: the decorated
        function's name, or that of the function that opened it.
    :param commit_on: exceptions that commit nevertheless, and are raised all the same.
    """

    propagation: Propagation = Propagation.REQUIRED
    isolation: Isolation | None = None
    readonly: bool | None = None
    timeout: float | None = None
    retry: Retry | None = None
    name: str | None = None
    commit_on: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        check = Checker("ScopeOptions()")
        for name, checker in _SCOPE_CHECKS.items():
            object.__setattr__(self, name, checker(check, getattr(self, name)))

    def updated(self, given: Mapping[str, Any], *, place: str) -> ScopeOptions:
        """These options with the given ones in place of theirs, checked."""
        if not given:
            return self
        check = Checker(place)
        values = {name: getattr(self, name) for name in SCOPE_OPTION_NAMES}
        for option, value in given.items():
            if option not in values:
                known = ", ".join(SCOPE_OPTION_NAMES)
                raise check.unknown(option, "a scope", known)
            values[option] = _SCOPE_CHECKS[option](check, value)
        return ScopeOptions(**values)


SCOPE_OPTION_NAMES = tuple(f.name for f in fields(ScopeOptions))

_SCOPE_CHECKS: dict[str, Callable[[Checker, Any], Any]] = {
    "propagation": Checker.propagation,
    "isolation": Checker.isolation,
    "readonly": lambda check, value: check.flag("readonly", value, optional=True),
    "timeout": lambda check, value: check.seconds("timeout", value, optional=True),
    "retry": Checker.retry,
    "name": lambda check, value: None if value is None else check.text("name", value),
    "commit_on": lambda check, value: check.exceptions("commit_on", value),
}


def _frozen_mapping() -> Mapping[str, Any]:
    return types.MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class DatabaseOptions:
    """What one Database is: its pools, its timeouts, and the defaults of its scopes.

    :param pool_size: connections that may be out for writing at once, threads and asyncio together.
        1 to 10000, default 10. A SQLite file always has exactly one.
    :param reader_pool_size: the same for read-only scopes. Default ``None``: as ``pool_size``.
    :param pool_timeout: seconds a scope waits for a connection. Default 10.
    :param max_waiting: how many may wait at once; one more is refused. ``None`` for no bound.
        Default 1000.
    :param pool_recycle: seconds after which a connection is replaced at its next use. Default 1800.
    :param ping_after: seconds of idleness after which a connection is tested before it is lent.
        Default 1; ``None`` for never.
    :param poolclass: one of SQLAlchemy's pool classes. Default ``None``: QueuePool and its asyncio
        twin.
    :param connect_timeout: seconds for making a connection. Default 5.
    :param statement_timeout: seconds for any one statement; ``None``, the default, for no limit.
    :param lock_timeout: seconds a statement waits for a lock (PostgreSQL ``lock_timeout``, InnoDB
        ``innodb_lock_wait_timeout``, whole seconds there, SQLite ``busy_timeout``). Default 10.
    :param idle_in_transaction_timeout: seconds after which the server ends a transaction nobody
        uses (PostgreSQL ``idle_in_transaction_session_timeout``, MariaDB
        ``idle_transaction_timeout``). Default 60; ``None`` for no limit.
    :param cleanup_timeout: seconds for a rollback or close, and for a COMMIT once its task was
        cancelled; then the socket is destroyed. Default 2.
    :param name: what the Database is called in reprs, errors and snapshots. Default: the URL's
        database.
    :param application_name: what PostgreSQL shows for its connections. Default ``"hermetic"``.
    :param retries_per_second: how many retries all units together may make, on average; see
        ``retry_burst``. Keeps a storm of retries from taking the database down. Default 50.
    :param retry_burst: how many retries may be made at once beyond that. Default 200.
    :param put_off_begin: whether the BEGIN of a writing scope waits for the first statement that is
        more than a plain read of mapped objects, so that a scope that only read is one round trip
        (PostgreSQL where its default is READ COMMITTED; elsewhere without effect). Default
        ``True``.
    :param hide_parameters: keep bound parameters out of errors and logs. Default ``True``.
    :param echo: SQLAlchemy's logging of statements. Default ``False``.
    :param foreign_keys: whether SQLite enforces foreign keys. Default ``True``.
    :param journal_mode: of a SQLite file. Default ``"wal"``.
    :param synchronous: of a SQLite file: how far a commit has come when it returns. Default
        ``"full"``: it survives a power loss.
    :param connect_args: passed to the driver as they are; they win over every default.
    :param engine_options: passed to ``create_engine`` as they are.
    :param session_options: passed to ``Session`` as they are (``autoflush``, ``info``,
        ``query_cls``).
    :param scope: the defaults of every scope; its fields can be given as options of their own.
    """

    pool_size: int = 10
    reader_pool_size: int | None = None
    pool_timeout: float = 10.0
    max_waiting: int | None = 1000
    pool_recycle: float = 1800.0
    ping_after: float | None = 1.0
    poolclass: type[Pool] | None = None
    connect_timeout: float = 5.0
    statement_timeout: float | None = None
    lock_timeout: float | None = 10.0
    idle_in_transaction_timeout: float | None = 60.0
    cleanup_timeout: float = 2.0
    name: str | None = None
    application_name: str = "hermetic"
    retries_per_second: float = 50.0
    retry_burst: int = 200
    put_off_begin: bool = True
    hide_parameters: bool = True
    echo: bool = False
    foreign_keys: bool = True
    journal_mode: str = "wal"
    synchronous: str = "full"
    connect_args: Mapping[str, Any] = field(default_factory=_frozen_mapping, repr=False)
    engine_options: Mapping[str, Any] = field(default_factory=_frozen_mapping, repr=False)
    session_options: Mapping[str, Any] = field(default_factory=_frozen_mapping, repr=False)
    scope: ScopeOptions = field(default_factory=ScopeOptions)

    def __post_init__(self) -> None:
        check = Checker("DatabaseOptions()")
        for name, checker in _DATABASE_CHECKS.items():
            object.__setattr__(self, name, checker(check, name, getattr(self, name)))

    @classmethod
    def build(cls, given: Mapping[str, Any], *, place: str) -> DatabaseOptions:
        """Options from keywords, an environment or a file; scope options may stand among them."""
        check = Checker(place)
        own: dict[str, Any] = {}
        scope: dict[str, Any] = {}
        for option, value in given.items():
            if option in _DATABASE_CHECKS:
                own[option] = _DATABASE_CHECKS[option](check, option, value)
            elif option in SCOPE_OPTION_NAMES:
                scope[option] = value
            else:
                known = ", ".join(sorted({*_DATABASE_CHECKS, *SCOPE_OPTION_NAMES}))
                raise check.unknown(option, "a Database", known)
        base = own.pop("scope", ScopeOptions())
        return cls(**own, scope=base.updated(scope, place=place))


def _choice(*allowed: str) -> Callable[[Checker, str, Any], str]:
    def check_choice(check: Checker, option: str, value: Any) -> str:
        if not isinstance(value, str) or value.lower() not in allowed:
            raise check.refuse(option, value, f"must be one of {', '.join(allowed)}")
        return value.lower()

    return check_choice


def _pool_class(check: Checker, option: str, value: Any) -> type[Pool] | None:
    if value is None or (isinstance(value, type) and issubclass(value, Pool)):
        return value
    raise check.refuse(option, value, "must be a subclass of sqlalchemy.pool.Pool, or None")


def _mapping(*reserved: str) -> Callable[[Checker, str, Any], Mapping[str, Any]]:
    def check_mapping(check: Checker, option: str, value: Any) -> Mapping[str, Any]:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            # the value may hold credentials: its type says enough
            raise check.refuse(option, type(value), "must be a mapping with string keys")
        for key in reserved:
            if key in value:
                raise check.refuse(option, key, "is an option of its own, or hermetic's to set")
        return types.MappingProxyType(dict(value))

    return check_mapping


def _seconds(*, optional: bool = False) -> Callable[[Checker, str, Any], Any]:
    return lambda check, option, value: check.seconds(option, value, optional=optional)


def _whole(at_least: int, at_most: int, *, optional: bool = False) -> Callable[..., Any]:
    return lambda check, option, value: check.whole(
        option, value, at_least=at_least, at_most=at_most, optional=optional
    )


def _flag(check: Checker, option: str, value: Any) -> bool | None:
    return check.flag(option, value)


def _name(check: Checker, option: str, value: Any) -> str | None:
    return None if value is None else check.text(option, value)


def _scope(check: Checker, option: str, value: Any) -> ScopeOptions:
    if not isinstance(value, ScopeOptions):
        raise check.refuse(option, value, "must be a ScopeOptions")
    return value


_DATABASE_CHECKS: dict[str, Callable[[Checker, str, Any], Any]] = {
    "pool_size": _whole(1, 10_000),
    "reader_pool_size": _whole(1, 10_000, optional=True),
    "pool_timeout": _seconds(),
    "max_waiting": _whole(0, 1_000_000, optional=True),
    "pool_recycle": _seconds(),
    "ping_after": lambda check, option, value: check.seconds(
        option, value, optional=True, zero=True
    ),
    "poolclass": _pool_class,
    "connect_timeout": _seconds(),
    "statement_timeout": _seconds(optional=True),
    "lock_timeout": _seconds(optional=True),
    "idle_in_transaction_timeout": _seconds(optional=True),
    "cleanup_timeout": _seconds(),
    "name": _name,
    "application_name": lambda check, option, value: check.text(option, value),
    "retries_per_second": lambda check, option, value: check.rate(option, value),
    "retry_burst": _whole(0, 1_000_000),
    "put_off_begin": _flag,
    "hide_parameters": _flag,
    "echo": _flag,
    "foreign_keys": _flag,
    "journal_mode": _choice("wal", "delete", "truncate", "persist", "memory"),
    "synchronous": _choice("extra", "full", "normal", "off"),
    "connect_args": _mapping(),
    "engine_options": _mapping(
        "poolclass", "pool_size", "max_overflow", "pool_timeout", "connect_args"
    ),
    "session_options": _mapping("bind", "binds", "expire_on_commit", "twophase"),
    "scope": _scope,
}
