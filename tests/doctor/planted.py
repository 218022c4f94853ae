"""Facts of servers that are as they should be, and, for each check, of one that is not.

That servers give such facts is shown on real ones, beside this.
"""

from __future__ import annotations

import datetime
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import make_url

from hermetic.dialects.family import Driver
from hermetic.doctor.about import PRIMARY, About
from hermetic.doctor.client import ClientFacts, Installed
from hermetic.doctor.mysql import Following, MySQLFacts
from hermetic.doctor.postgresql import Busy, PostgreSQLFacts, Prepared
from hermetic.doctor.sqlite import SQLiteFacts
from hermetic.options import DatabaseOptions

TODAY: Final = datetime.date(2026, 11, 27)

# what a careful application says
RECOMMENDED: Final[Mapping[str, Any]] = types.MappingProxyType(
    {"timeout": 30.0, "statement_timeout": 20.0, "lock_timeout": 5.0}
)


def options(**given: Any) -> DatabaseOptions:
    return DatabaseOptions.build({**RECOMMENDED, **given}, place="a test")


def about(url: str, given: Mapping[str, Any] | None = None, **more: Any) -> About:
    whole: dict[str, Any] = {"database": "app", "server": PRIMARY, "today": TODAY, **more}
    return About(url=make_url(url), options=options(**(given or {})), **whole)


def _settings(known: Mapping[str, str], changed: Mapping[str, str]) -> Mapping[str, str]:
    return {**known, **changed}


# ---------------------------------------------------------------- PostgreSQL

POSTGRESQL_URL: Final = "postgresql+psycopg://app:s3cret@127.0.0.1/app"
REMOTE: Final = "postgresql+psycopg://app:s3cret@db.example/app"
_POSTGRESQL: Final = {
    "server_version_num": "150018",
    "max_connections": "100",
    "superuser_reserved_connections": "3",
    "max_prepared_transactions": "20",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "zero_damaged_pages": "off",
    "ignore_checksum_failure": "off",
    "autovacuum": "on",
    "track_counts": "on",
    "server_encoding": "UTF8",
    "standard_conforming_strings": "on",
    "search_path": '"$user", public',
    "hot_standby_feedback": "on",
}


def postgresql(
    url: str = POSTGRESQL_URL,
    given: Mapping[str, Any] | None = None,
    settings: Mapping[str, str] | None = None,
    whose: Mapping[str, Any] | None = None,
    **facts: Any,
) -> PostgreSQLFacts:
    known: dict[str, Any] = {
        "version": "PostgreSQL 15.18",
        "encrypted": True,
        "superuser": False,
        "role_limit": -1,
        "database_limit": -1,
        "connections": 3,
        "sessions": (Busy(7, "app", "web", None, 1.0),),
        "prepared": (Prepared("theirs", "app", 1.0),),
        "oldest": ("app", 200_000_000),
        "schemas": ("public",),
        "every_schema": ("public", "pg_catalog"),
        "followers": 0,
        "skew": 0.1,
    }
    return PostgreSQLFacts(
        about=about(url, given, **(whose or {})),
        settings=_settings(_POSTGRESQL, settings or {}),
        **{**known, **facts},
    )


def standby(**facts: Any) -> PostgreSQLFacts:
    known = {"in_recovery": True, "replay_age": 0.0, "receiving": True, "followers": None}
    given = {"replicas": ["postgresql+psycopg://app@two.example/app"]}
    return postgresql(
        given={**given, **facts.pop("given", {})},
        whose={"server": "127.0.0.1"},
        **{**known, **facts},
    )


_REPLICAS: Final = {"replicas": ["postgresql+psycopg://app@two.example/app"]}


@dataclass(frozen=True)
class Planted:
    """A case of one check: what it is to find. ``severity`` where it is not the usual one."""

    code: str
    facts: Callable[[], Any]
    severity: str | None = None


def _planted(code: str, made: Callable[..., Any], **given: Any) -> Planted:
    severity = given.pop("as_", None)
    return Planted(code, lambda: made(**given), severity)


_NONE: Final = {"timeout": None, "statement_timeout": None}

