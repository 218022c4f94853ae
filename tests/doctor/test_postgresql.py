"""PostgreSQL servers that are set up badly, and well, as the doctor sees them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from hermetic import Database, Group
from hermetic.doctor import Severity, examine
from hermetic.doctor import postgresql as looking
from hermetic.doctor.about import PRIMARY, About
from tests.doctor.planted import RECOMMENDED, TODAY
from tests.doctor.seen import codes, examined, one, sent_by
from tests.faketime import FaketimeUnavailable, JumpingClock
from tests.proxy import Proxy
from tests.servers import PostgreSQLReplica, PostgreSQLServer, ServerAccess
from tests.servers.certificates import Authority
from tests.servers.pgbouncer import PgBouncer
from tests.servers.process import ServerUnavailable, wait_until

pytestmark = [pytest.mark.postgresql, pytest.mark.slow]

_BAD = {
    "max_connections": "25",
    "max_prepared_transactions": "0",
    "synchronous_commit": "off",
    "autovacuum": "off",
    "zero_damaged_pages": "on",
    "default_transaction_isolation": "serializable",
    "standard_conforming_strings": "off",
    "idle_session_timeout": "60s",
    "search_path": "nowhere",
}
_PASSWORD = "canary-s3cret"
_ROLE = f"""
    CREATE ROLE app LOGIN PASSWORD '{_PASSWORD}';
    ALTER DATABASE app OWNER TO app;
    CREATE ROLE plain LOGIN PASSWORD '{_PASSWORD}';
    GRANT pg_read_all_stats TO app;
