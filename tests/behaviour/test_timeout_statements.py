"""Whatever a user sends works the same under a deadline as without one."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from sqlalchemy import text

from hermetic import DeadlineExceeded
from hermetic.dialects.sqlite import _Tracked
from tests.behaviour.aftermath import (
    check_nothing_left,
    on,
    on_mariadb,
    on_postgresql,
    on_servers,
    on_sqlite,
)
from tests.models import User
from tests.worlds import PATIENCE, World

EVERYWHERE = [
    "SELECT 1",
    "  \n SELECT 1",
    "-- a comment first\nSELECT 1",
    "/* a comment first */ SELECT 1",
    "WITH c AS (SELECT 1 AS x) SELECT x FROM c",
    "SELECT 1 UNION SELECT 2",
    "EXPLAIN SELECT 1",
    "INSERT INTO users (username, balance) VALUES ('new', 1)",
    "UPDATE users SET balance = balance + 1",
    "DELETE FROM orders",
    "SELECT 'a ; semicolon'",
    "SELECT username FROM users WHERE username LIKE '50%'",
]
MARIADB = [
    "SHOW TABLES",
    "SHOW VARIABLES LIKE 'version'",
    "SET @a = 1",
    "DO 1",
    "(SELECT 1) UNION (SELECT 2)",
    "SELECT 1 INTO @b",
    "DESCRIBE users",
    "SELECT * FROM users FOR UPDATE",
    "REPLACE INTO users (id, username, balance) VALUES (1, 'ann', 2)",
    "CREATE OR REPLACE TEMPORARY TABLE scratch (id INTEGER)",
    "SAVEPOINT by_hand",
    "ANALYZE SELECT 1",
    "SET STATEMENT max_statement_time = 5 FOR SELECT 1",
    "SET SESSION sql_warnings = 0",
    "VALUES (1), (2)",
]
POSTGRESQL = [
    "SHOW server_version",
    "SET LOCAL work_mem = '8MB'",
    "(SELECT 1) UNION (SELECT 2)",
    "SELECT * FROM users FOR UPDATE",
    "CREATE TEMPORARY TABLE scratch (id INTEGER)",
    "DO $$ BEGIN PERFORM 1; END $$",
    "VALUES (1), (2)",
    "TABLE users",
    "SAVEPOINT by_hand",
    "LOCK TABLE users IN SHARE MODE",
    "INSERT INTO users (username, balance) VALUES ('new', 1) RETURNING id",
]
SQLITE = [
    "PRAGMA user_version",
    "VALUES (1), (2)",
    "CREATE TEMPORARY TABLE scratch (id INTEGER)",
    "INSERT OR IGNORE INTO users (username, balance) VALUES ('ann', 1)",
    "REPLACE INTO users (id, username, balance) VALUES (1, 'ann', 2)",
]


async def check_under_a_deadline(world: World, statement: str) -> None:
    world.do("INSERT INTO users (username, balance) VALUES ('ann', 0)")

    async with world.session() as session:
        without = (await session.execute(text(statement))).returns_rows
        session.rollback_only()
    async with world.session(timeout=30) as session:
        under = (await session.execute(text(statement))).returns_rows
        again = (await session.execute("SELECT 41 + 1")).scalar()

    assert under is without
    assert again == 42
    await check_nothing_left(world)


@pytest.mark.parametrize("statement", EVERYWHERE)
async def test_a_statement_works_under_a_deadline(world: World, statement: str) -> None:
    await check_under_a_deadline(world, statement)


@on_mariadb
@pytest.mark.parametrize("statement", MARIADB)
async def test_a_statement_of_mariadb_works_under_a_deadline(world: World, statement: str) -> None:
    await check_under_a_deadline(world, statement)


@on_postgresql
@pytest.mark.parametrize("statement", POSTGRESQL)
async def test_a_statement_of_postgresql_works_under_a_deadline(
    world: World, statement: str
) -> None:
    await check_under_a_deadline(world, statement)


@on_sqlite
@pytest.mark.parametrize("statement", SQLITE)
async def test_a_statement_of_sqlite_works_under_a_deadline(world: World, statement: str) -> None:
    await check_under_a_deadline(world, statement)


async def test_rows_counted_and_keys_made_are_told_under_a_deadline(world: World) -> None:
    async with world.session(timeout=30) as session:
        user = User(username="ann")
        session.add(user)
        await session.flush()
        changed = await session.execute("UPDATE users SET balance = 5 WHERE username = 'ann'")
        count = changed.rowcount

    assert user.id is not None
    assert count == 1


async def test_many_rows_at_once_are_written_under_a_deadline(world: World) -> None:
    rows = [{"name": f"user{number:03}", "balance": number} for number in range(300)]

    async with world.session(timeout=30) as session:
        await session.execute(
            text("INSERT INTO users (username, balance) VALUES (:name, :balance)"), rows
        )

    assert world.seen("SELECT count(*), sum(balance) FROM users") == [(300, sum(range(300)))]


async def test_rows_are_streamed_under_a_deadline(world: World) -> None:
    async with world.session() as session:
        session.add_all([User(username=f"user{number:03}") for number in range(100)])

    async with world.session(timeout=30, readonly=True) as session:
        names = await session.run_sync(
            lambda plain: list(
                plain.scalars("SELECT username FROM users", execution_options={"yield_per": 10})
            )
        )

    assert len(names) == 100
    await check_nothing_left(world)


@on_servers
async def test_the_deadline_of_a_plain_scope_costs_postgresql_its_connection(world: World) -> None:
    """SET LOCAL has no transaction to end with there; MariaDB's limit is part of the statement."""
    db = world.database(pool_size=1)

    async def number(**options: Any) -> int:
        async with world.session(db, propagation="supports", **options) as session:
            await session.execute("SELECT 1")
            (connection,) = db.snapshot().connections
        return connection.number

    first = await number()
    assert await number(timeout=60) == first
    after = await number()

    assert (after == first) is (world.backend.family == "mariadb")
    assert len(db.snapshot().connections) == 1


