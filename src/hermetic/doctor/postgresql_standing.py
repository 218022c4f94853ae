"""What can be wrong with where a PostgreSQL server stands: primary, replica, behind a pooler."""

from __future__ import annotations

from collections.abc import Iterator

from ..dialects import tls
from .checks import Sign, option
from .findings import Severity
from .postgresql import PostgreSQLFacts
from .postgresql_state import POSTGRESQL

__all__ = ["POSTGRESQL"]

HINT, WARNING, ERROR = Severity.HINT, Severity.WARNING, Severity.ERROR


@POSTGRESQL.add(
    "replica-is-primary",
    ERROR,
    "a replica that takes writes of its own",
    why="It follows nobody: reads there show another history, and positions are never reached.",
    source="pg_is_in_recovery, PostgreSQL 15 docs",
)
def _replica_is_primary(seen: PostgreSQLFacts) -> Iterator[Sign]:
    if seen.about.is_replica and not seen.in_recovery:
        yield Sign("pg_is_in_recovery() is false", "Database(…, replicas=[…]) without it")


@POSTGRESQL.add(
    "primary-in-recovery",
    ERROR,
    "a primary that is a standby",
    why="Every write is refused (25006).",
    source="pg_is_in_recovery, PostgreSQL 15 docs",
)
def _primary_in_recovery(seen: PostgreSQLFacts) -> Iterator[Sign]:
    if not seen.about.is_replica and seen.in_recovery:
        change = "the primary's URL, or all hosts in one URL (host=a&host=b)"
        yield Sign("pg_is_in_recovery() is true", change)


@POSTGRESQL.add(
    "primary-read-only",
    ERROR,
    "a primary whose transactions are read-only by default",
    why="Every write is refused (25006).",
    source="default_transaction_read_only, PostgreSQL 15 docs",
)
def _read_only(seen: PostgreSQLFacts) -> Iterator[Sign]:
    if not seen.about.is_replica and seen.is_on("default_transaction_read_only"):
        yield Sign(
            "default_transaction_read_only = on", "ALTER ROLE … RESET, or the server's setting"
        )


@POSTGRESQL.add(
    "replication-stopped",
    ERROR,
    "a standby that receives nothing",
    why="It shows what was, and falls further behind.",
    source="pg_stat_wal_receiver, PostgreSQL 15 docs",
)
def _stopped(seen: PostgreSQLFacts) -> Iterator[Sign]:
    if seen.about.is_replica and seen.in_recovery and seen.receiving is False:
        yield Sign("no WAL receiver runs", "primary_conninfo, and the log of the standby")


@POSTGRESQL.add(
    "replica-lag",
    WARNING,
    "a replica that is late",
    why="It gets no scopes until it has caught up; reads go to the primary meanwhile.",
    source="pg_last_xact_replay_timestamp, PostgreSQL 15 docs",
)
def _lag(seen: PostgreSQLFacts) -> Iterator[Sign]:
    limit = seen.about.options.replica_lag
    if seen.about.is_replica and limit is not None and (seen.replay_age or 0.0) > limit:
        told = f"received and not shown for {seen.replay_age:.0f} s; replica_lag is {limit:g} s"
        change = "the standby's disk, its long queries, recovery_min_apply_delay"
        yield Sign(told, change)


@POSTGRESQL.add(
    "replicas-unused",
    HINT,
    "standbys that nobody reads from",
    why="Read-only scopes could go there.",
    source="pg_stat_replication, PostgreSQL 15 docs",
)
def _unused(seen: PostgreSQLFacts) -> Iterator[Sign]:
    if seen.followers and not seen.about.options.replicas and not seen.about.is_replica:
        told = f"{seen.followers} standbys follow, and there are no replicas"
        yield Sign(told, 'Database(…, replicas=["postgresql://…"])')


@POSTGRESQL.add(
    "standby-feedback-off",
    HINT,
    "reads on a standby that the primary's cleaning ends",
    why="A read that takes longer than max_standby_streaming_delay is cancelled (40001) when the "
    "primary has vacuumed what it sees.",
    source="hot_standby_feedback, PostgreSQL 15 docs",
)
def _feedback(seen: PostgreSQLFacts) -> Iterator[Sign]:
    if seen.about.is_replica and seen.in_recovery and seen.is_off("hot_standby_feedback"):
        yield Sign(
            "hot_standby_feedback = off", "hot_standby_feedback = on at the standby, or retry="
        )


# ---------------------------------------------------------------- poolers


@POSTGRESQL.add(
    "pooler-untold",
    ERROR,
    "a pooler in transaction mode that hermetic was not told of",
    why="What is set for a session (limits of time, read-only) is lost or somebody else's, and "
    "prepared statements meet connections that do not know them.",
    source="PgBouncer 1.18: the process that it told at the connect is none of the server's, and "
    "two clients at once were given the same one",
)
def _untold(seen: PostgreSQLFacts) -> Iterator[Sign]:
    if seen.shared and seen.about.options.pooler is None:
        yield Sign(
            "two connections share one process of the server", option("pooler", "transaction")
        )


@POSTGRESQL.add(
    "pooler-seen",
    HINT,
    "a pooler whose mode was not seen",
    why="In session mode nothing has to be said; in transaction mode hermetic has to be told.",
    source="PgBouncer 1.18: the process that it told at the connect is none of the server's",
)
def _pooler(seen: PostgreSQLFacts) -> Iterator[Sign]:
    if seen.pooled and not seen.shared and seen.about.options.pooler is None:
        change = 'pool_mode = session at the pooler, or Database(…, pooler="transaction")'
        yield Sign("the server's process is not the one that was told at the connect", change)


@POSTGRESQL.add(
    "pooler-absent",
    HINT,
    'pooler="transaction" without a pooler',
    why="Limits of time are sent with each BEGIN, reads take a transaction, nothing is prepared.",
)
def _absent(seen: PostgreSQLFacts) -> Iterator[Sign]:
    if not seen.pooled and seen.about.options.pooler is not None:
        yield Sign("the server's process is the one that was told", option("pooler", None))


@POSTGRESQL.add(
    "pooler-prepares",
    ERROR,
    "prepared statements behind a pooler in transaction mode",
    why="A statement that was prepared on one connection is run on another (26000, 42P05), where "
    "PgBouncer has no max_prepared_statements.",
    source="PgBouncer's FAQ; max_prepared_statements, PgBouncer 1.21",
)
def _prepares(seen: PostgreSQLFacts) -> Iterator[Sign]:
    if seen.about.options.pooler is None and not seen.shared:
        return
    told = tls.given(seen.about.url, seen.about.options)
    for name in ("prepare_threshold", "statement_cache_size", "prepared_statement_cache_size"):
        given = told.get(name)
        # of psycopg's 0 means at once, of the caches' none
        if given is not None and (name == "prepare_threshold" or str(given) != "0"):
            yield Sign(f"{name} = {given}", f"connect_args and URL without {name}")
