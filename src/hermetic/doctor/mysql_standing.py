"""What can be wrong with where a MariaDB or MySQL server stands: primary, replica, node."""

from __future__ import annotations

from collections.abc import Iterator

from .checks import Sign
from .findings import Severity
from .mysql import Following, MySQLFacts
from .mysql_state import MYSQL

__all__ = ["MYSQL"]

HINT, WARNING, ERROR = Severity.HINT, Severity.WARNING, Severity.ERROR


@MYSQL.add(
    "replica-is-primary",
    ERROR,
    "a replica that follows nobody",
    why="Reads there show another history, and positions are never reached.",
    source="SHOW SLAVE STATUS, MariaDB 10.11",
)
def _replica_is_primary(seen: MySQLFacts) -> Iterator[Sign]:
    if seen.about.is_replica and seen.following is False and not seen.is_node:
        yield Sign("SHOW SLAVE STATUS is empty", "Database(…, replicas=[…]) without it")


@MYSQL.add(
    "replica-writable",
    WARNING,
    "a replica that takes writes",
    why="What is written there is on no other server, and stops replication when rows collide.",
    source="read_only, MariaDB 10.11",
)
def _writable(seen: MySQLFacts) -> Iterator[Sign]:
    if seen.about.is_replica and seen.is_off("read_only") and not seen.is_node:
        yield Sign("read_only = OFF on a replica", "read_only = ON at the replica")


@MYSQL.add(
    "primary-read-only",
    ERROR,
    "a primary that takes no writes",
    why="Every write is refused (1290).",
    source="read_only, MariaDB 10.11",
)
def _read_only(seen: MySQLFacts) -> Iterator[Sign]:
    if not seen.about.is_replica and seen.is_on("read_only"):
        change = "the primary's URL, or all hosts in one URL (host=a&host=b)"
        yield Sign("read_only = ON", change)


@MYSQL.add(
    "replication-stopped",
    ERROR,
    "a replica that does not go on",
    why="It shows what was, and falls further behind.",
    source="SHOW SLAVE STATUS, MariaDB 10.11",
)
def _stopped(seen: MySQLFacts) -> Iterator[Sign]:
    if not seen.about.is_replica or not isinstance(seen.following, Following):
        return
    for runs, name in ((seen.following.receives, "IO"), (seen.following.applies, "SQL")):
        if not runs:
            told = f"Slave_{name}_Running is not Yes"
            yield Sign(told, "SHOW SLAVE STATUS has the error; START SLAVE once it is mended")


@MYSQL.add(
    "replica-lag",
    WARNING,
    "a replica that is late",
    why="It gets no scopes until it has caught up; reads go to the primary meanwhile.",
    source="Seconds_Behind_Master, MariaDB 10.11",
)
def _lag(seen: MySQLFacts) -> Iterator[Sign]:
    limit = seen.about.options.replica_lag
    if not seen.about.is_replica or not isinstance(seen.following, Following) or limit is None:
        return
    late = seen.following.late
    if late is not None and late > limit:
        told = f"{late:.0f} s behind; replica_lag is {limit:g} s"
        yield Sign(told, "slave_parallel_threads at the replica, MASTER_DELAY, its disk")


@MYSQL.add(
    "replicas-unused",
    HINT,
    "replicas that nobody reads from",
    why="Read-only scopes could go there.",
    source="Slaves_connected, MariaDB 10.11",
)
def _unused(seen: MySQLFacts) -> Iterator[Sign]:
    connected = int(seen.status.get("slaves_connected", "0") or 0)
    if connected and not seen.about.options.replicas and not seen.about.is_replica:
        told = f"{connected} replicas follow, and there are none in the options"
        yield Sign(told, 'Database(…, replicas=["mysql://…"])')


