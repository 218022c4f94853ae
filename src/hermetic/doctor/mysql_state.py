"""What can be wrong with what a MariaDB or MySQL server holds, and with its release."""

from __future__ import annotations

from collections.abc import Iterator

from ..decisions import TABLE
from . import secured, versions
from .checks import Sign, option
from .findings import Severity
from .mysql import LONG_SECONDS, PREPARED_SECONDS, MySQLFacts
from .mysql_checks import MYSQL

__all__ = ["MYSQL"]

WARNING, ERROR = Severity.WARNING, Severity.ERROR

# a row that does not fit is refused (1153), and the connection closed
_SMALL_PACKET = 4 * 1024 * 1024
_NARROW = ("utf8", "utf8mb3", "latin1", "ascii", "latin2", "cp1250", "cp1251")


# ---------------------------------------------------------------- data


@MYSQL.add(
    "engine-not-transactional",
    ERROR,
    "tables that cannot be rolled back",
    why="What was written there stays, whatever becomes of the scope.",
    source="information_schema.tables, MariaDB 10.11",
)
def _engine(seen: MySQLFacts) -> Iterator[Sign]:
    tables = seen.tables or ()
    if tables:
        names = ", ".join(f"{name} ({engine})" for name, engine in tables[:5])
        more = f" and {len(tables) - 5} more" if len(tables) > 5 else ""
        yield Sign(f"{names}{more}", f"ALTER TABLE {tables[0][0]} ENGINE=InnoDB")


@MYSQL.add(
    "engine-default",
    WARNING,
    "new tables that cannot be rolled back",
    why="create_all makes tables of the default engine.",
    source="default_storage_engine, MariaDB 10.11",
)
def _default_engine(seen: MySQLFacts) -> Iterator[Sign]:
    engine = seen.session.get("default_storage_engine", "InnoDB")
    if engine.lower() != "innodb":
        yield Sign(f"default_storage_engine = {engine}", "default_storage_engine = InnoDB")


@MYSQL.add(
    "sql-mode-lenient",
    ERROR,
    "values that are changed where they do not fit",
    why="A text that is too long is cut, a wrong date becomes zero, with a warning nobody reads.",
    source="sql_mode, STRICT_TRANS_TABLES by default since MariaDB 10.2.4",
)
def _strict(seen: MySQLFacts) -> Iterator[Sign]:
    mode = seen.session.get("sql_mode", "STRICT_TRANS_TABLES").upper()
    if "STRICT_TRANS_TABLES" not in mode and "STRICT_ALL_TABLES" not in mode:
        yield Sign(f"sql_mode = {mode or 'empty'}", "sql_mode with STRICT_TRANS_TABLES")


@MYSQL.add(
    "charset-narrow",
    WARNING,
    "a character set that lacks characters",
    why="New tables take it: emoji and many scripts are refused (1366), or become question marks.",
    source="MariaDB 10.11: utf8 is utf8mb3, of three bytes",
)
def _charset(seen: MySQLFacts) -> Iterator[Sign]:
    if (seen.charset or "").lower() in _NARROW:
        yield Sign(
            f"the database's default is {seen.charset}",
            "ALTER DATABASE … CHARACTER SET utf8mb4, and ALTER TABLE … CONVERT TO",
        )
    given = str(seen.about.url.query.get("charset", "utf8mb4"))
    if given.lower() in _NARROW:
        yield Sign(f"the URL has charset={given}", "the URL without charset: it is utf8mb4 then")


@MYSQL.add(
    "packet-small",
    WARNING,
    "a small limit on what one statement carries",
    why="What is larger is refused (1153, 2006) and the connection closed.",
    source="max_allowed_packet, 16 MiB by default, MariaDB 10.11",
)
def _packet(seen: MySQLFacts) -> Iterator[Sign]:
    most = seen.whole("max_allowed_packet")
    if most is not None and most < _SMALL_PACKET:
        yield Sign(f"max_allowed_packet = {most:,} bytes", "max_allowed_packet = 64M at the server")


# ---------------------------------------------------------------- what is open now


