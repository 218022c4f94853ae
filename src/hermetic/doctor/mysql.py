"""MariaDB and MySQL, as they are seen by a user who may be allowed little.

Read on MariaDB 10.11; MySQL 8 by its documentation alone. Variables and status are shown to
everybody; other users' sessions and transactions to who has PROCESS, replication to who has SLAVE
MONITOR (MariaDB 10.5.9 and later; MySQL: REPLICATION CLIENT).
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import exc as sa_exc

from ..engine import Server
from .about import About
from .look import Look, connected, secrets_of

LONG_SECONDS = 900.0
PREPARED_SECONDS = 300.0

# a node that is not of its cluster
_NOT_READY = 1047

_GLOBAL = "SHOW GLOBAL VARIABLES"
_SESSION = "SHOW SESSION VARIABLES"
_STATUS = "SHOW GLOBAL STATUS"
_ENCRYPTED = "SHOW SESSION STATUS LIKE 'Ssl_cipher'"
_SERVER = "SELECT version(), @@version_comment, UNIX_TIMESTAMP(SYSDATE(6))"
# without PROCESS one's own are shown alone; this connection is not counted
_OURS = (
    "SELECT count(*) FROM information_schema.processlist "
    "WHERE user = SUBSTRING_INDEX(USER(), '@', 1) AND id <> CONNECTION_ID()"
)
_TABLES = (
    "SELECT table_name, engine FROM information_schema.tables WHERE table_schema = DATABASE() "
    "AND table_type = 'BASE TABLE' AND engine <> 'InnoDB' ORDER BY 1"
)
_SCHEMA = (
    "SELECT default_character_set_name FROM information_schema.schemata "
    "WHERE schema_name = DATABASE()"
)
# the thread of a transaction that was prepared, and whose client is gone, is 0
_TRANSACTIONS = (
    "SELECT trx_mysql_thread_id, TIMESTAMPDIFF(SECOND, trx_started, NOW()) "
    "FROM information_schema.innodb_trx"
)
# MySQL has other words for it since 8.0.22, and no others since 8.4
_FOLLOWING = "SHOW SLAVE STATUS"
_FOLLOWING_NOW = "SHOW REPLICA STATUS"
_TABLE = (
    "SELECT count(*) FROM information_schema.tables "
    "WHERE table_schema = DATABASE() AND table_name = '{}'"
)


@dataclass(frozen=True, slots=True)
class Following:
    """How a replica follows: what its two threads do, and how late it is, in seconds."""

    receives: bool
    applies: bool
    late: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MySQLFacts:
    """What was read of one server. ``None`` is what could not be read.

    :param variables: the server's, by their names in small letters.
    :param session: this session's, with what the account and ``init_connect`` made of them.
    :param missing: tables of hermetic's own that have to be there, and are not.
    :param ours: connections that are there already of the same user.
    :param following: how it follows another server; ``False`` where it follows none.
    """

    about: About
    variables: Mapping[str, str]
    session: Mapping[str, str]
    status: Mapping[str, str]
    version: str = ""
    mariadb: bool = True
    encrypted: bool | None = None
    ours: int = 0
    tables: tuple[tuple[str, str], ...] | None = None
    charset: str | None = None
    transactions: tuple[tuple[int, float], ...] | None = None
    following: Following | bool | None = None
    skew: float | None = None
    missing: frozenset[str] = frozenset()

    @property
    def product(self) -> str:
        return "MariaDB" if self.mariadb else "MySQL"

    @property
    def numbers(self) -> tuple[int, ...]:
        # a replication prefix of older MariaDBs: 5.5.5-10.11.6-MariaDB
        text = self.version.removeprefix("5.5.5-")
        return tuple(int(part) for part in re.findall(r"\d+", text)[:3])

    @property
    def is_node(self) -> bool:
        """Whether it is a node of Galera's."""
        return self.variables.get("wsrep_on", "").upper() == "ON"

    def whole(self, name: str) -> int | None:
        """A variable that is a number."""
        text = self.variables.get(name, "")
        return int(text) if text.isdigit() else None

    def is_off(self, name: str) -> bool:
        return self.variables.get(name, "").upper() in ("OFF", "0")

    def is_on(self, name: str) -> bool:
        return self.variables.get(name, "").upper() in ("ON", "1")


def read(server: Server, about: About, until: float) -> tuple[MySQLFacts, list[tuple[str, str]]]:
    """The facts of a server, and what it would not tell."""
    try:
        with connected(server, until) as connection:
            look = Look(connection, secrets_of(server), "START TRANSACTION READ ONLY")
            found = {**_of_server(look), **_of_database(look, about)}
            found |= _of_others(look, mariadb=found["mariadb"])
            return MySQLFacts(about=about, **found), look.refused
    except sa_exc.DBAPIError as error:
        if getattr(error.orig, "args", (0,))[0] != _NOT_READY:
            raise
        return _not_ready(about), [("everything else", "the node refuses it (1047)")]


def _not_ready(about: About) -> MySQLFacts:
    """What is known of a node that refuses even ROLLBACK (MariaDB 10.11, Galera 26.4)."""
    status = {"wsrep_ready": "OFF", "wsrep_cluster_status": "unknown"}
    session = {"wsrep_sync_wait": "1"}
    return MySQLFacts(about=about, variables={"wsrep_on": "ON"}, session=session, status=status)


def _of_server(look: Look) -> dict[str, Any]:
    before = time.time()
    version, comment, clock = look.needed("itself", _SERVER)
    middle = (before + time.time()) / 2
    cipher = look.row("TLS", _ENCRYPTED)
    return {
        "version": str(version),
        "mariadb": "mariadb" in f"{version} {comment}".lower(),
        "variables": _pairs(look.rows("variables", _GLOBAL)),
        "session": _pairs(look.rows("variables of the session", _SESSION)),
        "status": _pairs(look.rows("status", _STATUS)),
        "encrypted": None if cipher is None else bool(cipher[1]),
        "skew": float(clock) - middle,
    }


def _pairs(rows: list[Any] | None) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in rows or ()}


def _of_database(look: Look, about: About) -> dict[str, Any]:
    found: dict[str, Any] = {}
    tables = look.rows("tables", _TABLES)
    if tables is not None:
        found["tables"] = tuple((str(name), str(engine)) for name, engine in tables)
    schema = look.row("the database", _SCHEMA)
    if schema is not None:
        found["charset"] = str(schema[0])
    # identifiers, which the option's check has made sure of
    asked = {table: look.row(f"table {table}", _TABLE.format(table)) for table in about.tables}
    found["missing"] = frozenset(
        table for table, row in asked.items() if row is not None and not row[0]
    )
    return found


def _of_others(look: Look, *, mariadb: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    ours = look.row("connections", _OURS)
    if ours is not None:
        found["ours"] = int(ours[0])
    transactions = look.rows("open transactions", _TRANSACTIONS)
    if transactions is not None:
        found["transactions"] = tuple((int(thread), float(age)) for thread, age in transactions)
    rows = look.rows("replication", _FOLLOWING if mariadb else _FOLLOWING_NOW)
    if rows is not None:
        found["following"] = _following(rows[0]._mapping) if rows else False
    return found


def _following(row: Mapping[Any, Any]) -> Following:
    late = row.get("Seconds_Behind_Master", row.get("Seconds_Behind_Source"))
    return Following(
        row.get("Slave_IO_Running", row.get("Replica_IO_Running")) == "Yes",
        row.get("Slave_SQL_Running", row.get("Replica_SQL_Running")) == "Yes",
        None if late is None else float(late),
    )
