"""Frozen, checked options: of a scope, of a retry policy, of a Database.

Every value is checked when it is given; a wrong one raises InvalidOption, which names the option,
its limits and the place it came from. Nothing is corrected in silence.
"""

from __future__ import annotations

import enum
import ssl
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from sqlalchemy.pool import Pool

from .budget import Budget
from .checking import Checker
from .errors import InvalidOption
from .faults import FaultKind
from .replica import Replica, replicas
from .seen import Watch, watch
from .tenancy import Tenants, tenant, tenants


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
        FaultKind.READ_ONLY,
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
    :param priority: ``True`` for a scope that may have one of the places in the pool that
        ``pool_reserve`` keeps back, and that is served before all others: health checks, an
        administrator's work. Only the outermost scope takes a place. Default ``False``.
    :param after: a position. A read-only scope goes to a replica that has come so far, waits for
        one (``replica_wait``), or goes to the primary. Default ``None``: that of the flow it is in,
        if it is in one.
    :param position: whether the server is asked, after the COMMIT, how far it has come, which is
        ``session.position`` then: one round trip. Default ``None``: inside a flow of a Database
        that has replicas.
    :param tenant: whose rows it sees, where the Database has ``tenants``; ``NO_TENANT`` for
        nobody's. A scope inside another has the same one. Default ``None``: what ``tenants`` says.
    """

    propagation: Propagation = Propagation.REQUIRED
    isolation: Isolation | None = None
    readonly: bool | None = None
    timeout: float | None = None
    retry: Retry | None = None
    name: str | None = None
    commit_on: tuple[type[BaseException], ...] = ()
    priority: bool = False
    after: str | None = None
    position: bool | None = None
    tenant: Any = None

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


def _propagation(check: Checker, value: object) -> Propagation:
    try:
        return Propagation(value)  # type: ignore[arg-type]
    except ValueError:
        known = ", ".join(Propagation)
        raise check.refuse("propagation", value, f"must be one of {known}") from None


def _isolation(check: Checker, value: object) -> Isolation | None:
    if value is None:
        return None
    if isinstance(value, str):
        try:
            return Isolation(value.replace("_", " ").replace("-", " ").upper())
        except ValueError:
            pass
    known = ", ".join(Isolation)
    raise check.refuse("isolation", value, f"must be one of {known}")


def _retry(check: Checker, value: object) -> Retry | None:
    if value is None or isinstance(value, Retry):
        return value
    if value is False:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        attempts = check.whole("retry", value, at_least=1, at_most=1000)
        assert attempts is not None
        return Retry(attempts=attempts)
    raise check.refuse("retry", value, "must be a number of attempts or a Retry")


_SCOPE_CHECKS: dict[str, Callable[[Checker, Any], Any]] = {
    "propagation": _propagation,
    "isolation": _isolation,
    "readonly": lambda check, value: check.flag("readonly", value, optional=True),
    "timeout": lambda check, value: check.seconds("timeout", value, optional=True),
    "retry": _retry,
    "name": lambda check, value: None if value is None else check.text("name", value),
    "commit_on": lambda check, value: check.exceptions("commit_on", value),
    "priority": lambda check, value: check.flag("priority", value),
    # what it says is the family's to tell, and long ones are MySQL's
    "after": lambda check, value: (
        None if value is None else check.text("after", value, longest=1000)
    ),
    "position": lambda check, value: check.flag("position", value, optional=True),
    "tenant": tenant,
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
    :param pool_recycle: seconds after which a connection is replaced at its next use; for each one
        less, by chance, by up to a tenth. Default 1800.
    :param pool_min: connections of each pool in use that are kept ready, from its first one on.
        Default 0.
    :param pool_idle: seconds of idleness after which a connection is closed, where there are more
        than ``pool_min``. Default 600; ``None`` for never.
    :param keepalive: seconds of idleness after which a connection is used for a moment, so that no
        firewall takes it for dead. Default ``None``: never.
    :param pool_reserve: how many of the places are for scopes with ``priority=True`` alone. Default
        0. The one writer of a SQLite file is for all.
    :param shed_after: seconds; when for two seconds nobody got a connection who had waited less,
        those who have waited twice as long are refused with PoolOverloaded, until the wait is
        shorter. Default ``None``: everybody waits up to ``pool_timeout``.
    :param budget: a Budget, shared with other Databases: what all of them may have out together.
        Default ``None``.
    :param tenants: a SchemaPerTenant, RowSecurity or DatabasePerTenant: how the rows of tenants are
        kept apart. Default ``None``: there are none.
    :param cache: a ``hermetic.Cache``: which reads are cached, and where. Default ``None``: none.
    :param credentials: a function that is called for each new connection, and gives a password, or
        a mapping of ``username`` and ``password``; for asyncio it may be a coroutine function. Once
        more when the server refuses what it gave. Default ``None``: what the URL says.
    :param ping_after: seconds of idleness after which a connection is tested before it is lent.
        Default 1; ``None`` for never.
    :param reset_connections: when a connection that comes back is set back to how it was born.
        Default ``"suspected"``: after code that a statement's text does not show (functions and
        procedures of one's own, ``DO``, several statements in one string). ``"always"``: after
        every statement, which catches what triggers do too. ``"never"``: not at all. Where that
        cannot be done for sure (mysqlclient, psycopg2) the connection is replaced.
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
    :param tls: how connections are secured: ``"verify"`` (TLS, with a certificate of a known
        authority for this very host), ``"require"`` (TLS, nothing verified), ``"off"``, the path of
        a file with the authority's certificate, or an ``ssl.SSLContext``. Default ``None``:
        ``"verify"`` for a server on another host, unless the URL or ``connect_args`` say
        otherwise; the driver's default on this one.
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
    :param pooler: ``"transaction"`` where a pooler stands between this program and PostgreSQL that
        lends its connections for one transaction each (PgBouncer's ``pool_mode = transaction``):
        every setting goes with its transaction, nothing is prepared, and what would stay on a
        connection is refused. Default ``None``: connections are one's own.
    :param resolve_commits: what a COMMIT whose answer was lost is proved by, so that it ends
        committed or not committed: ``"token"``, a row in ``commit_table`` (any database; make it
        with ``create_commit_table``), or ``"status"`` (PostgreSQL: the transaction's number, no
        table, and no answer after a failover). Each costs a round trip before a COMMIT. Default
        ``None``: CommitUnknown is raised.
    :param replicas: URLs of servers that follow this one, or ``Replica`` records of them; read-only
        scopes go there. From text: separated by spaces. Default ``()``.
    :param zone: where this program is: replicas of the same zone come first. Default ``None``.
    :param replica_lag: seconds; a replica that shows older data than this gets no scopes, until it
        has caught up. ``None`` for no limit. Default 10.
    :param replica_wait: seconds for which a scope that needs a position waits for a replica to come
        so far, before it goes to the primary; half of what is left until its deadline at most.
        Default 0.5.
    :param replica_fallback: whether a read-only scope goes to the primary where no replica will do.
        Otherwise it is refused with NoReplica. Default ``True``.
    :param failover_wait: seconds for which a scope with a retry policy, of which nothing was sent,
        waits for a primary that can be connected to, in one attempt, where the URL names several
        hosts (PostgreSQL) or there are replicas. Default 10; 0 fails that attempt at once.
    :param probe_every: seconds between two looks at each server of a Database that has replicas.
        Default 1.
    :param resolve_timeout: seconds for asking, where the scope has no deadline that is sooner.
        Default 10.
    :param commit_table: the table of tokens. Default ``"hermetic_commits"``.
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
    :param watch: ``True`` to watch every scope and find what should not be, a Watch with limits of
        one's own, or ``"strict"`` to have findings raised, in tests. Default ``None``.
    :param scope: the defaults of every scope; its fields can be given as options of their own.
    """

    pool_size: int = 10
    reader_pool_size: int | None = None
    pool_timeout: float = 10.0
    max_waiting: int | None = 1000
    pool_recycle: float = 1800.0
    pool_min: int = 0
    pool_idle: float | None = 600.0
    keepalive: float | None = None
    pool_reserve: int = 0
    shed_after: float | None = None
    budget: Budget | None = None
    tenants: Tenants | None = None
    cache: Any = None
    credentials: Callable[[], Any] | None = field(default=None, repr=False)
    ping_after: float | None = 1.0
    reset_connections: str = "suspected"
    poolclass: type[Pool] | None = None
    connect_timeout: float = 5.0
    statement_timeout: float | None = None
    lock_timeout: float | None = 10.0
    idle_in_transaction_timeout: float | None = 60.0
    cleanup_timeout: float = 2.0
    tls: str | Path | ssl.SSLContext | None = None
    name: str | None = None
    application_name: str = "hermetic"
    retries_per_second: float = 50.0
    retry_burst: int = 200
    put_off_begin: bool = True
    pooler: str | None = None
    resolve_commits: str | None = None
    replicas: tuple[Replica, ...] = ()
    zone: str | None = None
    replica_lag: float | None = 10.0
    replica_wait: float = 0.5
    replica_fallback: bool = True
    failover_wait: float = 10.0
    probe_every: float = 1.0
    resolve_timeout: float = 10.0
    commit_table: str = "hermetic_commits"
    hide_parameters: bool = True
    echo: bool = False
    foreign_keys: bool = True
    journal_mode: str = "wal"
    synchronous: str = "full"
    connect_args: Mapping[str, Any] = field(default_factory=_frozen_mapping, repr=False)
    engine_options: Mapping[str, Any] = field(default_factory=_frozen_mapping, repr=False)
    session_options: Mapping[str, Any] = field(default_factory=_frozen_mapping, repr=False)
    watch: Watch | None = None
    scope: ScopeOptions = field(default_factory=ScopeOptions)

    def __post_init__(self) -> None:
        check = Checker("DatabaseOptions()")
        for name, checker in _DATABASE_CHECKS.items():
            object.__setattr__(self, name, checker(check, name, getattr(self, name)))
        smallest = min(self.pool_size, self.reader_pool_size or self.pool_size)
        if self.pool_reserve >= smallest:
            problem = "must leave a place in each pool for everybody"
            raise check.refuse("pool_reserve", self.pool_reserve, problem)
        if self.pool_min > self.pool_size:
            raise check.refuse("pool_min", self.pool_min, "must not be more than pool_size")
        zones = sorted({replica.zone for replica in self.replicas if replica.zone is not None})
        if self.replicas and self.zone is not None and self.zone not in zones:
            known = ", ".join(zones) or "none"
            raise check.refuse("zone", self.zone, f"is no replica's; known: {known}")

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


