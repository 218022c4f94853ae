"""What can be wrong with connections to MariaDB and MySQL, limits of time, and their promises."""

from __future__ import annotations

from collections.abc import Iterator

from . import capacity, signs
from .capacity import Limit
from .checks import Checks, Sign, option
from .findings import Severity
from .mysql import MySQLFacts

HINT, WARNING, ERROR = Severity.HINT, Severity.WARNING, Severity.ERROR
MYSQL: Checks[MySQLFacts] = Checks("MariaDB and MySQL")

_SHORT_NET_SECONDS = 10


# ---------------------------------------------------------------- connections


def _limits(seen: MySQLFacts) -> list[Limit]:
    most = seen.whole("max_connections")
    if most is None:
        return []
    now = int(seen.status.get("threads_connected", "1")) - 1  # without this one
    told = f"max_connections = {most}"
    found = [Limit(most, max(0, now - seen.ours), told, f"max_connections above {most}")]
    each = seen.session.get("max_user_connections", "0")
    if each.isdigit() and int(each) > 0:
        change = "ALTER USER … WITH MAX_USER_CONNECTIONS, or max_user_connections"
        found.append(Limit(int(each), 0, f"max_user_connections = {each}", change))
    return found


@MYSQL.add(
    "pool-over-limit",
    ERROR,
    "pools that are larger than the server",
    why="Under load the last connections are refused (1040, 1203), in the middle of the rush.",
    source="max_connections and max_user_connections, MariaDB 10.11",
)
def _over(seen: MySQLFacts) -> Iterator[Sign]:
    yield from capacity.over(seen.about, _limits(seen))


@MYSQL.add(
    "pool-over-free",
    WARNING,
    "pools for which others leave no room",
    why="Who comes last is refused (1040), which may be this application or the others.",
    source="Threads_connected, MariaDB 10.11",
)
def _crowded(seen: MySQLFacts) -> Iterator[Sign]:
    yield from capacity.crowded(seen.about, _limits(seen))


@MYSQL.add(
    "pool-both-worlds",
    HINT,
    "pools that are too large only where threads and asyncio are both at work",
    why="pool_size bounds what both have out together; idle connections are kept by each.",
)
def _doubled(seen: MySQLFacts) -> Iterator[Sign]:
    yield from capacity.doubled(seen.about, _limits(seen))


# ---------------------------------------------------------------- time


@MYSQL.add(
    "no-deadline",
    WARNING,
    "nothing ends a statement that goes on for ever",
    why="A statement that was planned badly keeps its connection, its locks and its caller.",
    source="max_statement_time (MariaDB 10.1), max_execution_time (MySQL 5.7, SELECT alone)",
)
def _no_deadline(seen: MySQLFacts) -> Iterator[Sign]:
    options = seen.about.options
    if options.statement_timeout is not None or options.scope.timeout is not None:
        return
    name = "max_statement_time" if seen.mariadb else "max_execution_time"
    if float(seen.session.get(name, "1")) == 0:
        told = f"no timeout, no statement_timeout, and {name} is 0"
        yield Sign(told, "Database(…, timeout=30.0, statement_timeout=30.0)")


@MYSQL.add(
    "no-lock-timeout",
    WARNING,
    "waits for locks that last for hours",
    why="One forgotten transaction holds up DDL, and behind it everybody who uses that table.",
    source="lock_wait_timeout (86400 s by default) and innodb_lock_wait_timeout, MariaDB 10.11",
)
def _no_lock_timeout(seen: MySQLFacts) -> Iterator[Sign]:
    if seen.about.options.lock_timeout is not None:
        return
    for name in ("lock_wait_timeout", "innodb_lock_wait_timeout"):
        seconds = int(seen.session.get(name, "0") or 0)
        if seconds > 600:
            yield Sign(f"no lock_timeout, and {name} is {seconds} s", option("lock_timeout", 10.0))


@MYSQL.add(
    "no-idle-timeout",
    WARNING,
    "nothing ends a transaction that nobody uses",
    why="It keeps its locks, and InnoDB from removing old rows, until its client is gone.",
    source="idle_transaction_timeout, MariaDB 10.3; MySQL has none",
)
def _no_idle_timeout(seen: MySQLFacts) -> Iterator[Sign]:
    name = "idle_transaction_timeout"
    if not seen.mariadb or seen.about.options.idle_in_transaction_timeout is not None:
        return
    if seen.session.get(name) == "0":
        change = option("idle_in_transaction_timeout", 60.0)
        yield Sign(f"no idle_in_transaction_timeout, and {name} is 0", change)


@MYSQL.add(
    "server-closes-idle",
    WARNING,
    "a server that closes connections which the pool still keeps",
    why="Each such connection costs a failed ping and a new connect when it is wanted next.",
    source="wait_timeout, MariaDB 10.11",
)
def _closes_idle(seen: MySQLFacts) -> Iterator[Sign]:
    seconds = int(seen.session.get("wait_timeout", "0"))
    yield from signs.closes_idle(seen.about, "wait_timeout", seconds)