@MYSQL.add(
    "binlog-missing",
    WARNING,
    "replicas, and a primary without a binary log",
    why="There are no positions: nobody waits for a replica that has come far enough.",
    source="log_bin and gtid_current_pos, MariaDB 10.11; gtid_mode, MySQL 8",
)
def _binlog(seen: MySQLFacts) -> Iterator[Sign]:
    if not seen.about.options.replicas or seen.about.is_replica or seen.is_node:
        return
    if seen.is_off("log_bin"):
        yield Sign("log_bin = OFF", "log_bin at the primary, then a restart")
    elif not seen.mariadb and seen.variables.get("gtid_mode", "ON").upper() != "ON":
        yield Sign("gtid_mode is not ON", "gtid_mode = ON, enforce_gtid_consistency = ON")


@MYSQL.add(
    "binlog-statement",
    WARNING,
    "replication by the text of statements",
    why="What depends on order or time (LIMIT, triggers, UUID()) comes out otherwise on the "
    "replicas; writes at READ COMMITTED are refused (1665).",
    source="binlog_format, MIXED by default since MariaDB 10.2.4",
)
def _statement(seen: MySQLFacts) -> Iterator[Sign]:
    if seen.is_on("log_bin") and seen.variables.get("binlog_format", "").upper() == "STATEMENT":
        yield Sign("binlog_format = STATEMENT", "binlog_format = ROW at the server")


@MYSQL.add(
    "gtid-lenient",
    HINT,
    "GTIDs that may be out of order",
    why="Who writes on a replica by mistake makes positions that no server has reached.",
    source="gtid_strict_mode, MariaDB 10.11",
)
def _gtid(seen: MySQLFacts) -> Iterator[Sign]:
    used = seen.about.options.replicas or seen.about.is_replica
    if seen.mariadb and used and seen.is_off("gtid_strict_mode") and not seen.is_node:
        yield Sign("gtid_strict_mode = OFF", "gtid_strict_mode = ON at each server")


# ---------------------------------------------------------------- Galera


@MYSQL.add(
    "node-not-ready",
    ERROR,
    "a node that is not of its cluster",
    why="It refuses everything that needs a table (1047).",
    source="wsrep_ready and wsrep_cluster_status, Galera 26.4",
)
def _not_ready(seen: MySQLFacts) -> Iterator[Sign]:
    if not seen.is_node:
        return
    status = seen.status.get("wsrep_cluster_status", "Primary")
    if seen.status.get("wsrep_ready", "ON") != "ON" or status != "Primary":
        state = seen.status.get("wsrep_local_state_comment", "unknown")
        yield Sign(f"cluster status {status}, state {state}", "the node's network, or its log")


@MYSQL.add(
    "cluster-small",
    WARNING,
    "a cluster that cannot lose a node",
    why="What is left is no majority, and takes no writes. A third node, or an arbitrator, is.",
    source="wsrep_cluster_size, Galera 26.4",
)
def _small(seen: MySQLFacts) -> Iterator[Sign]:
    size = seen.status.get("wsrep_cluster_size", "3")
    if seen.is_node and size.isdigit() and int(size) < 3:
        yield Sign(f"wsrep_cluster_size = {size}", "a third node, or garbd")


@MYSQL.add(
    "node-reads-stale",
    HINT,
    "reads that may not show what another node has committed",
    why="A node shows it a moment later, unless a read waits for it.",
    source="wsrep_sync_wait, Galera 26.4",
)
def _stale(seen: MySQLFacts) -> Iterator[Sign]:
    hosts = seen.about.url.query.get("host")
    waits = int(seen.session.get("wsrep_sync_wait", "0") or 0) & 1
    if seen.is_node and not waits and (hosts is None or isinstance(hosts, str)):
        yield Sign("wsrep_sync_wait = 0", "all nodes in one URL, or wsrep_sync_wait = 1")


@MYSQL.add(
    "node-settings",
    ERROR,
    "settings that Galera does not work with",
    why="Writes of two nodes collide, or are not replicated.",
    source="Galera 26.4: ROW alone is replicated, and keys are given out interleaved",
)
def _node_settings(seen: MySQLFacts) -> Iterator[Sign]:
    if not seen.is_node:
        return
    for name, wanted in (("binlog_format", "ROW"), ("innodb_autoinc_lock_mode", "2")):
        value = seen.variables.get(name, wanted)
        if value.upper() != wanted:
            yield Sign(f"{name} = {value}", f"{name} = {wanted} at each node")
