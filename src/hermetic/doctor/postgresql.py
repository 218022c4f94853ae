"""PostgreSQL, as it is seen by a user who may be allowed little.

Read on PostgreSQL 15; the views are those of 10 and later. ``pg_stat_activity`` shows everybody
that a session is there and whose it is; what it does it shows to its own role, and to members of
``pg_read_all_stats`` (PostgreSQL 15 docs). ``pg_settings`` has the values of this very
session, with what ALTER ROLE and ALTER DATABASE say.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from ..clock import monotonic
from ..engine import Server
from .about import About
from .look import Look, connected, secrets_of

# a transaction that nobody uses, and one that goes on for so long, in seconds
IDLE_SECONDS = 60.0
LONG_SECONDS = 900.0
# a prepared transaction that nobody ends: recoveries wait for 60 s by themselves
PREPARED_SECONDS = 300.0

# as sessions begin: this one has a limit of its own
_SETTINGS = "SELECT name, reset_val FROM pg_catalog.pg_settings"
_SERVER = (
    "SELECT pg_is_in_recovery(), pg_backend_pid(), extract(epoch FROM clock_timestamp())::float8, "
    "version()"
)
_ROLE = (
    "SELECT r.rolsuper, r.rolconnlimit, d.datconnlimit, "
    "r.rolsuper OR pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') "
    "FROM pg_catalog.pg_roles r, pg_catalog.pg_database d "
    "WHERE r.rolname = current_user AND d.datname = current_database()"
)
# this connection is not counted
_CONNECTIONS = (
    "SELECT count(*), count(*) FILTER (WHERE datname = current_database()), "
    "count(*) FILTER (WHERE usename = current_user), "
    "count(*) FILTER (WHERE datname = current_database() AND usename = current_user "
    "AND application_name = current_setting('application_name')) "
    "FROM pg_catalog.pg_stat_activity "
    "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
)
_SESSIONS = (
    "SELECT pid, usename, coalesce(application_name, ''), coalesce(state, ''), "
    "extract(epoch FROM clock_timestamp() - state_change)::float8, "
    "extract(epoch FROM clock_timestamp() - xact_start)::float8 "
    "FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend' "
    "AND xact_start IS NOT NULL AND pid <> pg_backend_pid()"
)
_PREPARED = (
    "SELECT gid, database, extract(epoch FROM clock_timestamp() - prepared)::float8 "
    "FROM pg_catalog.pg_prepared_xacts"
)
_WRAPAROUND = (
    "SELECT datname, age(datfrozenxid) FROM pg_catalog.pg_database ORDER BY 2 DESC LIMIT 1"
)
_SCHEMAS = (
    "SELECT current_schemas(false)::text[], "
    "ARRAY(SELECT nspname::text FROM pg_catalog.pg_namespace), "
    "EXISTS (SELECT FROM pg_catalog.pg_namespace n, aclexplode(n.nspacl) a "
    "WHERE n.nspname = 'public' AND a.grantee = 0 AND a.privilege_type = 'CREATE')"
)
_FOLLOWERS = (
    "SELECT count(*) FROM pg_catalog.pg_stat_replication WHERE state = 'streaming' OR state IS NULL"
)
# what has been received and is not shown yet; the time alone grows where nothing is written
_BEHIND = (
    "SELECT CASE WHEN pg_last_wal_receive_lsn() IS NOT DISTINCT FROM pg_last_wal_replay_lsn() "
    "THEN 0 ELSE extract(epoch FROM clock_timestamp() - "
    "coalesce(pg_last_xact_replay_timestamp(), pg_postmaster_start_time())) END::float8, "
    "(SELECT count(*) FROM pg_catalog.pg_stat_wal_receiver)"
)
_ENCRYPTED = "SELECT ssl FROM pg_catalog.pg_stat_ssl WHERE pid = pg_backend_pid()"
_TABLE = "SELECT to_regclass('{}')::text"


@dataclass(frozen=True, slots=True)
class Busy:
    """A session with a transaction open, in seconds."""

    pid: int
    role: str
    application: str
    idle: float | None
    age: float


@dataclass(frozen=True, slots=True)
class Prepared:
    """A transaction that was prepared, in seconds ago."""

    name: str
    database: str
    age: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgreSQLFacts:
    """What was read of one server. ``None`` is what could not be read.

    :param pooled: whether a pooler stands before it.
    :param shared: whether two clients were given one backend, one after the other.
    :param skew: seconds by which the server's clock is ahead of this machine's.
    :param missing: tables of hermetic's own that have to be there, and are not.
    :param ours: connections that are there already of the same role, database and application.
    """

    about: About
    settings: Mapping[str, str]
    version: str = ""
    in_recovery: bool = False
    pooled: bool = False
    shared: bool = False
    encrypted: bool | None = None
    superuser: bool | None = None
    role_limit: int | None = None
    database_limit: int | None = None
    connections: int | None = None
    of_database: int = 0
    of_role: int = 0
    ours: int = 0
    sessions: tuple[Busy, ...] | None = None
    prepared: tuple[Prepared, ...] | None = None
    oldest: tuple[str, int] | None = None
    schemas: tuple[str, ...] | None = None
    every_schema: tuple[str, ...] = ()
    public_writable: bool = False
    followers: int | None = None
    replay_age: float | None = None
    receiving: bool | None = None
    skew: float | None = None
    missing: frozenset[str] = frozenset()

    @property
    def number(self) -> int:
        """The server's version, as 150004."""
        return int(self.settings.get("server_version_num", 0))

    @property
    def numbers(self) -> tuple[int, ...]:
        return self.number // 10000, self.number % 10000

    def whole(self, setting: str) -> int | None:
        """A setting that is a number, in its own unit."""
        text = self.settings.get(setting)
        return int(text) if text is not None and text.lstrip("-").isdigit() else None

    def is_off(self, setting: str) -> bool:
        return self.settings.get(setting) == "off"

    def is_on(self, setting: str) -> bool:
        return self.settings.get(setting) == "on"