"""


@pytest.fixture(scope="module")
def bad() -> Iterator[PostgreSQLServer]:
    with PostgreSQLServer(settings=_BAD) as server:
        server._do("CREATE DATABASE app ENCODING SQL_ASCII TEMPLATE template0 LOCALE 'C'")
        yield server


@pytest.fixture(scope="module")
def well(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgreSQLServer]:
    settings = {"hot_standby_feedback": "on", "wal_receiver_status_interval": "1s"}
    with PostgreSQLServer(durable=True, settings=settings) as server:
        server.create_database("app")
        for statement in _ROLE.strip().rstrip(";").split(";"):
            server._do(statement)
        yield server


@pytest.fixture(scope="module")
def replica(well: PostgreSQLServer) -> Iterator[PostgreSQLReplica]:
    with PostgreSQLReplica(well) as server:
        yield server


def as_role(server: ServerAccess, role: str = "app") -> str:
    url = make_url(server.url("app")).set(username=role, password=_PASSWORD)
    return url.render_as_string(hide_password=False)


# ---------------------------------------------------------------- servers as they are


def test_a_badly_configured_server_is_told_so(bad: PostgreSQLServer) -> None:
    report = examined(
        # psycopg gives bytes for all text otherwise, with which SQLAlchemy cannot begin
        f"{bad.url('app')}?client_encoding=utf8",
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
        "isolation-differs",
        "durability-off",
        "synchronous-commit-off",
        "errors-passed-over",
        "autovacuum-off",
        "commit-table-missing",
        "role-superuser",
        "search-path",
        "encoding",
        "strings-nonstandard",
    }
    assert "max_connections = 25" in one(report, "pool-over-limit").seen
    assert report.complete


def test_a_well_configured_server_has_nothing_wrong(
    well: PostgreSQLServer, replica: PostgreSQLReplica
) -> None:
    url = as_role(well)
    report = examined(url, replicas=[as_role(replica)], tls=None)

    assert [each for each in report.findings if each.server != "client"] == []
    assert codes(report, Severity.WARNING) == set()
    assert report.unseen == ()
    assert {each.server for each in report.looked} == {PRIMARY, f"127.0.0.1:{replica.port}/app"}


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg_async", "postgresql+asyncpg"])
def test_any_driver_shows_the_same(well: PostgreSQLServer, scheme: str) -> None:
    url = as_role(well).replace("postgresql+psycopg", scheme)
    report = examined(url, pool_size=60)

    assert codes(report, Severity.WARNING) == {"pool-over-limit"}
    assert report.unseen == ()


def test_a_group_that_prepares_is_told_where_it_cannot(
    bad: PostgreSQLServer, well: PostgreSQLServer
) -> None:
    with Group(
        main=Database(as_role(well), name="main"),
        audit=Database(bad.url("postgres"), name="audit"),
        two_phase="main",
    ) as group:
        report = examine(group)

        assert one(report, "decision-log-missing").database == "main"
        group.create_log()
        assert "decision-log-missing" not in codes(examine(group))

    found = one(report, "two-phase-impossible")
    assert (found.database, found.severity) == ("audit", Severity.ERROR)
    well._do("DROP TABLE hermetic_units", "app")


def test_a_role_that_sees_little_is_told_what_was_not_looked_at(well: PostgreSQLServer) -> None:
    report = examined(as_role(well, "plain"))

    assert report.complete
    assert codes(report, Severity.WARNING) == set()
    (unseen,) = report.unseen
    assert "pg_read_all_stats" in unseen.why


def test_what_a_role_was_given_is_what_counts(well: PostgreSQLServer) -> None:
    well._do("ALTER ROLE plain SET default_transaction_read_only = on")
    well._do("ALTER ROLE plain SET search_path = gone, public")
    well._do("GRANT CREATE ON SCHEMA public TO PUBLIC", "app")
    try:
        report = examined(as_role(well, "plain"))
    finally:
        well._do("ALTER ROLE plain RESET ALL")
        well._do("REVOKE CREATE ON SCHEMA public FROM PUBLIC", "app")

    assert codes(report, server=PRIMARY) >= {"primary-read-only", "search-path", "public-writable"}
    assert "there is no gone" in one(report, "search-path").seen


def test_limits_of_a_role_and_a_database_count(well: PostgreSQLServer) -> None:
    well._do("ALTER ROLE app CONNECTION LIMIT 12")
    well._do("ALTER DATABASE app CONNECTION LIMIT 15")
    try:
        report = examined(as_role(well))
    finally:
        well._do("ALTER ROLE app CONNECTION LIMIT -1")
        well._do("ALTER DATABASE app CONNECTION LIMIT -1")

    seen = [each.seen for each in report.findings if each.code == "pool-over-limit"]
    assert ["rolconnlimit = 12" in each for each in seen] == [True, False]
    assert "datconnlimit = 15" in seen[1]


def test_who_is_connected_now_is_counted(well: PostgreSQLServer) -> None:
    connections = [
        psycopg.connect(as_role(well, "plain").replace("+psycopg", "")) for _ in range(8)
    ]
    try:
        report = examined(as_role(well), pool_size=45)
    finally:
        for connection in connections:
            connection.close()

    assert "8 are others' now" in one(report, "pool-over-free").seen


def test_what_is_open_and_prepared_is_read(well: PostgreSQLServer) -> None:
    url = as_role(well)
    database = Database(url)
    about = About(
        database="app",
        server=PRIMARY,
        url=database.server.url,
        options=database.options,
        today=TODAY,
    )
    with psycopg.connect(url.replace("+psycopg", "")) as idle:
        idle.execute("SELECT 1")
        pid = idle.info.backend_pid
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as prepares:
            prepares.execute("BEGIN")
            prepares.execute("PREPARE TRANSACTION 'left'")
        try:
            facts, refused = looking.read(database.server, about, time.monotonic() + 10)
        finally:
            well._do("ROLLBACK PREPARED 'left'", "app")
    database.close()

    assert refused == []
    assert [each.name for each in facts.prepared or ()] == ["left"]
    (session,) = (each for each in facts.sessions or () if each.pid == pid)
    assert session.idle is not None
    assert facts.oldest is not None
    assert abs(facts.skew or 99.0) < 5.0


# ---------------------------------------------------------------- replication


def test_servers_that_changed_places_are_noticed(
    well: PostgreSQLServer, replica: PostgreSQLReplica
) -> None:
    report = examined(as_role(replica), replicas=[as_role(well)])

    assert "primary-in-recovery" in codes(report, server=PRIMARY)
    assert "replica-is-primary" in codes(report, server=f"127.0.0.1:{well.port}/app")


def test_a_replica_that_nobody_reads_from_is_a_hint(
    well: PostgreSQLServer, replica: PostgreSQLReplica
) -> None:
    assert wait_until(lambda: "replicas-unused" in codes(examined(as_role(well))), 10.0)


def test_a_replica_that_is_late_is_noticed(
    well: PostgreSQLServer, replica: PostgreSQLReplica
) -> None:
    replica.catch_up()
    replica.pause()
    name = f"127.0.0.1:{replica.port}/app"
    try:
        well._do("CREATE TABLE late (id int)", "app")
        assert wait_until(
            lambda: (
                "replica-lag"
                in codes(examined(as_role(well), replicas=[as_role(replica)], replica_lag=0.01))
            ),
            10.0,
        )
    finally:
        replica.resume()
        well._do("DROP TABLE late", "app")
    replica.catch_up()
    assert "replica-lag" not in codes(
        examined(as_role(well), replicas=[as_role(replica)]), server=name
    )


def test_a_replica_that_receives_nothing_is_noticed(
    well: PostgreSQLServer, replica: PostgreSQLReplica
) -> None:
    replica._do("ALTER SYSTEM SET primary_conninfo = ''")
    replica._do("ALTER SYSTEM SET hot_standby_feedback = off")
    replica._do("SELECT pg_reload_conf()")
    try:
        wanted = {"replication-stopped", "standby-feedback-off"}
        assert wait_until(
            lambda: wanted <= codes(examined(as_role(well), replicas=[as_role(replica)])), 10.0
        )
    finally:
        replica._do("ALTER SYSTEM RESET ALL")
        replica._do("SELECT pg_reload_conf()")


def test_a_standby_that_answers_nothing_at_its_own_level_is_told_so(
    well: PostgreSQLServer, replica: PostgreSQLReplica
) -> None:
    replica._do("ALTER SYSTEM SET default_transaction_isolation = 'serializable'")
    replica._do("SELECT pg_reload_conf()")
    try:
        assert wait_until(
            lambda: (
                "serializable-replica"
                in codes(examined(as_role(well), replicas=[as_role(replica)]))
            ),
            10.0,
        )
    finally:
        with psycopg.connect(replica.url("postgres").replace("+psycopg", "")) as admin:
            admin.autocommit = True
            admin.execute("SET default_transaction_isolation = 'read committed'")
            admin.execute("ALTER SYSTEM RESET ALL")
            admin.execute("SELECT pg_reload_conf()")
        assert wait_until(
            lambda: (
                codes(examined(as_role(replica), replicas=[]), Severity.ERROR)
                == {"primary-in-recovery"}
            ),
            10.0,
        )


# ---------------------------------------------------------------- who is at the other end


@pytest.fixture(scope="module")
def secured(well: PostgreSQLServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        authority = Authority(tmp_path_factory.mktemp("authority"))
    except ServerUnavailable as error:
        pytest.skip(str(error))
    owner = well.directory.stat()
    settings = {"ssl": "on"}
    for name, path in zip(
        ("ssl_cert_file", "ssl_key_file"), authority.sign("db", "DNS:db.example"), strict=True
    ):
        copy = well.directory / path.name
        shutil.copy(path, copy)
        os.chown(copy, owner.st_uid, owner.st_gid)
        copy.chmod(0o600)
        settings[name] = str(copy)
    well._configure(settings)
    well._do("SELECT pg_reload_conf()")
    assert wait_until(lambda: well._do("SHOW ssl") == "on", 10.0)
    return authority.certificate


@pytest.mark.parametrize(
    ("mode", "found"),
    [("disable", "tls-off"), ("prefer", "tls-optional"), ("require", "tls-unverified")],
)
def test_a_connection_that_is_not_secured_is_noticed(
    well: PostgreSQLServer, secured: Path, mode: str, found: str
) -> None:
    url = make_url(as_role(well)).set(host="db.example")
    query = {"hostaddr": "127.0.0.1", "sslmode": mode}
    report = examined(url.set(query=query).render_as_string(hide_password=False))

    assert {code for code in codes(report) if code.startswith("tls")} == {found}


def test_a_connection_that_is_secured_has_nothing_wrong(
    well: PostgreSQLServer, secured: Path
) -> None:
    url = make_url(as_role(well)).set(host="db.example", query={"hostaddr": "127.0.0.1"})
    report = examined(url.render_as_string(hide_password=False), tls=secured)

    assert report.complete
    assert codes(report, Severity.WARNING) == set()


# ---------------------------------------------------------------- poolers


@pytest.fixture(scope="module")
def bouncers(well: PostgreSQLServer) -> Iterator[dict[str, str]]:
    try:
        with (
            PgBouncer(well) as transactions,
            PgBouncer(well, {"pool_mode": "session"}) as sessions,
        ):
            yield {"transaction": transactions.url("app"), "session": sessions.url("app")}
    except ServerUnavailable as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_a_pooler_that_lends_for_a_transaction_is_recognised(
    bouncers: dict[str, str], driver: str
) -> None:
    report = examined(bouncers["transaction"].replace("psycopg", driver), workers=50)

    assert one(report, "pooler-untold").severity is Severity.ERROR
    assert "pool-over-limit" not in codes(report)


def test_a_pooler_that_hermetic_was_told_of_has_nothing_wrong(bouncers: dict[str, str]) -> None:
    report = examined(bouncers["transaction"], pooler="transaction")

    assert {code for code in codes(report) if code.startswith("pooler")} == set()


def test_what_prepares_behind_a_pooler_is_noticed(bouncers: dict[str, str]) -> None:
    report = examined(
        bouncers["transaction"], pooler="transaction", connect_args={"prepare_threshold": 5}
    )

    assert {code for code in codes(report) if code.startswith("pooler")} == {"pooler-prepares"}


def test_a_pooler_that_is_not_there_is_a_hint(well: PostgreSQLServer) -> None:
    report = examined(as_role(well), pooler="transaction")

    assert {code for code in codes(report) if code.startswith("pooler")} == {"pooler-absent"}


def test_a_pooler_in_session_mode_is_a_hint(bouncers: dict[str, str]) -> None:
    report = examined(bouncers["session"])

    assert {code for code in codes(report) if code.startswith("pooler")} == {"pooler-seen"}


# ---------------------------------------------------------------- how it looks


def test_it_sends_nothing_that_could_write(well: PostgreSQLServer) -> None:
    # psycopg asks for a type, at SQLAlchemy's first look, inside a savepoint
    allowed = re.compile(
        r"(BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY|SET LOCAL statement_timeout|SELECT|SHOW|"
        r"ROLLBACK|SAVEPOINT|RELEASE)\b",
        re.IGNORECASE,
    )
    with Proxy(as_role(well)) as proxy:
        report = examined(f"{proxy.url}?sslmode=disable")
        sent = proxy.sent
    statements = sent_by(sent, mysql=False)

    assert report.complete
    assert len(statements) > 30
    assert [each for each in statements if not allowed.match(each)] == []


def test_a_server_that_is_not_there_is_told_without_its_password() -> None:
    report = examined(f"postgresql+psycopg://app:{_PASSWORD}@127.0.0.1:1/app")

    assert not report.complete
    (unseen,) = report.unseen
    assert unseen.whole
    assert "OperationalError" in unseen.why
    assert _PASSWORD not in repr(report)


@pytest.mark.timing
def test_a_server_that_is_frozen_costs_no_more_than_the_timeout(well: PostgreSQLServer) -> None:
    with Proxy(as_role(well)) as proxy:
        trap = proxy.freeze_at(re.compile(rb"pg_stat_activity"))
        began = time.monotonic()
        report = examined(f"{proxy.url}?sslmode=disable", limit=3.0)
        took = time.monotonic() - began

        assert trap.reached.is_set()
    assert not report.complete
    assert took < 8.0


@pytest.mark.timing
def test_a_server_that_does_not_answer_costs_no_more_than_the_timeout(
    bad: PostgreSQLServer,
) -> None:
    assert bad.pid is not None
    os.kill(bad.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        report = examined(bad.url("app"), limit=3.0)
        took = time.monotonic() - began
    finally:
        os.kill(bad.pid, signal.SIGCONT)

    assert not report.complete
    assert took < 8.0


def test_the_applications_own_pool_is_left_alone(well: PostgreSQLServer) -> None:
    database = Database(as_role(well), **RECOMMENDED)
    with database.session(readonly=True) as session:
        session.scalar("SELECT 1")
    before = database.snapshot().connections

    examine(database)

    assert [each.number for each in database.snapshot().connections] == [
        each.number for each in before
    ]
    database.close()


_BY_A_JUMPING_CLOCK = """
import sys
from hermetic import Database
from hermetic.doctor import examine
database = Database(sys.argv[1])
found = set()
for _ in range(100):
    found |= {each.code for each in examine(database).findings} & {"clock-skew", "clock-jumped"}
    if len(found) == 2:
        break
print(*sorted(found))
"""


def test_a_clock_that_is_set_is_noticed(well: PostgreSQLServer, tmp_path: Path) -> None:
    try:
        clock = JumpingClock(tmp_path)
    except FaketimeUnavailable as error:
        pytest.skip(str(error))
    with clock:
        done = subprocess.run(
            [sys.executable, "-c", _BY_A_JUMPING_CLOCK, as_role(well)],
            env={**os.environ, **clock.environment},
            check=True,
            capture_output=True,
            text=True,
        )

    assert done.stdout.split() == ["clock-jumped", "clock-skew"]
