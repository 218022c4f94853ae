"""What can be wrong with what a PostgreSQL server holds now, for whom, and its release."""

from __future__ import annotations

from collections.abc import Iterator

from ..decisions import TABLE
from . import secured, versions
from .checks import Sign, option
from .findings import Severity
from .postgresql import IDLE_SECONDS, LONG_SECONDS, PREPARED_SECONDS, PostgreSQLFacts
from .postgresql_checks import POSTGRESQL

__all__ = ["POSTGRESQL"]

HINT, WARNING, ERROR = Severity.HINT, Severity.WARNING, Severity.ERROR


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
    table = seen.about.options.commit_table
    if table in seen.missing:
        yield Sign(f"no table {table!r}", "db.create_commit_table(), once")


@POSTGRESQL.add(
    "decision-log-missing",
    ERROR,
    "a group that prepares, without its log of decisions",
    why="Every unit that touches two databases fails.",
)
def _log(seen: PostgreSQLFacts) -> Iterator[Sign]:
    if TABLE in seen.missing:
        change = "group.create_log(), once, or hermetic recover --create-log"
        yield Sign(f"no table {TABLE!r}", change)


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