def read(
    server: Server, about: About, until: float
) -> tuple[PostgreSQLFacts, list[tuple[str, str]]]:
    """The facts of a server, and what it would not tell."""
    with connected(server, until, _tame) as connection:
        look = _look(connection, server, until)
        found = {**_of_server(look, connection), **_of_role(look), **_of_sessions(look)}
        found |= _of_replication(look, recovering=found["in_recovery"])
        found |= _of_schemas(look, about)
        if found["pooled"]:
            found["shared"] = _shares(server, look, until)
        return PostgreSQLFacts(about=about, **found), look.refused


def _tame(dialect: Any, dbapi: Any) -> None:
    """Have nothing begun that could write, and nothing prepared: a pooler may be there. A standby
    whose default is SERIALIZABLE answers nothing at all at that level (PostgreSQL 15, 0A000).
    """
    dialect.set_readonly(dbapi, True)
    dialect.set_isolation_level(dbapi, "READ COMMITTED")
    if hasattr(dbapi, "prepare_threshold"):
        dbapi.prepare_threshold = None


def _look(connection: Connection, server: Server, until: float) -> Look:
    left = max(1, math.floor((until - monotonic()) * 1000))
    return Look(connection, secrets_of(server), f"SET LOCAL statement_timeout = {left}")


def _of_server(look: Look, connection: Connection) -> dict[str, Any]:
    before = time.time()
    in_recovery, pid, clock, version = look.needed("itself", _SERVER)
    middle = (before + time.time()) / 2
    settings = dict(look.rows("settings", _SETTINGS) or ())
    raw: Any = connection.connection.driver_connection
    info = getattr(raw, "info", None)
    told = raw.get_server_pid() if info is None else info.backend_pid
    # behind a pooler the server's own view is of the pooler's connection
    encrypted = getattr(
        getattr(raw, "pgconn", None), "ssl_in_use", getattr(info, "ssl_in_use", None)
    )
    if encrypted is None:
        row = look.row("TLS", _ENCRYPTED)
        encrypted = None if row is None else bool(row[0])
    if told != pid:
        look.refuse("pools against the pooler's limits", "its console alone tells of them")
    return {
        "in_recovery": in_recovery,
        "settings": settings,
        "version": str(version).partition(" on ")[0],
        "pooled": told != pid,
        "encrypted": encrypted,
        "skew": clock - middle,
    }


def _of_role(look: Look) -> dict[str, Any]:
    row = look.row("the role", _ROLE)
    if row is None:
        return {}
    superuser, role_limit, database_limit, sees_all = row
    if not sees_all:
        look.refuse(
            "what other roles' sessions do",
            "the role is no member of pg_read_all_stats: GRANT pg_read_all_stats TO it, or examine "
            "as another role",
        )
    return {"superuser": superuser, "role_limit": role_limit, "database_limit": database_limit}


def _of_sessions(look: Look) -> dict[str, Any]:
    found: dict[str, Any] = {}
    counted = look.row("connections", _CONNECTIONS)
    if counted is not None:
        names = ("connections", "of_database", "of_role", "ours")
        found |= dict(zip(names, counted, strict=True))
    sessions = look.rows("open transactions", _SESSIONS)
    if sessions is not None:
        found["sessions"] = tuple(
            Busy(pid, str(role), name, idle if state.startswith("idle in") else None, age)
            for pid, role, name, state, idle, age in sessions
        )
    prepared = look.rows("prepared transactions", _PREPARED)
    if prepared is not None:
        found["prepared"] = tuple(Prepared(*row) for row in prepared)
    oldest = look.row("the age of transaction numbers", _WRAPAROUND)
    if oldest is not None:
        found["oldest"] = (str(oldest[0]), int(oldest[1]))
    return found


def _of_replication(look: Look, *, recovering: bool) -> dict[str, Any]:
    if not recovering:
        row = look.row("replicas", _FOLLOWERS)
        return {} if row is None else {"followers": row[0]}
    row = look.row("replication", _BEHIND)
    return {} if row is None else {"replay_age": row[0], "receiving": bool(row[1])}


def _of_schemas(look: Look, about: About) -> dict[str, Any]:
    found: dict[str, Any] = {}
    row = look.row("schemas", _SCHEMAS)
    if row is not None:
        found["schemas"], found["every_schema"] = tuple(row[0]), tuple(row[1])
        found["public_writable"] = row[2]
    # identifiers, which the option's check has made sure of
    asked = {table: look.row(f"table {table}", _TABLE.format(table)) for table in about.tables}
    found["missing"] = frozenset(
        table for table, row in asked.items() if row is not None and row[0] is None
    )
    return found


def _shares(server: Server, first: Look, until: float) -> bool:
    """Whether a second client, while the first is still there, is given the first's backend: so it
    is where a pooler lends for a transaction, and in no other mode (PgBouncer 1.18).
    """
    question = "SELECT pg_backend_pid()"
    with connected(server, until, _tame) as connection:
        second = _look(connection, server, until)
        for _ in range(3):
            pids = [look.row("the backend", question) for look in (first, second)]
            if None not in pids and pids[0][0] == pids[1][0]:
                return True
    return False