POSTGRESQL_CASES: Final = (
    _planted("pool-over-limit", postgresql, whose={"workers": 3, "processes": 2}),
    _planted("pool-over-limit", postgresql, given={"pool_size": 49}),
    _planted("pool-over-limit", postgresql, role_limit=15),
    _planted("pool-over-limit", postgresql, database_limit=15),
    _planted("pool-over-limit", postgresql, settings={"reserved_connections": "80"}),
    _planted("pool-over-free", postgresql, connections=90, ours=5),
    _planted("pool-both-worlds", postgresql, given={"pool_size": 40}),
    _planted("no-deadline", postgresql, given=_NONE),
    _planted("no-lock-timeout", postgresql, given={"lock_timeout": None}),
    _planted("no-idle-timeout", postgresql, given={"idle_in_transaction_timeout": None}),
    _planted("server-closes-idle", postgresql, settings={"idle_session_timeout": "60000"}),
    _planted("clock-skew", postgresql, skew=-90.0),
    _planted(
        "isolation-differs",
        postgresql,
        settings={"default_transaction_isolation": "serializable"},
    ),
    _planted(
        "serializable-replica",
        standby,
        settings={"default_transaction_isolation": "serializable"},
    ),
    _planted("durability-off", postgresql, settings={"fsync": "off"}),
    _planted("durability-off", postgresql, settings={"full_page_writes": "off"}),
    _planted("synchronous-commit-off", postgresql, settings={"synchronous_commit": "off"}),
    _planted("errors-passed-over", postgresql, settings={"zero_damaged_pages": "on"}),
    _planted("autovacuum-off", postgresql, settings={"autovacuum": "off"}),
    _planted("wraparound", postgresql, oldest=("app", 1_100_000_000)),
    _planted("wraparound", postgresql, oldest=("app", 1_700_000_000), as_="error"),
    _planted("idle-in-transaction", postgresql, sessions=(Busy(7, "app", "", 90.0, 90.0),)),
    _planted("long-transaction", postgresql, sessions=(Busy(7, "app", "", None, 1000.0),)),
    _planted("prepared-left", postgresql, prepared=(Prepared("hermetic:a", "app", 400.0),)),
    _planted(
        "two-phase-impossible",
        postgresql,
        settings={"max_prepared_transactions": "0"},
        whose={"prepares": True},
    ),
    _planted(
        "two-phase-impossible",
        postgresql,
        settings={"max_prepared_transactions": "5"},
        whose={"prepares": True},
        as_="warning",
    ),
    _planted(
        "commit-table-missing",
        postgresql,
        given={"resolve_commits": "token"},
        missing=frozenset({"hermetic_commits"}),
    ),
    _planted(
        "decision-log-missing",
        postgresql,
        whose={"keeps_log": True},
        missing=frozenset({"hermetic_units"}),
    ),
    _planted(
        "commit-status-missing",
        postgresql,
        given={"resolve_commits": "status"},
        settings={"server_version_num": "90624"},
    ),
    _planted(
        "commit-status-failover",
        postgresql,
        given={"resolve_commits": "status", **_REPLICAS},
    ),
    _planted("role-superuser", postgresql, superuser=True),
    _planted("search-path", postgresql, schemas=(), settings={"search_path": "nowhere"}),
    _planted("search-path", postgresql, settings={"search_path": "public, gone"}, as_="hint"),
    _planted("public-writable", postgresql, public_writable=True),
    _planted("encoding", postgresql, settings={"server_encoding": "SQL_ASCII"}),
    _planted("strings-nonstandard", postgresql, settings={"standard_conforming_strings": "off"}),
    _planted("tls-off", postgresql, url=f"{REMOTE}?sslmode=disable", encrypted=False),
    _planted("tls-optional", postgresql, url=f"{REMOTE}?sslmode=prefer"),
    _planted("tls-unverified", postgresql, url=f"{REMOTE}?sslmode=require"),
    _planted("tls-unverified", postgresql, url=REMOTE, given={"tls": "require"}),
    _planted(
        "tls-unverified", postgresql, url=f"{REMOTE.replace('psycopg', 'asyncpg')}?ssl=require"
    ),
    _planted("server-unsupported", postgresql, settings={"server_version_num": "130023"}),
    _planted("server-bug", postgresql, settings={"server_version_num": "150009"}),
    _planted("replica-is-primary", standby, in_recovery=False),
    _planted("primary-in-recovery", postgresql, in_recovery=True, receiving=True),
    _planted("primary-read-only", postgresql, settings={"default_transaction_read_only": "on"}),
    _planted("replication-stopped", standby, receiving=False),
    _planted("replica-lag", standby, replay_age=60.0),
    _planted("replicas-unused", postgresql, followers=2),
    _planted("standby-feedback-off", standby, settings={"hot_standby_feedback": "off"}),
    _planted("pooler-untold", postgresql, pooled=True, shared=True),
    _planted("pooler-seen", postgresql, pooled=True),
    _planted("pooler-absent", postgresql, given={"pooler": "transaction"}),
    _planted(
        "pooler-prepares",
        postgresql,
        given={"pooler": "transaction", "connect_args": {"prepare_threshold": 0}},
        pooled=True,
    ),
    _planted(
        "pooler-prepares",
        postgresql,
        url="postgresql+asyncpg://app@127.0.0.1/app?prepared_statement_cache_size=100",
        given={"pooler": "transaction"},
        pooled=True,
    ),
)