def _tls(check: Checker, option: str, value: Any) -> str | Path | ssl.SSLContext | None:
    if value is None or isinstance(value, ssl.SSLContext):
        return value
    if isinstance(value, str) and value.lower() in ("verify", "require", "off"):
        return value.lower()
    if isinstance(value, (str, Path)) and Path(value).is_file():
        return Path(value)
    limits = "must be verify, require, off, the path of a file of certificates, or an SSLContext"
    raise check.refuse(option, value, limits)


def _pool_class(check: Checker, option: str, value: Any) -> type[Pool] | None:
    if value is None or (isinstance(value, type) and issubclass(value, Pool)):
        return value
    raise check.refuse(option, value, "must be a subclass of sqlalchemy.pool.Pool, or None")


def _budget(check: Checker, option: str, value: Any) -> Budget | None:
    if value is None or isinstance(value, Budget):
        return value
    raise check.refuse(option, value, "must be a Budget, or None")


def _provider(check: Checker, option: str, value: Any) -> Callable[[], Any] | None:
    if value is None or callable(value):
        provider: Callable[[], Any] | None = value
        return provider
    # it may be a password: its type says enough
    raise check.refuse(option, type(value), "must be callable, or None")


def _cache(check: Checker, option: str, value: Any) -> Any:
    if value is None or hasattr(value, "bind"):
        return value
    raise check.refuse(option, type(value), "must be a hermetic.Cache, or None")


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


