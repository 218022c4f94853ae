"""The same fault is the same class of error, whichever driver reports it: on real servers."""

from __future__ import annotations

from typing import Final

import pytest

from hermetic.faults import FaultKind, Rerun, Transaction, Wire
from tests.faults.clients import Bench, Client, on, on_servers
from tests.servers.process import wait_until

K: Final = FaultKind

_FIRST: Final = "UPDATE parent SET n = n + 1 WHERE id = 1"
_SECOND: Final = "UPDATE parent SET n = n + 1 WHERE id = 2"
_READ: Final = "SELECT * FROM parent"
_SLEEP: Final = {"postgresql": "SELECT pg_sleep(20)", "mariadb": "SELECT sleep(20)"}
_FOR_EVER: Final = (
    "WITH RECURSIVE c (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"
)


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
    if bench.backend.family == "mariadb":
        for client in (one, other):  # or one would give up before the other is there
            client.run("SET innodb_lock_wait_timeout = 15")
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
        big = "INSERT INTO parent VALUES (99, hex(zeroblob(1000000)), 1)"
        assert bench.fault(client.error(big)).kind is K.RESOURCES
        # SQLite has rolled back by itself; it would not have for INSERT … SELECT
        error = client.error("COMMIT")
    fault = bench.fault(error)
    assert (fault.kind, fault.rerun) == (K.TRANSACTION_ABORTED, Rerun.NEVER)


@on_servers
def test_a_changed_table_under_an_open_transaction_is_one_class(bench: Bench) -> None:
    reader, changer = bench.client(), bench.client()
    # psycopg prepares a statement when it comes for the sixth time, asyncpg at once
    for _ in range(8):
        reader.run(_READ)
    # not rollback(), with which psycopg forgets what it prepared
    reader.commit().result()
    if bench.backend.family == "mariadb":
        reader.run("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        # a column alone is added without making the table anew, and old snapshots go on
        changer.run("ALTER TABLE parent FORCE")
    else:
        changer.run("ALTER TABLE parent ADD COLUMN more INTEGER")
    changer.commit().result()
    fault = bench.fault(reader.error(_READ))
    assert (fault.kind, fault.rerun) == (K.STALE_PLAN, Rerun.TRANSACTION)


@on_servers
def test_a_right_that_is_missing_is_one_class(bench: Bench) -> None:
    with bench.account("SELECT ON child", "") as url:
        client = bench.client(url)
        assert bench.fault(client.error(_READ)).kind is K.PERMISSION


# ---------------------------------------------------------------- what a COMMIT meets


@on("sqlite")
def test_a_commit_that_a_lock_holds_up_leaves_its_transaction_open(bench: Bench) -> None:
    # without WAL, readers hold up a writer's COMMIT
    bench.once("PRAGMA journal_mode = DELETE")
    writer, reader = bench.client(), bench.client()
    reader.run("BEGIN", _READ)
    writer.run("BEGIN", _FIRST)
    fault = bench.fault(writer.error("COMMIT"))
    assert (fault.kind, fault.transaction) == (K.LOCK_TIMEOUT, Transaction.INTACT)
    reader.run("COMMIT")
    writer.run("COMMIT")
    assert reader.run("SELECT n FROM parent WHERE id = 1") == [(2,)]


@on("sqlite", "postgresql")
def test_a_constraint_that_a_commit_violates_is_definite(bench: Bench) -> None:
    client = bench.client()
    if bench.backend.family == "sqlite":
        client.run("PRAGMA foreign_keys = ON", "BEGIN", "PRAGMA defer_foreign_keys = ON")
    else:
        client.run("ALTER TABLE child ALTER CONSTRAINT child_parent DEFERRABLE INITIALLY DEFERRED")
    client.run("INSERT INTO child VALUES (1, 9)")
    error = client.error("COMMIT") if bench.backend.family == "sqlite" else client.commit().error()
    fault = bench.fault(error)
    assert (fault.kind, fault.ambiguous_at_commit) == (K.FOREIGN_KEY, False)


@on("postgresql")
def test_a_conflict_that_only_a_commit_shows_is_definite(bench: Bench) -> None:
    one, other = bench.client(), bench.client()
    for client in (one, other):
        client.run("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SELECT sum(n) FROM parent")
    one.run("INSERT INTO parent VALUES (3, 'cat', 1)")
    other.run("INSERT INTO parent VALUES (4, 'dan', 1)")
    one.commit().result()
    fault = bench.fault(other.commit().error())
    assert (fault.kind, fault.rerun) == (K.SERIALIZATION, Rerun.TRANSACTION)
    assert not fault.ambiguous_at_commit


@on("mariadb")
def test_a_bulk_insert_that_fails_takes_its_whole_transaction_with_it(bench: Bench) -> None:
    client = bench.client()
    client.run("SET unique_checks = 0, foreign_key_checks = 0", _FIRST)
    fault = bench.fault(client.error("INSERT INTO child VALUES (1, 1), (1, 1)"))
    assert fault.transaction is Transaction.GONE
    client.commit().result()
    assert client.run("SELECT n FROM parent WHERE id = 1") == [(1,)]


# ---------------------------------------------------------------- lost connections


def test_a_connection_that_is_gone_is_one_class(bench: Bench) -> None:
    client = bench.client()
    if bench.backend.family == "sqlite":
        client.close_driver()
    else:
        id_ = bench.id_of(client)
        bench.kill(id_)
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
    id_ = bench.id_of(client)
    pending = client.start(_SLEEP[bench.backend.family])
    assert wait_until(lambda: bench.lists(id_, asleep=True), 10)
    bench.kill(id_)
    fault = bench.fault(pending.error())
    assert (fault.kind, fault.rerun) == (K.CONNECTION_LOST, Rerun.TRANSACTION)
    assert (fault.transaction, fault.wire) == (Transaction.GONE, Wire.DEAD)
    assert fault.ambiguous_at_commit


@on_servers
def test_an_idle_transaction_that_the_server_ended_may_run_again(bench: Bench) -> None:
    client = bench.client()
    id_ = bench.id_of(client)
    client.run(
        "SET idle_in_transaction_session_timeout = '50ms'"
        if bench.backend.family == "postgresql"
        else "SET idle_transaction_timeout = 1"
    )
    if bench.backend.family == "mariadb":
        client.commit().result()
    client.run(_FIRST)
    assert wait_until(lambda: not bench.lists(id_), 10)
    fault = bench.fault(client.error(_READ))
    # MariaDB 10.11 hangs up without a word; asyncpg 0.32 does not keep what came while it was idle
    told = bench.backend.name.startswith("psycopg")
    assert fault.kind is (K.IDLE_TIMEOUT if told else K.CONNECTION_LOST)
    assert (fault.rerun, fault.transaction) == (Rerun.TRANSACTION, Transaction.GONE)
    assert fault.wire is Wire.DEAD


@on("asyncpg")
def test_a_command_that_the_driver_gives_up_is_not_run_again(bench: Bench) -> None:
    client = bench.client(command_timeout=0.2)
    fault = bench.fault(client.error("SELECT pg_sleep(20)"))
    assert (fault.kind, fault.rerun) == (K.STATEMENT_TIMEOUT, Rerun.NEVER)
    assert fault.wire is Wire.DEAD
