"""MariaDB servers that are set up badly, and well, as the doctor sees them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest
from sqlalchemy import make_url

from hermetic import Database
from hermetic.doctor import Severity
from hermetic.doctor import mysql as looking
from hermetic.doctor.about import PRIMARY, About
from tests.databases import FamilyUrl
from tests.doctor.planted import TODAY
from tests.doctor.seen import codes, examined, one, sent_by
from tests.proxy import Proxy
from tests.servers import MariaDBPrimary, MariaDBReplica, MariaDBServer, ServerAccess
from tests.servers.process import wait_until

pytestmark = [pytest.mark.mariadb, pytest.mark.slow]

_BAD = {
    "max-connections": "25",
    "autocommit": "0",
    "completion-type": "CHAIN",
    "transaction-isolation": "READ-UNCOMMITTED",
    "innodb-rollback-on-timeout": "ON",
    "innodb-doublewrite": "0",
    "default-storage-engine": "MyISAM",
    "sql-mode": "",
    "max-allowed-packet": "1M",
    "wait-timeout": "60",
    "net-write-timeout": "5",
    "log-bin": "binary",
    "server-id": "9",
    "sync-binlog": "0",
    "binlog-format": "STATEMENT",
}
_WELL = {"sync-binlog": "1", "innodb-flush-log-at-trx-commit": "1"}
_PASSWORD = "canary-s3cret"


@pytest.fixture(scope="module")
def bad() -> Iterator[MariaDBServer]:
    with MariaDBServer(settings=_BAD) as server:
        server._query(
            "CREATE DATABASE app CHARACTER SET latin1",
            "CREATE TABLE app.old (id INT) ENGINE=MyISAM",
        )
        yield server


@pytest.fixture(scope="module")
def well() -> Iterator[MariaDBPrimary]:
    with MariaDBPrimary(settings=_WELL) as server:
        server.create_database("app")
        yield server


@pytest.fixture(scope="module")
def replica(well: MariaDBPrimary) -> Iterator[MariaDBReplica]:
    """Made before the accounts are, so that these come to it too."""
    with MariaDBReplica(well, settings=_WELL) as server:
        server._query("CREATE DATABASE IF NOT EXISTS app")
        for each in (well, server):
            each._query(
                "SET SESSION sql_log_bin = 0",
                f"CREATE USER app@'127.0.0.1' IDENTIFIED BY '{_PASSWORD}'",
                "GRANT ALL ON app.* TO app@'127.0.0.1'",
                "GRANT PROCESS, SLAVE MONITOR ON *.* TO app@'127.0.0.1'",
                f"CREATE USER plain@'127.0.0.1' IDENTIFIED BY '{_PASSWORD}'",
                "GRANT ALL ON app.* TO plain@'127.0.0.1'",
            )
        yield server


def as_user(server: ServerAccess, user: str = "app") -> str:
    url = make_url(server.url("app")).set(username=user, password=_PASSWORD)
    return url.render_as_string(hide_password=False)


# ---------------------------------------------------------------- servers as they are


def test_a_badly_configured_server_is_told_so(bad: MariaDBServer) -> None:
    report = examined(
        bad.url("app"),
        timeout=None,
        statement_timeout=None,
        lock_timeout=None,
        idle_in_transaction_timeout=None,
        workers=2,
        resolve_commits="token",
    )

    assert codes(report, server=PRIMARY) == {
        "pool-over-limit",
        "no-deadline",
        "no-lock-timeout",
        "no-idle-timeout",
        "server-closes-idle",
        "net-timeout-short",
        "isolation-read-uncommitted",
        "autocommit-off",
        "completion-type",
        "rollback-on-timeout",
        "commit-not-durable",
        "page-writes-unsafe",
        "engine-not-transactional",
        "engine-default",
        "sql-mode-lenient",
        "charset-narrow",
        "packet-small",
        "commit-table-missing",
        "binlog-statement",
    }
    assert report.complete
    assert "old (MyISAM)" in one(report, "engine-not-transactional").seen


def test_a_well_configured_server_has_nothing_wrong(
    well: MariaDBPrimary, replica: MariaDBReplica
) -> None:
    report = examined(as_user(well), replicas=[as_user(replica)])

    assert [each for each in report.findings if each.server != "client"] == []
    assert codes(report, Severity.WARNING) == set()
    assert report.unseen == ()
    assert len(report.looked) == 2


@pytest.mark.parametrize("scheme", ["mysql", "mysql+asyncmy"])
def test_any_driver_shows_the_same(
    well: MariaDBPrimary, replica: MariaDBReplica, scheme: str
) -> None:
    report = examined(as_user(well).replace("mysql+pymysql", scheme), pool_size=80)

    assert codes(report, Severity.WARNING) == {"pool-over-limit"}
    assert report.unseen == ()


def test_a_user_that_sees_little_is_told_what_was_not_looked_at(
    well: MariaDBPrimary, replica: MariaDBReplica
) -> None:
    report = examined(as_user(well, "plain"))

    assert report.complete
    assert codes(report, Severity.WARNING) == set()
    assert {each.what for each in report.unseen} == {"open transactions", "replication"}


def test_the_limit_of_an_account_counts(well: MariaDBPrimary, replica: MariaDBReplica) -> None:
    well._query("GRANT USAGE ON *.* TO plain@'127.0.0.1' WITH MAX_USER_CONNECTIONS 7")
    try:
        report = examined(as_user(well, "plain"))
    finally:
        well._query("GRANT USAGE ON *.* TO plain@'127.0.0.1' WITH MAX_USER_CONNECTIONS 0")

    assert "max_user_connections = 7" in one(report, "pool-over-limit").seen


def test_transactions_that_are_open_and_prepared_are_read(
    well: MariaDBPrimary, replica: MariaDBReplica
) -> None:
    url = make_url(as_user(well))
    arguments: dict[str, Any] = {
        "host": url.host,
        "port": url.port,
        "user": url.username,
        "password": url.password,
    }
    database = Database(url)
    about = About(database="app", server=PRIMARY, url=url, options=database.options, today=TODAY)
    well._query("CREATE TABLE app.some (id INT PRIMARY KEY)")
    prepares = pymysql.connect(**arguments, database="app", autocommit=True)
    for statement in ("XA START 'left'", "INSERT INTO some VALUES (1)", "XA END 'left'"):
        prepares.cursor().execute(statement)
    prepares.cursor().execute("XA PREPARE 'left'")
    prepares.close()
    try:
        # the server lets go of it a moment after its client
        assert wait_until(lambda: 0 in threads(database, about), 10.0)
    finally:
        well._query("XA ROLLBACK 'left'", "DROP TABLE app.some")
        database.close()


def threads(database: Database, about: About) -> list[int]:
    facts, _ = looking.read(database.server, about, time.monotonic() + 10)
    return [thread for thread, _ in facts.transactions or ()]


def test_a_connection_to_another_host_without_tls_is_noticed(
    well: MariaDBPrimary, replica: MariaDBReplica
) -> None:
    here = make_url(as_user(well))

    def connect() -> Any:
        return pymysql.connect(
            host="127.0.0.1", port=well.port, user="app", password=_PASSWORD, database="app"
        )

    url = here.set(host="db.example").render_as_string(hide_password=False)
    report = examined(url, engine_options={"creator": connect})

    assert "the password of the URL" in one(report, "tls-off").seen
    assert _PASSWORD not in repr(report)


# ---------------------------------------------------------------- replication


def test_servers_that_changed_places_are_noticed(
    well: MariaDBPrimary, replica: MariaDBReplica
) -> None:
    report = examined(as_user(replica), replicas=[as_user(well)])

    assert "primary-read-only" in codes(report, server=PRIMARY)
    assert {"replica-is-primary", "replica-writable"} <= codes(
        report, server=f"127.0.0.1:{well.port}/app"
    )


def test_a_primary_that_keeps_no_positions_is_noticed(
    well: MariaDBPrimary, replica: MariaDBReplica, family_url: FamilyUrl
) -> None:
    # the run's own server has no binary log
    url = family_url("mariadb").replace("mysql://", "mysql+pymysql://")
    report = examined(url, replicas=[as_user(replica)])

    assert {"binlog-missing", "gtid-lenient"} <= codes(report, server=PRIMARY)


def test_a_replica_that_nobody_reads_from_is_a_hint(
    well: MariaDBPrimary, replica: MariaDBReplica
) -> None:
    assert wait_until(lambda: "replicas-unused" in codes(examined(as_user(well))), 10.0)


def test_a_replica_that_does_not_go_on_is_noticed(
    well: MariaDBPrimary, replica: MariaDBReplica
) -> None:
    replica.pause()
    try:
        report = examined(as_user(well), replicas=[as_user(replica)])
    finally:
        replica.resume()

    assert "Slave_SQL_Running" in one(report, "replication-stopped").seen


# ---------------------------------------------------------------- how it looks


def test_it_sends_nothing_that_could_write(well: MariaDBPrimary, replica: MariaDBReplica) -> None:
    # the drivers and SQLAlchemy set up the connection
    allowed = re.compile(
        r"(START TRANSACTION READ ONLY|SELECT|SHOW|ROLLBACK|SET AUTOCOMMIT = 0|SET NAMES)\b", re.I
    )
    with Proxy(as_user(well)) as proxy:
        report = examined(proxy.url)
        sent = proxy.sent
    statements = sent_by(sent, mysql=True)

    assert report.complete
    assert len(statements) > 20
    assert [each for each in statements if not allowed.match(each)] == []


def test_a_server_that_refuses_is_told_without_its_password(
    well: MariaDBPrimary, replica: MariaDBReplica
) -> None:
    url = make_url(as_user(well)).set(password="another-s3cret")
    report = examined(url.render_as_string(hide_password=False))

    assert not report.complete
    (unseen,) = report.unseen
    assert "Access denied" in unseen.why
    assert "s3cret" not in repr(report)


@pytest.mark.timing
def test_a_server_that_is_frozen_costs_no_more_than_the_timeout(
    well: MariaDBPrimary, replica: MariaDBReplica
) -> None:
    with Proxy(as_user(well)) as proxy:
        trap = proxy.freeze_at(re.compile(rb"innodb_trx"))
        began = time.monotonic()
        report = examined(proxy.url, limit=3.0)
        took = time.monotonic() - began

        assert trap.reached.is_set()
    assert not report.complete
    assert took < 8.0
