"""What can be wrong with connections to a PostgreSQL server, limits of time, and its promises."""

from __future__ import annotations

from collections.abc import Iterator

from . import capacity, signs
from .capacity import Limit
from .checks import Checks, Sign, option
from .findings import Severity
from .postgresql import PostgreSQLFacts

HINT, WARNING, ERROR = Severity.HINT, Severity.WARNING, Severity.ERROR
POSTGRESQL: Checks[PostgreSQLFacts] = Checks("PostgreSQL")

# of 2³¹ transaction numbers; vacuum_failsafe_age is 1.6 thousand million (PostgreSQL 14 and later)
_AGEING, _FAILSAFE = 1_000_000_000, 1_600_000_000


# ---------------------------------------------------------------- connections


def _limits(seen: PostgreSQLFacts) -> list[Limit]:
    """None behind a pooler: it is the pooler's connections that the server counts."""
    most = seen.whole("max_connections")
    if seen.pooled or seen.about.options.pooler is not None or most is None:
        return []
    kept = (seen.whole("superuser_reserved_connections") or 0) + (
        seen.whole("reserved_connections") or 0  # 16 and later
    )
    others = (seen.connections or 0) - seen.ours
    told = f"max_connections = {most}, {kept} of them reserved"
    found = [Limit(most - kept, others, told, f"max_connections above {most} (then a restart)")]
    for name, limit, now, change in (
        ("rolconnlimit", seen.role_limit, seen.of_role, "ALTER ROLE … CONNECTION LIMIT"),
        (
            "datconnlimit",
            seen.database_limit,
            seen.of_database,
            "ALTER DATABASE … CONNECTION LIMIT",
        ),
    ):
        if limit is not None and limit >= 0:
            found.append(Limit(limit, now - seen.ours, f"{name} = {limit}", change))
    return found


@POSTGRESQL.add(
    "pool-over-limit",
    ERROR,
    "pools that are larger than the server",
    why="Under load the last connections are refused (53300), in the middle of the rush.",
    source="max_connections, reserved connections, pg_roles and pg_database, PostgreSQL 15 docs",
)
def _over(seen: PostgreSQLFacts) -> Iterator[Sign]:
    yield from capacity.over(seen.about, _limits(seen))


@POSTGRESQL.add(
    "pool-over-free",
    WARNING,
    "pools for which others leave no room",
    why="Who comes last is refused (53300), which may be this application or the others.",
    source="pg_stat_activity, PostgreSQL 15 docs",
)
def _crowded(seen: PostgreSQLFacts) -> Iterator[Sign]:
    yield from capacity.crowded(seen.about, _limits(seen))


@POSTGRESQL.add(
    "pool-both-worlds",
    HINT,
    "pools that are too large only where threads and asyncio are both at work",
    why="pool_size bounds what both have out together; idle connections are kept by each.",
)
def _doubled(seen: PostgreSQLFacts) -> Iterator[Sign]:
    yield from capacity.doubled(seen.about, _limits(seen))


# ---------------------------------------------------------------- time


@POSTGRESQL.add(
    "no-deadline",
    WARNING,
    "nothing ends a statement that goes on for ever",
    why="A statement that was planned badly keeps its connection, its locks and its caller.",
    source="statement_timeout, PostgreSQL 15 docs",
)
def _no_deadline(seen: PostgreSQLFacts) -> Iterator[Sign]:
    options = seen.about.options
    limits = (options.statement_timeout, options.scope.timeout)
    if limits == (None, None) and seen.whole("statement_timeout") == 0:
        told = "no timeout, no statement_timeout, and the server's is 0"
        yield Sign(told, "Database(…, timeout=30.0, statement_timeout=30.0)")


@POSTGRESQL.add(
    "no-lock-timeout",
    WARNING,
    "nothing ends a wait for a lock",
    why="One forgotten transaction holds up everybody who needs its rows, and DDL everybody.",
    source="lock_timeout, PostgreSQL 15 docs",
)
def _no_lock_timeout(seen: PostgreSQLFacts) -> Iterator[Sign]:
    if seen.about.options.lock_timeout is None and seen.whole("lock_timeout") == 0:
        yield Sign("no lock_timeout, and the server's is 0", option("lock_timeout", 10.0))


@POSTGRESQL.add(
    "no-idle-timeout",
    WARNING,
    "nothing ends a transaction that nobody uses",
    why="It keeps its locks, and VACUUM from removing what is dead, until its client is gone.",
    source="idle_in_transaction_session_timeout, PostgreSQL 15 docs",
)
def _no_idle_timeout(seen: PostgreSQLFacts) -> Iterator[Sign]:
    name = "idle_in_transaction_session_timeout"
    if seen.about.options.idle_in_transaction_timeout is None and seen.whole(name) == 0:
        change = option("idle_in_transaction_timeout", 60.0)
        yield Sign(f"no idle_in_transaction_timeout, and the server's {name} is 0", change)


