"""The same fault is the same class of error, whichever driver reports it: on real servers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from uuid import uuid4

import pytest
from sqlalchemy import make_url

from hermetic.faults import FaultKind, Rerun, Transaction, Wire
from tests.backends import BACKENDS, Backend
from tests.databases import FreshUrl
from tests.faults.clients import Bench, Client
from tests.servers.process import free_port, wait_until

K: Final = FaultKind

_SERVER_BACKENDS: Final = [
    pytest.param(backend, id=backend.name, marks=getattr(pytest.mark, backend.family))
    for backend in BACKENDS
    if backend.family != "sqlite"
]
_POSTGRESQL: Final = [
    pytest.param(backend, id=backend.name, marks=pytest.mark.postgresql)
    for backend in BACKENDS
    if backend.family == "postgresql"
]
on_servers = pytest.mark.parametrize("backend", _SERVER_BACKENDS)
on_postgresql = pytest.mark.parametrize("backend", _POSTGRESQL)

_TABLES: Final = (
    "CREATE TABLE parent (id INTEGER PRIMARY KEY, name VARCHAR(9) NOT NULL, n INTEGER,"
    " CONSTRAINT parent_name UNIQUE (name), CONSTRAINT parent_n CHECK (n > 0))",
    "CREATE TABLE child (id INTEGER PRIMARY KEY, parent_id INTEGER,"
    " CONSTRAINT child_parent FOREIGN KEY (parent_id) REFERENCES parent (id))",
    "INSERT INTO parent VALUES (1, 'ann', 1), (2, 'bob', 1)",
)
_FIRST: Final = "UPDATE parent SET n = n + 1 WHERE id = 1"
_SECOND: Final = "UPDATE parent SET n = n + 1 WHERE id = 2"
_READ: Final = "SELECT * FROM parent"
_FOR_EVER: Final = (
    "WITH RECURSIVE c (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"
)


@pytest.fixture
def bench(backend: Backend, fresh_url: FreshUrl) -> Iterator[Bench]:
    bench = Bench(backend, fresh_url(backend))
    try:
        first = bench.client()
        if backend.family == "sqlite":
            first.run("PRAGMA journal_mode = WAL")
        first.run(*_TABLES)
        first.commit().result()
        yield bench
    finally:
        bench.close()


def connection_id(client: Client, family: str) -> int:
    ask = "SELECT pg_backend_pid()" if family == "postgresql" else "SELECT connection_id()"
    return int(client.run(ask)[0][0])


def wait_for(bench: Bench, id_: int) -> None:
    """Until the server has a statement of that connection at work."""
    watcher = bench.client()
    ask = {
        "postgresql": f"SELECT 1 FROM pg_stat_activity WHERE pid = {id_} AND state = 'active'"
        " AND wait_event = 'PgSleep'",
        "mariadb": f"SELECT 1 FROM information_schema.processlist WHERE id = {id_}"
        " AND state = 'User sleep'",
    }[bench.backend.family]
    assert wait_until(lambda: bool(watcher.run(ask)), 10)


def kill(bench: Bench, id_: int) -> None:
    statement = {"postgresql": "SELECT pg_terminate_backend({})", "mariadb": "KILL {}"}
    bench.client().run(statement[bench.backend.family].format(id_))


def sleep_of(family: str) -> str:
    return "SELECT pg_sleep(20)" if family == "postgresql" else "SELECT sleep(20)"


@contextmanager
def account(bench: Bench, rights: str, limit: str) -> Iterator[str]:
    """The URL of an account that exists for a moment."""
    name, admin = f"t{uuid4().hex[:12]}", bench.client()
    if bench.backend.family == "postgresql":
        made, grantee = f"CREATE ROLE {name} LOGIN PASSWORD 'secret' {limit}", name
        dropped = f"DROP OWNED BY {name}; DROP ROLE {name}"
    else:
        grantee = f"{name}@'127.0.0.1'"
        made = f"CREATE USER {grantee} IDENTIFIED BY 'secret' {limit}"
        dropped = f"DROP USER {grantee}"
    admin.run(made, f"GRANT {rights} TO {grantee}")
    admin.commit().result()
    url = make_url(bench.url).set(username=name, password="secret")
    try:
        yield url.render_as_string(hide_password=False)
    finally:
        bench.close()
        dropper = Bench(bench.backend, bench.url)
        client = dropper.client()
        client.run(*dropped.split("; "))
        client.commit().result()
        dropper.close()


# ---------------------------------------------------------------- what a statement meets


@pytest.mark.parametrize(
    ("statement", "kind", "names"),
    [
        ("INSERT INTO parent VALUES (3, 'ann', 1)", K.UNIQUE, {"parent_name", "parent.name"}),
        ("INSERT INTO child VALUES (1, 9)", K.FOREIGN_KEY, {"child_parent", None}),
        ("INSERT INTO parent VALUES (3, NULL, 1)", K.NOT_NULL, {None, "parent.name"}),
        ("INSERT INTO parent (id, n) VALUES (3, 1)", K.NOT_NULL, {None, "parent.name"}),
        ("INSERT INTO parent VALUES (3, 'cat', -1)", K.CHECK, {"parent_n"}),
    ],
)
def test_a_violated_constraint_is_one_class(
    bench: Bench, statement: str, kind: FaultKind, names: set[str | None]
) -> None:
    client = bench.client()
    if bench.backend.family == "sqlite":
        client.run("PRAGMA foreign_keys = ON", "BEGIN")
    fault = bench.fault(client.error(statement))
    assert (fault.kind, fault.rerun, fault.wire) == (kind, Rerun.NEVER, Wire.USABLE)
    assert fault.constraint in names
    doomed = bench.backend.family == "postgresql"
    assert fault.transaction is (Transaction.DOOMED if doomed else Transaction.INTACT)
    assert (client.start(_READ).error_or_none() is not None) is doomed


@pytest.mark.parametrize("statement", ["SELEC 1", "SELECT * FROM nowhere", "SELECT x FROM parent"])
def test_a_statement_that_makes_no_sense_is_one_class(bench: Bench, statement: str) -> None:
    assert bench.fault(bench.client().error(statement)).kind is K.PROGRAMMING


def test_a_value_that_does_not_fit_is_one_class(bench: Bench) -> None:
    statement = {
        "postgresql": "INSERT INTO parent VALUES (3, 'much too long', 1)",
        "mariadb": "INSERT INTO parent VALUES (3, 'much too long', 1)",
        "sqlite": "INSERT INTO parent VALUES ('three', 'cat', 1)",
    }[bench.backend.family]
    assert bench.fault(bench.client().error(statement)).kind is K.DATA


def test_a_write_in_a_read_only_transaction_is_one_class(bench: Bench) -> None:
    client = bench.client()
    client.run(
        *{
            "postgresql": ["SET TRANSACTION READ ONLY"],
            "mariadb": ["START TRANSACTION READ ONLY"],
            "sqlite": ["PRAGMA query_only = ON"],
        }[bench.backend.family]
    )
    fault = bench.fault(client.error(_FIRST))
    assert (fault.kind, fault.rerun) == (K.READ_ONLY, Rerun.NEVER)


def test_a_lock_that_is_not_to_be_had_is_one_class(bench: Bench) -> None:
    holder, waiter = bench.client(), bench.client()
    if bench.backend.family == "sqlite":
        holder.run("BEGIN IMMEDIATE")
    if bench.backend.family == "postgresql":
        waiter.run("SET lock_timeout = '50ms'")
    holder.run(_FIRST)
    fault = bench.fault(waiter.error(_FIRST))
    assert (fault.kind, fault.rerun) == (K.LOCK_TIMEOUT, Rerun.TRANSACTION)


def test_a_conflict_of_two_snapshots_is_one_class(bench: Bench) -> None:
    reader, writer = bench.client(), bench.client()
    reader.run(
        *{
            "postgresql": ["SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"],
            # off by default before MariaDB 11.6.2
            "mariadb": ["SET innodb_snapshot_isolation = ON", "START TRANSACTION"],
            "sqlite": ["BEGIN"],
        }[bench.backend.family],
        _READ,
    )
    writer.run(_FIRST)
    writer.commit().result()
    fault = bench.fault(reader.error(_FIRST))
    assert (fault.kind, fault.rerun) == (K.SERIALIZATION, Rerun.TRANSACTION)
    if bench.backend.family == "mariadb":
        assert fault.transaction is Transaction.GONE
        assert reader.run("SELECT @@in_transaction")[0][0] == 0


def test_a_statement_that_is_ended_is_one_class(bench: Bench) -> None:
    client = bench.client()
    if bench.backend.family == "sqlite":
        pending = client.start(_FOR_EVER)
        # an interrupt before the statement has begun is lost
        assert wait_until(lambda: (client.interrupt(), pending.done)[1], 10)
        fault = bench.fault(pending.error())
    elif bench.backend.family == "postgresql":
        client.run("SET statement_timeout = '50ms'")
        fault = bench.fault(client.error("SELECT pg_sleep(20)"))
    else:
        client.run("SET max_statement_time = 0.05")
        fault = bench.fault(client.error("SELECT sleep(20) FROM parent"))
    assert (fault.kind, fault.rerun, fault.wire) == (
        K.STATEMENT_TIMEOUT,
        Rerun.NEVER,
        Wire.USABLE,
    )


@on_servers
def test_a_deadlock_is_one_class(bench: Bench) -> None:
    one, other = bench.client(), bench.client()
    one.run(_FIRST)
    other.run(_SECOND)
    pendings = {one: one.start(_SECOND), other: other.start(_FIRST)}
    errors = {client: pending.error_or_none() for client, pending in pendings.items()}
    ((victim, error),) = [(client, error) for client, error in errors.items() if error is not None]
    fault = bench.fault(error)
    assert (fault.kind, fault.rerun) == (K.DEADLOCK, Rerun.TRANSACTION)
    if bench.backend.family == "mariadb":
        assert fault.transaction is Transaction.GONE
        assert victim.run("SELECT @@in_transaction")[0][0] == 0


def test_a_statement_after_the_end_of_its_transaction_is_one_class(bench: Bench) -> None:
    client = bench.client()
    if bench.backend.family == "postgresql":
        client.error("SELECT 1/0")
        error = client.error(_READ)
    elif bench.backend.family == "mariadb":
        client.run(_FIRST, "SAVEPOINT inner_one", "ROLLBACK")
        error = client.error("ROLLBACK TO SAVEPOINT inner_one")
    else:
        client.run("PRAGMA max_page_count = 1", "BEGIN", _FIRST)
        big = "INSERT INTO parent SELECT 99, hex(zeroblob(1000000)), 1"
        assert bench.fault(client.error(big)).kind is K.RESOURCES
        # SQLite rolled back by itself
        error = client.error("COMMIT")
    fault = bench.fault(error)
    assert (fault.kind, fault.rerun) == (K.TRANSACTION_ABORTED, Rerun.NEVER)


@on_servers
def test_a_changed_table_under_an_open_transaction_is_one_class(bench: Bench) -> None:
    reader, changer = bench.client(), bench.client()
    # psycopg prepares a statement when it comes for the sixth time, asyncpg at once
    for _ in range(8):
        reader.run(_READ)
    reader.rollback().result()
    if bench.backend.family == "mariadb":
        reader.run("START TRANSACTION WITH CONSISTENT SNAPSHOT")
    changer.run("ALTER TABLE parent ADD COLUMN more INTEGER")
    changer.commit().result()
    fault = bench.fault(reader.error(_READ))
    assert (fault.kind, fault.rerun) == (K.STALE_PLAN, Rerun.TRANSACTION)


@on_servers
def test_a_right_that_is_missing_is_one_class(bench: Bench) -> None:
    with account(bench, "SELECT ON child", "") as url:
        client = bench.client(url)
        assert bench.fault(client.error(_READ)).kind is K.PERMISSION


# ---------------------------------------------------------------- lost connections


def test_a_connection_that_is_gone_is_one_class(bench: Bench) -> None:
    client = bench.client()
    if bench.backend.family == "sqlite":
        client.close_driver()
    else:
        id_ = connection_id(client, bench.backend.family)
        kill(bench, id_)
    # the first statements may still meet a server that is about to hang up
    fault = bench.fault(_first_error(client))
    assert (fault.kind, fault.rerun) == (K.CONNECTION_LOST, Rerun.TRANSACTION)
    assert (fault.transaction, fault.wire) == (Transaction.GONE, Wire.DEAD)


def _first_error(client: Client) -> Exception:
    errors: list[Exception] = []

    def failed() -> bool:
        error = client.start(_READ).error_or_none()
        errors.extend([error] if error is not None else [])
        return bool(errors)

    assert wait_until(failed, 10)
    return errors[0]


@on_servers
def test_a_connection_that_breaks_under_a_statement_is_one_class(bench: Bench) -> None:
    client = bench.client()
    id_ = connection_id(client, bench.backend.family)
    pending = client.start(sleep_of(bench.backend.family))
    wait_for(bench, id_)
    kill(bench, id_)
    fault = bench.fault(pending.error())
    assert (fault.kind, fault.rerun) == (K.CONNECTION_LOST, Rerun.TRANSACTION)
    assert (fault.transaction, fault.wire) == (Transaction.GONE, Wire.DEAD)
    assert fault.ambiguous_at_commit


@on_servers
def test_an_idle_transaction_that_the_server_ended_may_run_again(bench: Bench) -> None:
    client = bench.client()
    id_ = connection_id(client, bench.backend.family)
    client.run(
        "SET idle_in_transaction_session_timeout = '50ms'"
        if bench.backend.family == "postgresql"
        else "SET idle_transaction_timeout = 1"
    )
    if bench.backend.family == "mariadb":
        client.commit().result()
    client.run(_FIRST)
    watcher = bench.client()
    ask = (
        f"SELECT 1 FROM pg_stat_activity WHERE pid = {id_}"
        if bench.backend.family == "postgresql"
        else f"SELECT 1 FROM information_schema.processlist WHERE id = {id_}"
    )
    assert wait_until(lambda: not watcher.run(ask), 10)
    fault = bench.fault(client.error(_READ))
    # MariaDB 10.11 hangs up without a word; asyncpg 0.32 does not keep what came while it was idle
    told = bench.backend.name.startswith("psycopg")
    assert fault.kind is (K.IDLE_TIMEOUT if told else K.CONNECTION_LOST)
    assert (fault.rerun, fault.transaction) == (Rerun.TRANSACTION, Transaction.GONE)
    assert fault.wire is Wire.DEAD


# ---------------------------------------------------------------- no connection


@on_servers
def test_a_closed_port_is_one_class(bench: Bench) -> None:
    url = make_url(bench.url).set(port=free_port()).render_as_string(hide_password=False)
    fault = bench.fault(bench.connect_error(url))
    assert (fault.kind, fault.rerun) == (K.CANNOT_CONNECT, Rerun.CONNECT)
    assert not fault.ambiguous_at_commit


@on_servers
def test_a_host_that_does_not_exist_is_one_class(bench: Bench) -> None:
    url = make_url(bench.url).set(host="nowhere.invalid").render_as_string(hide_password=False)
    fault = bench.fault(bench.connect_error(url))
    assert (fault.kind, fault.rerun) == (K.CANNOT_CONNECT, Rerun.CONNECT)


@on_servers
@pytest.mark.slow
def test_a_server_that_does_not_answer_a_connect_is_one_class(bench: Bench) -> None:
    # the connect_timeout of PyMySQL and asyncmy ends with the TCP handshake
    limit = {
        "asyncpg": {"timeout": 0.5},
        "pymysql": {"read_timeout": 1},
        "asyncmy": {"read_timeout": 1},
    }.get(bench.backend.name, {"connect_timeout": 2})
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = make_url(bench.url).set(port=deaf.getsockname()[1])
        error = bench.connect_error(url.render_as_string(hide_password=False), **limit)
    fault = bench.fault(error)
    assert (fault.kind, fault.rerun) == (K.CANNOT_CONNECT, Rerun.CONNECT)


@on_servers
def test_a_server_that_hangs_up_on_a_connect_is_one_class(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as rude:
        threading.Thread(target=lambda: rude.accept()[0].close()).start()
        url = make_url(bench.url).set(port=rude.getsockname()[1])
        # asyncpg reads an early end as "no TLS here", and tries again without
        own = {"ssl": False} if bench.backend.name == "asyncpg" else {}
        own = {"sslmode": "disable"} if bench.backend.name.startswith("psycopg") else own
        error = bench.connect_error(url.render_as_string(hide_password=False), **own)
    fault = bench.fault(error)
    assert (fault.kind, fault.rerun) == (K.CANNOT_CONNECT, Rerun.CONNECT)


@on_servers
def test_a_wrong_password_is_one_class(bench: Bench) -> None:
    url = make_url(bench.url).set(password="wrong").render_as_string(hide_password=False)
    fault = bench.fault(bench.connect_error(url))
    assert (fault.kind, fault.rerun) == (K.AUTHENTICATION, Rerun.NEVER)


@on_servers
def test_a_database_that_does_not_exist_is_one_class(bench: Bench) -> None:
    url = make_url(bench.url).set(database="nowhere").render_as_string(hide_password=False)
    assert bench.fault(bench.connect_error(url)).kind is K.PROGRAMMING


@on_servers
def test_one_connection_too_many_is_one_class(bench: Bench) -> None:
    limit = "CONNECTION LIMIT 1"
    if bench.backend.family == "mariadb":
        limit = "WITH MAX_USER_CONNECTIONS 1"
    with account(bench, "SELECT ON child", limit) as url:
        bench.client(url)
        fault = bench.fault(bench.connect_error(url))
    assert (fault.kind, fault.rerun) == (K.TOO_MANY_CONNECTIONS, Rerun.CONNECT)


@on_postgresql
def test_a_command_that_the_driver_gives_up_is_not_run_again(bench: Bench) -> None:
    if bench.backend.name != "asyncpg":
        pytest.skip("only asyncpg has a limit of its own for a command")
    client = bench.client(command_timeout=0.2)
    fault = bench.fault(client.error("SELECT pg_sleep(20)"))
    assert (fault.kind, fault.rerun) == (K.STATEMENT_TIMEOUT, Rerun.NEVER)
    assert fault.wire is Wire.DEAD