@MYSQL.add(
    "net-timeout-short",
    WARNING,
    "a server that gives up slow clients",
    why="Who works on each row of a large result, or sends a large one slowly, is cut off (1159, "
    "1161).",
    source="net_read_timeout and net_write_timeout (30 and 60 s by default), MariaDB 10.11",
)
def _net(seen: MySQLFacts) -> Iterator[Sign]:
    for name in ("net_read_timeout", "net_write_timeout"):
        seconds = int(seen.session.get(name, "60") or 60)
        if seconds < _SHORT_NET_SECONDS:
            yield Sign(f"{name} is {seconds} s", f"{name} = 60 at the server")


@MYSQL.add(
    "clock-skew",
    WARNING,
    "a server whose clock differs from this machine's",
    why="Times that one writes and the other compares are off by as much; so are tokens' ages.",
)
def _skew(seen: MySQLFacts) -> Iterator[Sign]:
    yield from signs.skewed(seen.skew)


# ---------------------------------------------------------------- promises


def _level(seen: MySQLFacts) -> str:
    # MySQL 8's name, and MariaDB's before 11.1
    session = seen.session
    level = session.get("transaction_isolation") or session.get("tx_isolation", "REPEATABLE-READ")
    return level.upper().replace("-", " ")


@MYSQL.add(
    "isolation-differs",
    WARNING,
    "a default level of isolation that hermetic does not count on",
    why="Scopes have the server's level, which promises less, or waits and fails more, than "
    "REPEATABLE READ.",
    source="tx_isolation, MariaDB 10.11",
)
def _isolation(seen: MySQLFacts) -> Iterator[Sign]:
    if seen.about.options.scope.isolation is None and _level(seen) not in (
        "REPEATABLE READ",
        "READ UNCOMMITTED",
    ):
        yield Sign(f"the session's level is {_level(seen)}", option("isolation", _level(seen)))


@MYSQL.add(
    "isolation-read-uncommitted",
    ERROR,
    "reads of what was never committed",
    why="Rows are seen that are rolled back later, and decisions are made by them.",
    source="tx_isolation, MariaDB 10.11",
)
def _uncommitted(seen: MySQLFacts) -> Iterator[Sign]:
    if seen.about.options.scope.isolation is None and _level(seen) == "READ UNCOMMITTED":
        yield Sign(
            "the session's level is READ UNCOMMITTED", option("isolation", "REPEATABLE READ")
        )


@MYSQL.add(
    "autocommit-off",
    HINT,
    "a server that opens a transaction for everybody",
    why="hermetic says what it wants on each connection; every other client keeps a transaction, "
    "with its locks, until it says COMMIT.",
    source="autocommit, MariaDB 10.11",
)
def _autocommit(seen: MySQLFacts) -> Iterator[Sign]:
    if seen.is_off("autocommit"):
        yield Sign("autocommit = 0 for new sessions", "autocommit = 1 at the server")


@MYSQL.add(
    "completion-type",
    ERROR,
    "a COMMIT that does more than to commit",
    why="CHAIN begins the next transaction at once, on a connection that goes back to the pool; "
    "RELEASE closes the connection.",
    source="completion_type, MariaDB 10.11",
)
def _completion(seen: MySQLFacts) -> Iterator[Sign]:
    kind = seen.session.get("completion_type", "NO_CHAIN").upper()
    if kind not in ("NO_CHAIN", "0"):
        yield Sign(f"completion_type = {kind}", "completion_type = NO_CHAIN at the server")


@MYSQL.add(
    "rollback-on-timeout",
    HINT,
    "a wait for a lock that ends the whole transaction",
    why="With the default a scope can go on after a LockTimeout inside a savepoint; here its "
    "transaction is gone.",
    source="innodb_rollback_on_timeout, MariaDB 10.11",
)
def _rollback(seen: MySQLFacts) -> Iterator[Sign]:
    if seen.is_on("innodb_rollback_on_timeout"):
        yield Sign(
            "innodb_rollback_on_timeout = ON", "innodb_rollback_on_timeout = OFF, and a restart"
        )


@MYSQL.add(
    "commit-not-durable",
    WARNING,
    "commits that a crash undoes",
    why="A COMMIT is answered before it is on disk: what was told to be committed may be gone, or "
    "be in the log of InnoDB and not in the binary log.",
    source="innodb_flush_log_at_trx_commit and sync_binlog (0 by default), MariaDB 10.11",
)
def _durability(seen: MySQLFacts) -> Iterator[Sign]:
    flush = seen.variables.get("innodb_flush_log_at_trx_commit", "1")
    if flush not in ("1", "3"):
        told = f"innodb_flush_log_at_trx_commit = {flush}"
        yield Sign(told, "innodb_flush_log_at_trx_commit = 1 at the server")
    if seen.is_on("log_bin") and seen.variables.get("sync_binlog", "1") == "0":
        yield Sign("sync_binlog = 0, with a binary log", "sync_binlog = 1 at the server")


@MYSQL.add(
    "page-writes-unsafe",
    ERROR,
    "pages that a crash may tear",
    why="Without the doublewrite buffer a page that was half written cannot be repaired.",
    source="innodb_doublewrite, MariaDB 10.11",
)
def _doublewrite(seen: MySQLFacts) -> Iterator[Sign]:
    if seen.is_off("innodb_doublewrite"):
        change = "innodb_doublewrite = ON at the server, unless the disk writes pages whole"
        yield Sign("innodb_doublewrite = OFF", change)
