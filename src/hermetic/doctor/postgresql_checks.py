"""What can be wrong with a PostgreSQL server, and with how a Database uses it."""

from __future__ import annotations

from collections.abc import Iterator

from . import capacity, secured, versions
from .capacity import Limit
from .checks import Checks, Sign, option
from .findings import Severity
from .postgresql import IDLE_SECONDS, LONG_SECONDS, PREPARED_SECONDS, PostgreSQLFacts

HINT, WARNING, ERROR = Severity.HINT, Severity.WARNING, Severity.ERROR
POSTGRESQL: Checks[PostgreSQLFacts] = Checks("PostgreSQL")

# of 2³¹ transaction numbers; vacuum_failsafe_age is 1.6 thousand million (PostgreSQL 14 and later)
_AGEING, _FAILSAFE = 1_000_000_000, 1_600_000_000
_SKEW_SECONDS = 30.0


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
    yield from closes_idle(seen, "idle_session_timeout", milliseconds / 1000)


def closes_idle(seen: PostgreSQLFacts, name: str, seconds: float) -> Iterator[Sign]:
    options = seen.about.options
    kept = min(options.pool_idle or options.pool_recycle, options.pool_recycle)
    if 0 < seconds < kept and (options.keepalive is None or options.keepalive >= seconds):
        told = f"{name} is {seconds:g} s, and the pool keeps idle connections for {kept:g} s"
        yield Sign(told, option("pool_idle", max(1.0, seconds / 2)))


@POSTGRESQL.add(
    "clock-skew",
    WARNING,
    "a server whose clock differs from this machine's",
    why="Times that one writes and the other compares are off by as much; so are tokens' ages.",
)
def _skew(seen: PostgreSQLFacts) -> Iterator[Sign]:
    if seen.skew is not None and abs(seen.skew) > _SKEW_SECONDS:
        told = (
            f"the server's clock is {abs(seen.skew):.0f} s {'ahead' if seen.skew > 0 else 'behind'}"
        )
        yield Sign(told, "let both machines be set by NTP")


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


# ---------------------------------------------------------------- what is open now


@POSTGRESQL.add(
    "idle-in-transaction",
    WARNING,
    "transactions that are open, and that nobody uses",
    why="They keep their locks, and VACUUM from removing what is dead.",
    source="pg_stat_activity, PostgreSQL 15 docs",
)
def _idle(seen: PostgreSQLFacts) -> Iterator[Sign]:
    for each in seen.sessions or ():
        if each.idle is not None and each.idle > IDLE_SECONDS:
            who = f"process {each.pid} of role {each.role!r} ({each.application or 'unnamed'})"
            change = "idle_in_transaction_session_timeout for that role; now: "
            told = f"{who} is idle in its transaction for {each.idle:.0f} s"
            yield Sign(told, f"{change}SELECT pg_terminate_backend({each.pid})")


@POSTGRESQL.add(
    "long-transaction",
    WARNING,
    "transactions that go on for a quarter of an hour and more",
    why="VACUUM removes nothing that died since they began, in the whole database.",
    source="pg_stat_activity, PostgreSQL 15 docs",
)
def _long(seen: PostgreSQLFacts) -> Iterator[Sign]:
    for each in seen.sessions or ():
        if each.age > LONG_SECONDS and (each.idle is None or each.idle <= IDLE_SECONDS):
            who = f"process {each.pid} of role {each.role!r} ({each.application or 'unnamed'})"
            yield Sign(
                f"{who} has its transaction open for {each.age:.0f} s", option("timeout", 60.0)
            )