@POSTGRESQL.add(
    "server-closes-idle",
    WARNING,
    "a server that closes connections which the pool still keeps",
    why="Each such connection costs a failed ping and a new connect when it is wanted next.",
    source="idle_session_timeout, PostgreSQL 14 and later",
)
def _closes_idle(seen: PostgreSQLFacts) -> Iterator[Sign]:
    milliseconds = seen.whole("idle_session_timeout") or 0
    yield from signs.closes_idle(seen.about, "idle_session_timeout", milliseconds / 1000)


@POSTGRESQL.add(
    "clock-skew",
    WARNING,
    "a server whose clock differs from this machine's",
    why="Times that one writes and the other compares are off by as much; so are tokens' ages.",
)
def _skew(seen: PostgreSQLFacts) -> Iterator[Sign]:
    yield from signs.skewed(seen.skew)


# ---------------------------------------------------------------- promises


@POSTGRESQL.add(
    "isolation-differs",
    WARNING,
    "a default level of isolation that hermetic does not count on",
    why="Scopes have the server's level: conflicts (40001) come where nobody tries again, and no "
    "BEGIN is put off.",
    source="default_transaction_isolation, PostgreSQL 15 docs",
)
def _isolation(seen: PostgreSQLFacts) -> Iterator[Sign]:
    level = seen.settings.get("default_transaction_isolation", "read committed")
    scope = seen.about.options.scope
    if scope.isolation is None and level not in ("read committed", "read uncommitted"):
        change = option("isolation", level.upper()) + " with retry=5, or ALTER ROLE … RESET"
        yield Sign(f"default_transaction_isolation = {level}", change)


@POSTGRESQL.add(
    "serializable-replica",
    ERROR,
    "SERIALIZABLE by default, and replicas",
    why="A hot standby refuses the level (0A000): every read there fails.",
    source="'cannot use serializable mode in a hot standby', PostgreSQL 15",
)
def _serializable_replica(seen: PostgreSQLFacts) -> Iterator[Sign]:
    level = seen.settings.get("default_transaction_isolation")
    standby = seen.about.is_replica and seen.in_recovery
    if standby and level == "serializable" and seen.about.options.scope.isolation is None:
        yield Sign(
            "default_transaction_isolation = serializable on a standby",
            "ALTER SYSTEM SET default_transaction_isolation = 'repeatable read' on the replica",
        )


@POSTGRESQL.add(
    "durability-off",
    ERROR,
    "a server that may lose everything in a crash",
    why="After a power loss or a crash of the system the data may be corrupted beyond repair.",
    source="fsync and full_page_writes, PostgreSQL 15 docs",
)
def _durability(seen: PostgreSQLFacts) -> Iterator[Sign]:
    for name in ("fsync", "full_page_writes"):
        if seen.is_off(name):
            yield Sign(f"{name} = off", f"{name} = on in postgresql.conf, then pg_reload_conf()")


@POSTGRESQL.add(
    "synchronous-commit-off",
    WARNING,
    "commits that a crash undoes",
    why="A COMMIT is answered before it is on disk: what was told to be committed may be gone.",
    source="synchronous_commit, PostgreSQL 15 docs",
)
def _synchronous(seen: PostgreSQLFacts) -> Iterator[Sign]:
    if seen.is_off("synchronous_commit"):
        yield Sign(
            "synchronous_commit = off", "synchronous_commit = on (ALTER ROLE, or the server)"
        )


@POSTGRESQL.add(
    "errors-passed-over",
    ERROR,
    "a server that goes on over damage",
    why="Damaged pages are read as empty or as they are: rows vanish without an error.",
    source="zero_damaged_pages and ignore_checksum_failure, PostgreSQL 15 docs",
)
def _damage(seen: PostgreSQLFacts) -> Iterator[Sign]:
    for name in ("zero_damaged_pages", "ignore_checksum_failure"):
        if seen.is_on(name):
            yield Sign(f"{name} = on", f"{name} = off, and restore what is damaged")


@POSTGRESQL.add(
    "autovacuum-off",
    WARNING,
    "nobody cleans up",
    why="Tables grow without end, plans go by old figures, and transaction numbers run out.",
    source="autovacuum and track_counts, PostgreSQL 15 docs",
)
def _autovacuum(seen: PostgreSQLFacts) -> Iterator[Sign]:
    for name in ("autovacuum", "track_counts"):
        if seen.is_off(name):
            yield Sign(f"{name} = off", f"{name} = on in postgresql.conf, then pg_reload_conf()")


@POSTGRESQL.add(
    "wraparound",
    WARNING,
    "transaction numbers that run out (an error from 1.6 thousand million on)",
    why="Close to 2 thousand million the server takes no more writes, until it was vacuumed.",
    source="datfrozenxid, and routine vacuuming in the PostgreSQL 15 docs",
)
def _wraparound(seen: PostgreSQLFacts) -> Iterator[Sign]:
    if seen.oldest is not None and seen.oldest[1] > _AGEING:
        name, age = seen.oldest
        severity = ERROR if age > _FAILSAFE else None
        change = "end what is old (prepared and idle transactions, slots), then VACUUM (FREEZE)"
        yield Sign(f"database {name!r} is {age:,} transactions old", change, severity)