@on_sqlite
@pytest.mark.parametrize("inner", [False, True])
async def test_an_interrupt_that_comes_before_its_statement_is_given_again(
    world: World, inner: bool
) -> None:
    async with world.session() as outer:
        await outer.execute("SELECT 1")
        connection = outer.scope.connection
        strikes: list[int] = []

        def lossy(interrupt: Any = connection.break_off) -> None:
            strikes.append(1)
            if len(strikes) > 2:  # SQLite forgets those that come before a statement has begun
                interrupt()

        connection.break_off = lossy
        with pytest.raises(DeadlineExceeded):
            async with world.session(propagation="nested", timeout=0.1) as session:
                await session.execute(
                    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1e8)"
                    " SELECT count(*) FROM n"
                )
        assert len(strikes) >= 3
        if inner:
            await outer.execute("INSERT INTO users (username, balance) VALUES ('ann', 0)")

    assert len(strikes) == 3
    assert world.usernames() == ["ann"] * inner


@on(lambda backend: backend.name == "aiosqlite")
async def test_a_cancellation_that_comes_before_its_statement_ends_it_all_the_same(
    world: World,
) -> None:
    strikes: list[int] = []
    running = threading.Event()

    class Lossy(_Tracked):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.set_trace_callback(lambda sql: running.set() if "RECURSIVE" in sql else None)

        def interrupt(self) -> None:
            strikes.append(1)
            if len(strikes) > 3:  # SQLite forgets those that come before a statement has begun
                super().interrupt()

    db = world.database(connect_args={"factory": Lossy})

    async def work() -> None:
        async with world.session(db) as session:
            await session.execute("INSERT INTO users (username, balance) VALUES ('ann', 0)")
            await session.execute(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
                " SELECT count(*) FROM n"
            )

    task = asyncio.create_task(work())
    assert await asyncio.to_thread(running.wait, PATIENCE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async with world.session(db) as session:  # the lock is free again
        await session.execute("INSERT INTO users (username, balance) VALUES ('bob', 0)")
    assert world.usernames() == ["bob"]
    assert len(strikes) >= 4