@POSTGRESQL.add(
    "prepared-left",
    WARNING,
    "prepared transactions that nobody ends",
    why="They keep their locks, through restarts too, and VACUUM from removing what is dead.",
    source="pg_prepared_xacts, PostgreSQL 15 docs",
)
def _prepared(seen: PostgreSQLFacts) -> Iterator[Sign]:
    for each in seen.prepared or ():
        if each.age > PREPARED_SECONDS:
            ours = each.name.startswith("hermetic:")
            change = (
                "hermetic recover" if ours else "COMMIT PREPARED or ROLLBACK PREPARED by its owner"
            )
            told = f"{each.name!r} in database {each.database!r}, since {each.age:.0f} s"
            yield Sign(told, change)


@POSTGRESQL.add(
    "two-phase-impossible",
    ERROR,
    "a group that prepares, on a server that does not (a warning where there are too few places)",
    why="Every unit that touches two databases is refused.",
    source="max_prepared_transactions, PostgreSQL 15 docs",
)
def _two_phase(seen: PostgreSQLFacts) -> Iterator[Sign]:
    most = seen.whole("max_prepared_transactions")
    if not seen.about.prepares or most is None or seen.about.is_replica:
        return
    wanted = seen.about.options.pool_size * seen.about.programs
    if most < wanted:
        change = f"max_prepared_transactions = {max(wanted, 20)} in postgresql.conf, then a restart"
        told = f"max_prepared_transactions = {most}, and {wanted} units may be under way"
        yield Sign(told, change, WARNING if most else None)


# ---------------------------------------------------------------- lost answers


@POSTGRESQL.add(
    "commit-table-missing",
    ERROR,
    'resolve_commits="token" without its table',
    why="Every COMMIT of a writing scope fails.",
)
def _commit_table(seen: PostgreSQLFacts) -> Iterator[Sign]:
    if seen.commit_table is False:
        yield Sign(
            f"no table {seen.about.options.commit_table!r}", "db.create_commit_table(), once"
        )


@POSTGRESQL.add(
    "commit-status-missing",
    ERROR,
    'resolve_commits="status" on a server that cannot tell',
    why="pg_xact_status is there from PostgreSQL 10 on.",
    source="PostgreSQL 10 release notes",
)
def _status(seen: PostgreSQLFacts) -> Iterator[Sign]:
    if seen.about.options.resolve_commits == "status" and 0 < seen.number < 100_000:
        yield Sign(f"server version {seen.number}", option("resolve_commits", "token"))


@POSTGRESQL.add(
    "commit-status-failover",
    HINT,
    'resolve_commits="status" where another server may take over',
    why="A promoted standby does not know what became of a transaction's number on the old one: "
    "the outcome stays unknown.",
)
def _status_failover(seen: PostgreSQLFacts) -> Iterator[Sign]:
    options = seen.about.options
    if options.resolve_commits == "status" and (options.replicas or seen.followers):
        yield Sign("the server has standbys", option("resolve_commits", "token"))


# ---------------------------------------------------------------- who and where


@POSTGRESQL.add(
    "role-superuser",
    WARNING,
    "an application that is a superuser",
    why="Nothing holds it back: row security, ownership, files of the server's machine.",
    source="role attributes, PostgreSQL 15 docs",
)
def _superuser(seen: PostgreSQLFacts) -> Iterator[Sign]:
    if seen.superuser:
        yield Sign("the role is a superuser", "a role of the application's own, with what it needs")


@POSTGRESQL.add(
    "search-path",
    WARNING,
    "a search_path that leads nowhere (a hint where a part of it does)",
    why="Tables without a schema's name are not found, or are made in another place.",
    source="search_path and current_schemas, PostgreSQL 15 docs",
)
def _search_path(seen: PostgreSQLFacts) -> Iterator[Sign]:
    path = seen.settings.get("search_path")
    if seen.schemas is None or path is None:
        return
    if not seen.schemas:
        yield Sign(f"search_path = {path}: none of it is there", "ALTER ROLE … SET search_path = …")
        return
    names = [part.strip().strip('"') for part in path.split(",")]
    missing = [name for name in names if name and name != "$user" and name not in seen.every_schema]
    if missing:
        told = f"search_path = {path}: there is no {', '.join(missing)}"
        yield Sign(told, "ALTER ROLE … SET search_path = …", HINT)


