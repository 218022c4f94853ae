"""The servers and databases that every other test relies on."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Connection, Engine, create_engine, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.backends import BACKENDS, SYNC_BACKENDS, Backend
from tests.conftest import shared_server
from tests.databases import FamilyUrl, FreshUrl, TestDatabases, WorkerDatabases
from tests.loop import LoopComplained, run_async
from tests.servers import (
    LocalServer,
    MariaDBServer,
    PostgreSQLServer,
    ServerAccess,
    ServerSet,
    ServerUnavailable,
    installed,
)
from tests.servers.process import find_program, wait_until

_SERVERS = {"postgresql": PostgreSQLServer, "mariadb": MariaDBServer}
_SERVER_PARAMS = [
    pytest.param(family, marks=getattr(pytest.mark, family), id=family) for family in _SERVERS
]


@pytest.fixture(params=_SERVER_PARAMS)
def family_of_server(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture
def own_server(family_of_server: str, pytestconfig: pytest.Config) -> Iterator[LocalServer]:
    """A server that the test may break."""
    # Skips, or fails, where the family is not installed.
    shared_server(pytestconfig, family_of_server)
    with _SERVERS[family_of_server]() as server:
        yield server


@pytest.fixture
def server(family_of_server: str, pytestconfig: pytest.Config) -> ServerAccess:
    return shared_server(pytestconfig, family_of_server)


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # In a container nobody may be there to bury the children of a process that was killed.
    status = Path(f"/proc/{pid}/status")
    return not (status.exists() and "State:\tZ" in status.read_text())


# Servers


def test_a_server_reports_the_version_that_is_installed(
    server: ServerAccess, family_of_server: str
) -> None:
    assert server.version() in (installed()[family_of_server] or "")


def test_a_database_can_be_created_and_dropped(server: ServerAccess) -> None:
    server.create_database("created_and_dropped")
    with pytest.raises(Exception, match="exists"):
        server.create_database("created_and_dropped")

    server.drop_database("created_and_dropped")
    server.drop_database("created_and_dropped")


def test_a_database_name_that_needs_quotes_is_refused(server: ServerAccess) -> None:
    with pytest.raises(ValueError, match="not a plain database name"):
        server.create_database('x"; DROP DATABASE postgres; --')


def test_the_url_carries_a_password_that_needs_quoting(server: ServerAccess) -> None:
    url = server.url("anything")

    assert server.password not in url
    assert make_url(url).password == server.password


def test_a_wrong_password_is_refused(server: ServerAccess) -> None:
    engine = create_engine(make_url(server.url("postgres")).set(password="wrong"))

    with pytest.raises(Exception, match=r"password|denied"):
        engine.connect()


@pytest.mark.slow
def test_stop_ends_the_process_and_removes_its_folder(own_server: LocalServer) -> None:
    pid, directory = own_server.pid, own_server.directory
    assert pid is not None
    assert running(pid)

    own_server.stop()

    assert not running(pid)
    assert not directory.exists()
    assert own_server.pid is None


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["halt", "kill"])
def test_data_and_port_survive_the_end_of_the_process(own_server: LocalServer, ending: str) -> None:
    own_server.create_database("survivor")
    port = own_server.port

    getattr(own_server, ending)()
    assert own_server.pid is None
    own_server.start()

    assert own_server.port == port
    assert own_server.connections("survivor") == []
    own_server.empty_database("survivor")


@pytest.mark.slow
def test_settings_reach_the_server(family_of_server: str, pytestconfig: pytest.Config) -> None:
    shared_server(pytestconfig, family_of_server)
    server_class = _SERVERS[family_of_server]

    with server_class(durable=True, settings={"max_connections": "37"}) as server:
        server.create_database("settings")
        engine = create_engine(server.url("settings"))
        with engine.connect() as connection:
            if family_of_server == "postgresql":
                found = connection.scalar(text("SHOW max_connections"))
                durable = connection.scalar(text("SHOW fsync")) == "on"
            else:
                found = connection.scalar(text("SELECT @@max_connections"))
                durable = connection.scalar(text("SELECT @@innodb_flush_log_at_trx_commit")) == 1
        engine.dispose()

    assert int(str(found)) == 37
    assert durable


@pytest.mark.slow
@pytest.mark.skipif(find_program("setpriv") is None, reason="needs setpriv of util-linux")
def test_a_server_ends_when_the_process_that_started_it_is_killed(
    family_of_server: str, pytestconfig: pytest.Config
) -> None:
    shared_server(pytestconfig, family_of_server)
    server_class = _SERVERS[family_of_server].__name__
    script = (
        f"from tests.servers import {server_class}\n"
        f"server = {server_class}(); server.start()\n"
        "print(server.pid, server.directory, flush=True); input()\n"
    )

    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=pytestconfig.rootpath,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        pid, _, directory = owner.stdout.readline().strip().partition(" ")
        owner.send_signal(signal.SIGKILL)

    try:
        assert wait_until(lambda: not running(int(pid)), 10.0)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.servers.postgresql.find_program", lambda *_: None)
    monkeypatch.setattr("tests.servers.mariadb.find_program", lambda *_: None)

    for server_class, package in [
        (PostgreSQLServer, "postgresql"),
        (MariaDBServer, "mariadb-server"),
    ]:
        with pytest.raises(ServerUnavailable, match=f"install the package '{package}'"):
            server_class().start()
    assert installed() == {"postgresql": None, "mariadb": None}


def test_what_is_missing_for_the_owner_is_missing_for_a_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tests.servers.postgresql.find_program", lambda *_: None)
    monkeypatch.setattr("tests.servers.mariadb.find_program", lambda *_: None)

    worker = ServerSet(ServerSet().export())

    with pytest.raises(ServerUnavailable, match="mariadb-server"):
        worker.get("mariadb")


@pytest.mark.parametrize(
    ("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)]
)
def test_a_missing_server_skips_at_home_and_fails_in_ci(
    ci: str,
    outcome: type[BaseException],
    pytestconfig: pytest.Config,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_servers: ServerSet, _family: str) -> ServerAccess:
        raise ServerUnavailable("no program")

    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(ServerSet, "get", refuse)

    with pytest.raises(outcome, match="postgresql is MISSING: no program"):
        shared_server(pytestconfig, "postgresql")


# Databases


def count_tables(engine: Engine) -> int:
    with engine.connect() as connection:
        return len(engine.dialect.get_table_names(connection))


def count_objects(connection: Connection) -> list[int]:
    kinds = {
        "postgresql": ["pg_class", "pg_type", "pg_namespace"],
        # of this database alone: other tests make theirs on the same server meanwhile
        "mysql": [
            "information_schema.tables WHERE table_schema = database()",
            "information_schema.views WHERE table_schema = database()",
        ],
    }
    counts = (
        connection.scalar(text(f"SELECT count(*) FROM {kind}"))
        for kind in kinds[connection.dialect.name]
    )
    return [int(count or 0) for count in counts]


async def test_every_backend_connects_to_an_empty_database(
    backend: Backend, fresh_url: FreshUrl
) -> None:
    # Twice the same test in effect: what one run of it creates, the next must not find.
    statements = [text("CREATE TABLE left_by_a_test (a int)"), text("SELECT 'naïve ✓'")]
    if backend.is_async:
        async_engine = create_async_engine(fresh_url(backend))
        async with async_engine.begin() as async_connection:
            await async_connection.execute(statements[0])
            answer = await async_connection.scalar(statements[1])
        await async_engine.dispose()
    else:
        engine = create_engine(fresh_url(backend))
        with engine.begin() as connection:
            connection.execute(statements[0])
            answer = connection.scalar(statements[1])
        engine.dispose()

    assert answer == "naïve ✓"


def test_drivers_of_one_family_meet_in_the_same_database(
    sync_backend: Backend, fresh_url: FreshUrl
) -> None:
    urls = {
        make_url(fresh_url(other)).database
        for other in BACKENDS
        if other.family == sync_backend.family
    }

    assert len(urls) == 1


def test_a_second_database_is_apart_from_the_first(
    sync_backend: Backend, fresh_url: FreshUrl
) -> None:
    first = create_engine(fresh_url(sync_backend))
    second = create_engine(fresh_url(sync_backend, "second"))

    with first.begin() as connection:
        connection.execute(text("CREATE TABLE only_here (a int)"))
    tables = count_tables(first), count_tables(second)
    first.dispose()
    second.dispose()

    assert tables == (1, 0)


def test_a_family_url_names_no_driver(family: str, family_url: FamilyUrl) -> None:
    url = make_url(family_url(family))

    assert "+" not in url.drivername
    assert url.database


@pytest.mark.parametrize("sync_backend", SYNC_BACKENDS[1:], indirect=True, ids=lambda b: b.name)
def test_emptying_a_database_leaves_no_object_behind(
    sync_backend: Backend, databases: TestDatabases
) -> None:
    engine = create_engine(databases.url(sync_backend))
    with engine.begin() as connection:
        empty = count_objects(connection)
        connection.execute(text("CREATE TABLE parent (id int PRIMARY KEY)"))
        connection.execute(text("CREATE TABLE child (id int REFERENCES parent (id))"))
        connection.execute(text("CREATE VIEW seen AS SELECT id FROM parent"))
        if sync_backend.family == "postgresql":
            connection.execute(text("CREATE SCHEMA tenant"))
            connection.execute(text("CREATE TABLE tenant.things (id int)"))
            connection.execute(text("CREATE TYPE mood AS ENUM ('fine')"))
    engine.dispose()

    assert databases.finish() == []
    engine = create_engine(databases.url(sync_backend))
    with engine.connect() as connection:
        left = count_objects(connection)
    engine.dispose()
    assert left == empty


# The leak check must be able to fail


@pytest.fixture
def apart(request: pytest.FixtureRequest, tmp_path: Path) -> TestDatabases:
    """Databases whose end the test looks at itself."""
    return TestDatabases(
        WorkerDatabases(f"apart_{uuid4().hex[:8]}"),
        lambda family: shared_server(request.config, family),
        tmp_path,
    )


def test_a_connection_left_open_is_found_and_ended(
    sync_backend: Backend, apart: TestDatabases
) -> None:
    engine = create_engine(apart.url(sync_backend))
    connection = engine.connect()
    connection.execute(text("CREATE TABLE held (a int)"))

    left = apart.finish(patience=0.1)

    assert len(left) == 1
    assert ("descriptors" if sync_backend.family == "sqlite" else "connection") in left[0]
    connection.invalidate()
    connection.close()
    engine.dispose()
    assert apart.finish() == []


def test_a_connection_that_only_waits_in_a_pool_is_found(
    sync_backend: Backend, apart: TestDatabases
) -> None:
    engine = create_engine(apart.url(sync_backend))
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))

    left = apart.finish(patience=0.1)

    engine.dispose()
    assert len(left) == 1


@pytest.mark.parametrize("sync_backend", SYNC_BACKENDS[1:], indirect=True, ids=lambda b: b.name)
def test_a_transaction_left_prepared_is_found_and_rolled_back(
    sync_backend: Backend, apart: TestDatabases
) -> None:
    url = apart.url(sync_backend)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE held (a int)"))
    with engine.connect() as connection:
        transaction = connection.begin_twophase(f"{make_url(url).database}_1")
        connection.execute(text("INSERT INTO held VALUES (1)"))
        transaction.prepare()
        connection.invalidate()
    engine.dispose()

    left = apart.finish()

    assert len(left) == 1
    assert "still prepared" in left[0]


# Async tests


def test_an_async_test_that_fails_is_seen_to_fail() -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_async(fails)


def test_an_error_that_nobody_awaits_fails_an_async_test() -> None:
    async def fails() -> None:
        raise ZeroDivisionError

    async def forgets() -> None:
        task = asyncio.ensure_future(fails())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task

    with pytest.raises(LoopComplained, match="never retrieved"):
        run_async(forgets)