# ---------------------------------------------------------------- MariaDB

MYSQL_URL: Final = "mysql+pymysql://app:s3cret@127.0.0.1/app"
_VARIABLES: Final = {
    "max_connections": "151",
    "autocommit": "ON",
    "read_only": "OFF",
    "log_bin": "ON",
    "sync_binlog": "1",
    "binlog_format": "MIXED",
    "gtid_strict_mode": "ON",
    "innodb_flush_log_at_trx_commit": "1",
    "innodb_doublewrite": "ON",
    "innodb_rollback_on_timeout": "OFF",
    "innodb_autoinc_lock_mode": "1",
    "max_allowed_packet": "16777216",
    "wsrep_on": "OFF",
}
_SESSION: Final = {
    "max_user_connections": "0",
    "max_statement_time": "0.000000",
    "lock_wait_timeout": "86400",
    "innodb_lock_wait_timeout": "50",
    "idle_transaction_timeout": "0",
    "wait_timeout": "28800",
    "net_read_timeout": "30",
    "net_write_timeout": "60",
    "tx_isolation": "REPEATABLE-READ",
    "completion_type": "NO_CHAIN",
    "default_storage_engine": "InnoDB",
    "sql_mode": "STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION",
    "wsrep_sync_wait": "0",
}


def mysql(
    url: str = MYSQL_URL,
    given: Mapping[str, Any] | None = None,
    variables: Mapping[str, str] | None = None,
    session: Mapping[str, str] | None = None,
    status: Mapping[str, str] | None = None,
    whose: Mapping[str, Any] | None = None,
    **facts: Any,
) -> MySQLFacts:
    known: dict[str, Any] = {
        "version": "10.11.18-MariaDB-0+deb12u1",
        "encrypted": True,
        "tables": (),
        "charset": "utf8mb4",
        "transactions": ((7, 1.0),),
        "following": False,
        "skew": 0.1,
    }
    return MySQLFacts(
        about=about(url, given, **(whose or {})),
        variables=_settings(_VARIABLES, variables or {}),
        session=_settings(_SESSION, session or {}),
        status=_settings({"threads_connected": "4", "slaves_connected": "0"}, status or {}),
        **{**known, **facts},
    )


def follower(**facts: Any) -> MySQLFacts:
    known = {
        "following": Following(receives=True, applies=True, late=0.0),
        "variables": {"read_only": "ON", **facts.pop("variables", {})},
        "given": {"replicas": ["mysql+pymysql://app@two.example/app"]},
    }
    return mysql(whose={"server": "127.0.0.1"}, **{**known, **facts})


def node(**facts: Any) -> MySQLFacts:
    variables = {
        "wsrep_on": "ON",
        "binlog_format": "ROW",
        "innodb_autoinc_lock_mode": "2",
        **facts.pop("variables", {}),
    }
    status = {
        "wsrep_ready": "ON",
        "wsrep_cluster_status": "Primary",
        "wsrep_cluster_size": "3",
        **facts.pop("status", {}),
    }
    session = {"wsrep_sync_wait": "1", **facts.pop("session", {})}
    return mysql(variables=variables, status=status, session=session, **facts)


_FOLLOWED: Final = {"replicas": ["mysql+pymysql://app@two.example/app"]}