@POSTGRESQL.add(
    "public-writable",
    HINT,
    "a schema public in which everybody may create",
    why="Any role can put a function or table of its own where the application looks "
    "(CVE-2018-1058).",
    source="PostgreSQL 15 release notes, which took the right away by default",
)
def _public(seen: PostgreSQLFacts) -> Iterator[Sign]:
    if seen.public_writable and "public" in (seen.schemas or ()):
        yield Sign(
            "CREATE on schema public for PUBLIC", "REVOKE CREATE ON SCHEMA public FROM PUBLIC"
        )


@POSTGRESQL.add(
    "encoding",
    WARNING,
    "a database without a character set",
    why="SQL_ASCII takes any bytes: what one client writes another cannot read.",
    source="character sets, PostgreSQL 15 docs",
)
def _encoding(seen: PostgreSQLFacts) -> Iterator[Sign]:
    if seen.settings.get("server_encoding") == "SQL_ASCII":
        yield Sign("server_encoding = SQL_ASCII", "CREATE DATABASE … ENCODING 'UTF8', and move")


@POSTGRESQL.add(
    "strings-nonstandard",
    WARNING,
    "backslashes that escape in ordinary strings",
    why="What was quoted by the standard's rules is read otherwise, up to injection.",
    source="standard_conforming_strings, PostgreSQL 15 docs",
)
def _strings(seen: PostgreSQLFacts) -> Iterator[Sign]:
    if seen.is_off("standard_conforming_strings"):
        change = "standard_conforming_strings = on (ALTER ROLE, or the server)"
        yield Sign("standard_conforming_strings = off", change)


@POSTGRESQL.add(
    "tls-off",
    ERROR,
    "a connection to another host without TLS",
    why="Everybody on the way can read and change what is sent.",
    source="libpq's ssl_in_use, or pg_stat_ssl, PostgreSQL 15 docs",
)
def _plain(seen: PostgreSQLFacts) -> Iterator[Sign]:
    yield from secured.plain(seen.about, seen.encrypted)


@POSTGRESQL.add(
    "tls-optional",
    WARNING,
    "TLS where it is offered",
    why="Who stands in the way offers none, and is talked to without.",
    source="sslmode, PostgreSQL 15 docs",
)
def _optional(seen: PostgreSQLFacts) -> Iterator[Sign]:
    yield from secured.optional(seen.about, seen.encrypted)


@POSTGRESQL.add(
    "tls-unverified",
    WARNING,
    "a certificate that nobody looks at",
    why="Whoever stands in the way can be at the other end.",
    source="sslmode, PostgreSQL 15 docs",
)
def _unverified(seen: PostgreSQLFacts) -> Iterator[Sign]:
    yield from secured.unverified(seen.about, seen.encrypted)


# ---------------------------------------------------------------- releases


@POSTGRESQL.add(
    "server-unsupported",
    WARNING,
    "a release that is not mended any more",
    why="Its bugs and holes stay.",
    source="doctor/versions.py, with its sources",
)
def _unsupported(seen: PostgreSQLFacts) -> Iterator[Sign]:
    end = versions.ended("PostgreSQL", seen.numbers, seen.about.today)
    if end is not None:
        yield Sign(f"{seen.version}, supported until {end}", "a later major release")


@POSTGRESQL.add(
    "server-bug",
    ERROR,
    "a release with a known bug that matters here",
    why="See the release notes that are named.",
    source="doctor/versions.py, with its sources",
)
def _bugs(seen: PostgreSQLFacts) -> Iterator[Sign]:
    for bug in versions.bugs("PostgreSQL", seen.numbers):
        yield Sign(f"{seen.version}: {bug.what}", f"{versions.shown(bug.mended)}; see {bug.source}")