def _engine_options(check: Checker, option: str, value: Any) -> Mapping[str, Any]:
    found = _mapping("poolclass", "pool_size", "max_overflow", "pool_timeout", "connect_args")(
        check, option, value
    )
    inner = found.get("execution_options")
    for given in (found, inner if isinstance(inner, Mapping) else {}):
        level = given.get("isolation_level")
        if isinstance(level, str) and level.upper() == "AUTOCOMMIT":
            # what a scope has written would stay, and what holds for a transaction would be gone
            limits = "must not put scopes into AUTOCOMMIT"
            hint = "Open a scope with propagation='not_supported' for what needs no transaction."
            raise check.refuse(option, "isolation_level", limits, hint)
    return found


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
    "pool_min": _whole(0, 10_000),
    "pool_idle": _seconds(optional=True),
    "keepalive": _seconds(optional=True),
    "pool_reserve": _whole(0, 9_999),
    "shed_after": _seconds(optional=True),
    "budget": _budget,
    "credentials": _provider,
    "tenants": tenants,
    "cache": _cache,
    "ping_after": lambda check, option, value: check.seconds(
        option, value, optional=True, zero=True
    ),
    "reset_connections": _choice("suspected", "always", "never"),
    "poolclass": _pool_class,
    "watch": watch,
    "connect_timeout": _seconds(),
    "statement_timeout": _seconds(optional=True),
    "lock_timeout": _seconds(optional=True),
    "idle_in_transaction_timeout": _seconds(optional=True),
    "cleanup_timeout": _seconds(),
    "tls": _tls,
    "name": _name,
    "application_name": lambda check, option, value: check.ascii(option, value),
    "retries_per_second": lambda check, option, value: check.rate(option, value),
    "retry_burst": _whole(0, 1_000_000),
    "put_off_begin": _flag,
    "pooler": lambda check, option, value: (
        None if value is None else _choice("transaction")(check, option, value)
    ),
    "resolve_commits": lambda check, option, value: (
        None if value is None else _choice("token", "status")(check, option, value)
    ),
    "replicas": replicas,
    "zone": _name,
    "replica_lag": _seconds(optional=True),
    "replica_wait": lambda check, option, value: check.seconds(option, value, zero=True),
    "replica_fallback": _flag,
    "failover_wait": lambda check, option, value: check.seconds(option, value, zero=True),
    "probe_every": _seconds(),
    "resolve_timeout": _seconds(),
    "commit_table": lambda check, option, value: check.identifier(option, value),
    "hide_parameters": _flag,
    "echo": _flag,
    "foreign_keys": _flag,
    "journal_mode": _choice("wal", "delete", "truncate", "persist", "memory"),
    "synchronous": _choice("extra", "full", "normal", "off"),
    "connect_args": _mapping(),
    "engine_options": _engine_options,
    "session_options": _mapping("bind", "binds", "expire_on_commit", "twophase"),
    "scope": _scope,
}