MYSQL_CASES: Final = (
    _planted("pool-over-limit", mysql, whose={"workers": 8}),
    _planted("pool-over-limit", mysql, session={"max_user_connections": "10"}),
    _planted("pool-over-free", mysql, status={"threads_connected": "140"}),
    _planted("pool-both-worlds", mysql, given={"pool_size": 60}),
    _planted("no-deadline", mysql, given=_NONE),
    _planted("no-lock-timeout", mysql, given={"lock_timeout": None}),
    _planted("no-idle-timeout", mysql, given={"idle_in_transaction_timeout": None}),
    _planted("server-closes-idle", mysql, session={"wait_timeout": "60"}),
    _planted("net-timeout-short", mysql, session={"net_write_timeout": "5"}),
    _planted("clock-skew", mysql, skew=90.0),
    _planted("isolation-differs", mysql, session={"tx_isolation": "READ-COMMITTED"}),
    _planted("isolation-read-uncommitted", mysql, session={"tx_isolation": "READ-UNCOMMITTED"}),
    _planted("autocommit-off", mysql, variables={"autocommit": "OFF"}),
    _planted("completion-type", mysql, session={"completion_type": "CHAIN"}),
    _planted("rollback-on-timeout", mysql, variables={"innodb_rollback_on_timeout": "ON"}),
    _planted("commit-not-durable", mysql, variables={"innodb_flush_log_at_trx_commit": "2"}),
    _planted("commit-not-durable", mysql, variables={"sync_binlog": "0"}),
    _planted("page-writes-unsafe", mysql, variables={"innodb_doublewrite": "OFF"}),
    _planted("engine-not-transactional", mysql, tables=(("old", "MyISAM"),)),
    _planted("engine-default", mysql, session={"default_storage_engine": "MyISAM"}),
    _planted("sql-mode-lenient", mysql, session={"sql_mode": ""}),
    _planted("charset-narrow", mysql, charset="utf8mb3"),
    _planted("charset-narrow", mysql, url=f"{MYSQL_URL}?charset=latin1"),
    _planted("packet-small", mysql, variables={"max_allowed_packet": "1048576"}),
    _planted("long-transaction", mysql, transactions=((7, 1000.0),)),
    _planted("prepared-left", mysql, transactions=((0, 400.0),)),
    _planted(
        "commit-table-missing",
        mysql,
        given={"resolve_commits": "token"},
        missing=frozenset({"hermetic_commits"}),
    ),
    _planted(
        "decision-log-missing",
        mysql,
        whose={"keeps_log": True},
        missing=frozenset({"hermetic_units"}),
    ),
    _planted("two-phase-impossible", mysql, version="10.4.34-MariaDB", whose={"prepares": True}),
    _planted("tls-off", mysql, url="mysql+pymysql://app@db.example/app", encrypted=False),
    _planted("tls-unverified", mysql, url="mysql://app@db.example/app", given={"tls": "require"}),
    _planted("server-unsupported", mysql, version="10.5.29-MariaDB"),
    _planted("server-unsupported", mysql, version="8.0.46", mariadb=False),
    _planted("server-bug", mysql, version="10.6.9-MariaDB"),
    _planted("replica-is-primary", follower, following=False),
    _planted("replica-writable", follower, variables={"read_only": "OFF"}),
    _planted("primary-read-only", mysql, variables={"read_only": "ON"}),
    _planted("replication-stopped", follower, following=Following(True, False, None)),
    _planted("replica-lag", follower, following=Following(True, True, 60.0)),
    _planted("replicas-unused", mysql, status={"slaves_connected": "2"}),
    _planted("binlog-missing", mysql, given=_FOLLOWED, variables={"log_bin": "OFF"}),
    _planted("binlog-statement", mysql, variables={"binlog_format": "STATEMENT"}),
    _planted("gtid-lenient", mysql, given=_FOLLOWED, variables={"gtid_strict_mode": "OFF"}),
    _planted("node-not-ready", node, status={"wsrep_cluster_status": "non-Primary"}),
    _planted("cluster-small", node, status={"wsrep_cluster_size": "2"}),
    _planted("node-reads-stale", node, session={"wsrep_sync_wait": "0"}),
    _planted("node-settings", node, variables={"binlog_format": "MIXED"}),
)

# ---------------------------------------------------------------- SQLite


def sqlite(
    given: Mapping[str, Any] | None = None, whose: Mapping[str, Any] | None = None, **facts: Any
) -> SQLiteFacts:
    known: dict[str, Any] = {
        "version": (3, 51, 3),
        "threads": 3,
        "path": "/srv/app.db",
        "exists": True,
        "mode": "wal",
        "filesystem": "ext4",
    }
    whole = about("sqlite:////srv/app.db", given, **(whose or {}))
    return SQLiteFacts(about=whole, **{**known, **facts})