@MYSQL.add(
    "long-transaction",
    WARNING,
    "transactions that go on for a quarter of an hour and more",
    why="InnoDB keeps every old row that they might want to see, in all databases.",
    source="information_schema.innodb_trx, MariaDB 10.11",
)
def _long(seen: MySQLFacts) -> Iterator[Sign]:
    for thread, age in seen.transactions or ():
        if thread and age > LONG_SECONDS:
            told = f"thread {thread} has its transaction open for {age:.0f} s"
            yield Sign(told, option("timeout", 60.0))


@MYSQL.add(
    "prepared-left",
    WARNING,
    "prepared transactions that nobody ends",
    why="They keep their locks, through restarts too.",
    source="information_schema.innodb_trx, where a detached one has the thread 0, MariaDB 10.11",
)
def _prepared(seen: MySQLFacts) -> Iterator[Sign]:
    for thread, age in seen.transactions or ():
        if not thread and age > PREPARED_SECONDS:
            told = f"a transaction without a client, since {age:.0f} s"
            yield Sign(told, "hermetic recover; of others: XA RECOVER, then XA COMMIT or ROLLBACK")


@MYSQL.add(
    "commit-table-missing",
    ERROR,
    'resolve_commits="token" without its table',
    why="Every COMMIT of a writing scope fails.",
)
def _commit_table(seen: MySQLFacts) -> Iterator[Sign]:
    table = seen.about.options.commit_table
    if table in seen.missing:
        yield Sign(f"no table {table!r}", "db.create_commit_table(), once")


@MYSQL.add(
    "decision-log-missing",
    ERROR,
    "a group that prepares, without its log of decisions",
    why="Every unit that touches two databases fails.",
)
def _log(seen: MySQLFacts) -> Iterator[Sign]:
    if TABLE in seen.missing:
        change = "group.create_log(), once, or hermetic recover --create-log"
        yield Sign(f"no table {TABLE!r}", change)


@MYSQL.add(
    "two-phase-impossible",
    ERROR,
    "a group that prepares, on a server that does not",
    why="A prepared transaction ends with its client there: units are lost, or half applied.",
    source="MariaDB 10.5 (MDEV-742), MySQL 5.7.7",
)
def _two_phase(seen: MySQLFacts) -> Iterator[Sign]:
    oldest = (10, 5) if seen.mariadb else (5, 7, 7)
    if seen.about.prepares and seen.numbers and seen.numbers < oldest:
        yield Sign(f"version {seen.version}", f"{versions.shown(oldest)} or later")


# ---------------------------------------------------------------- TLS


@MYSQL.add(
    "tls-off",
    ERROR,
    "a connection to another host without TLS",
    why="Everybody on the way can read and change what is sent.",
    source="Ssl_cipher, MariaDB 10.11",
)
def _plain(seen: MySQLFacts) -> Iterator[Sign]:
    yield from secured.plain(seen.about, seen.encrypted)


@MYSQL.add(
    "tls-unverified",
    WARNING,
    "a certificate that nobody looks at",
    why="Whoever stands in the way can be at the other end.",
    source="PyMySQL 1.2 and mysqlclient 2.2: without ssl_ca nothing is verified",
)
def _unverified(seen: MySQLFacts) -> Iterator[Sign]:
    yield from secured.unverified(seen.about, seen.encrypted)


# ---------------------------------------------------------------- releases


@MYSQL.add(
    "server-unsupported",
    WARNING,
    "a release that is not mended any more",
    why="Its bugs and holes stay.",
    source="doctor/versions.py, with its sources",
)
def _unsupported(seen: MySQLFacts) -> Iterator[Sign]:
    end = versions.ended(seen.product, seen.numbers, seen.about.today)
    if end is not None:
        told = f"{seen.product} {versions.shown(seen.numbers)}, supported until {end}"
        yield Sign(told, "a later series")


@MYSQL.add(
    "server-bug",
    ERROR,
    "a release with a known bug that matters here",
    why="See the release notes that are named.",
    source="doctor/versions.py, with its sources",
)
def _bugs(seen: MySQLFacts) -> Iterator[Sign]:
    for bug in versions.bugs(seen.product, seen.numbers):
        told = f"{seen.product} {versions.shown(seen.numbers)}: {bug.what}"
        yield Sign(told, f"{versions.shown(bug.mended)}; see {bug.source}")