SQLITE_CASES: Final = (
    _planted("file-out-of-reach", sqlite, folder_exists=False, exists=False),
    _planted("file-out-of-reach", sqlite, readable=False),
    _planted("file-out-of-reach", sqlite, is_database=False),
    _planted("file-out-of-reach", sqlite, writable=False),
    _planted("file-out-of-reach", sqlite, folder_writable=False),
    _planted("file-new", sqlite, exists=False, mode=None),
    _planted("filesystem-remote", sqlite, filesystem="nfs4"),
    _planted("memory-of-each", sqlite, path=None, mode=None, whose={"workers": 2}),
    _planted("memory-of-each", sqlite, path=None, mode=None, as_="hint"),
    _planted("wal-reset", sqlite, version=(3, 51, 2), whose={"workers": 2}),
    _planted("wal-reset", sqlite, version=(3, 40, 1), as_="hint"),
    _planted("savepoint-corrupts", sqlite, version=(3, 37, 1), given={"journal_mode": "wal"}),
    _planted("library-old", sqlite, version=(3, 34, 1)),
    _planted("library-unthreaded", sqlite, threads=0),
    _planted("library-unthreaded", sqlite, threads=1, as_="hint"),
    _planted("journal-unsafe", sqlite, given={"journal_mode": "memory"}, mode="rollback"),
    _planted("wal-off", sqlite, given={"journal_mode": "delete"}, mode="rollback"),
    _planted("journal-differs", sqlite, mode="rollback"),
    _planted("journal-left", sqlite, hot=True),
    _planted("synchronous-low", sqlite, given={"synchronous": "off"}),
    _planted("synchronous-low", sqlite, given={"synchronous": "normal"}, as_="hint"),
    _planted("foreign-keys-off", sqlite, given={"foreign_keys": False}),
    _planted("no-lock-timeout", sqlite, given={"lock_timeout": None}),
)

# ---------------------------------------------------------------- this side

_PSYCOPG: Final = Driver("psycopg", "psycopg", "postgresql", (3, 3, 8), "earlier ones wait")
_PSYCOPG2: Final = Driver("psycopg2", "psycopg2", "")


def _installed(driver: Driver, version: str) -> Installed:
    return Installed(driver=driver, version=version, asynchronous=False, least=driver.minimum)


def client(
    url: str = POSTGRESQL_URL,
    given: Mapping[str, Any] | None = None,
    **facts: Any,
) -> ClientFacts:
    known: dict[str, Any] = {
        "installed": (_installed(_PSYCOPG, "3.3.9"),),
        "taken": {"threads": "psycopg", "asyncio": "psycopg"},
        "sqlalchemy": "2.1.9",
        "libpq": 170_000,
        "files": 1024,
    }
    return ClientFacts(about=about(url, given), **{**known, **facts})


CLIENT_CASES: Final = (
    _planted("driver-old", client, installed=(_installed(_PSYCOPG, "3.3.7"),)),
    _planted("driver-unsound", client, taken={"asyncio": "aiomysql"}),
    _planted(
        "driver-chosen",
        client,
        url="postgresql://app@127.0.0.1/app",
        installed=(_installed(_PSYCOPG, "3.3.9"), _installed(_PSYCOPG2, "2.9.10")),
    ),
    _planted("driver-disguised", client, disguised=True, taken={"threads": "pymysql"}),
    _planted("libpq-old", client, libpq=130_010),
    _planted("sqlalchemy-old", client, sqlalchemy="2.1.6"),
    _planted("fast-paths-off", client, fast=False),
    _planted("not-compiled", client, interpreted=(3, 37)),
    _planted("files-few", client, given={"pool_size": 600}),
    _planted("clock-jumped", client, jumped=-3600.0),
    _planted("password-twice", client, given={"credentials": lambda: "s3cret"}),
    _planted("password-in-argument", client, url="postgresql://app@127.0.0.1/app?password=s3cret"),
    _planted("lock-timeout-late", client, given={"lock_timeout": 20.0}),
    _planted(
        "lock-timeout-late",
        client,
        given={"lock_timeout": 40.0, "statement_timeout": None},
        as_="hint",
    ),
    _planted("timeout-unreached", client, given={"statement_timeout": 60.0}),
    _planted("timeout-unreached", client, given={"keepalive": 700.0}),
    _planted("connect-timeout-off", client, given={"connect_args": {"connect_timeout": 0}}),
    _planted("serializable-no-retry", client, given={"isolation": "SERIALIZABLE"}),
    _planted("reset-never", client, given={"reset_connections": "never"}),
    _planted("ping-never", client, given={"ping_after": None}),
    _planted("parameters-shown", client, given={"hide_parameters": False}),
    _planted("echo", client, given={"echo": True}),
)


def later(facts: Any, **changed: Any) -> Any:
    """The same facts, of another day or another application."""
    return replace(facts, about=replace(facts.about, **changed))
