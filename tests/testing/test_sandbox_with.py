"""Sandboxes together with what else a Database may have, and with what may happen to it."""

from __future__ import annotations

import asyncio
import gc
import threading
from contextlib import nullcontext
from typing import Any

import pytest
from sqlalchemy import event, select, text

from hermetic import (
    NO_TENANT,
    Cache,
    ConfigurationError,
    ConnectionLost,
    Database,
    DatabaseClosed,
    DatabasePerTenant,
    ForeignKeyViolation,
    Group,
    Outcome,
    SchemaPerTenant,
    ScopeRefused,
)
from hermetic.testing import OutsideSandbox, SandboxBusy, SandboxEnded, sandbox
from tests.backends import ASYNC_BACKENDS, BACKENDS, SYNC_BACKENDS
from tests.models import User
from tests.testing.boxes import add, boxed, count, names, send
from tests.worlds import World

_SLEEP = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
    "SELECT count(*) FROM n",
    "postgresql": "SELECT pg_sleep(30)",
    "mariadb": "SELECT SLEEP(30)",
}
_POSTGRESQL = [each for each in BACKENDS if each.family == "postgresql"]
_SERVED = [each for each in BACKENDS if each.family != "sqlite"]


def _id(backend: Any) -> str:
    return str(backend.name)


@pytest.mark.parametrize("backend", ASYNC_BACKENDS, indirect=True, ids=_id)
async def test_a_task_cancelled_in_a_statement_leaves_the_rest(world: World) -> None:
    # asyncmy ends its connection then, and with that everything
    ends = world.backend.name == "asyncmy"
    with pytest.raises(ConnectionLost, match="Cancelled") if ends else nullcontext():
        async with boxed(world):
            await add(world, "ann")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2), world.session() as session:
                    session.add(User(username="gone"))
                    await session.flush()
                    await session.execute(text(_SLEEP[world.backend.family]))
            await add(world, "bob")
            assert await names(world) == ["ann", "bob"]
    assert world.usernames() == []


@pytest.mark.parametrize("backend", SYNC_BACKENDS, indirect=True, ids=_id)
def test_a_scope_struck_in_a_statement_leaves_the_rest(world: World) -> None:
    db = world.db
    with sandbox(db):
        with pytest.raises(KeyboardInterrupt), db.session() as session:
            session.add(User(username="gone"))
            session.flush()
            event.listen(session.connection(), "before_cursor_execute", _interrupt)
            session.execute("SELECT 1")
        with db.session() as session:
            session.add(User(username="bob"))
        with db.session() as session:
            assert session.scalars(select(User.username)).all() == ["bob"]


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def test_what_the_collector_finds_is_rolled_back() -> None:
    with Database("sqlite://") as db:
        User.metadata.create_all(db.engine)
        with sandbox(db):
            connection: Any = db.engine.connect()
            connection.execute(text("INSERT INTO users (username, balance) VALUES ('ann', 0)"))
            del connection
            gc.collect()
            with db.session() as session:
                assert session.scalars(select(User.username)).all() == []


@pytest.mark.parametrize("backend", SYNC_BACKENDS, indirect=True, ids=_id)
def test_a_thread_that_waits_for_whoever_waits_for_it_is_told(world: World) -> None:
    db = world.database(pool_timeout=0.3)
    caught: list[BaseException] = []

    def work() -> None:
        with box.enter(), db.session() as session:
            session.add(User(username="inner"))

    def run() -> None:
        try:
            work()
        except BaseException as error:
            caught.append(error)

    with sandbox(db) as box:
        with db.session(name="holding") as session:
            session.add(User(username="outer"))
            session.flush()
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
            assert "holding" in str(caught[0])
            assert isinstance(caught[0], SandboxBusy)
            thread = threading.Thread(target=box.let_in(work))
            thread.start()
            thread.join()
        with db.session() as session:
            assert sorted(session.scalars(select(User.username))) == ["inner", "outer"]


async def test_a_database_that_is_closed_inside(world: World) -> None:
    """As the end of an application's life does it."""
    world.do("INSERT INTO users (id, username, balance) VALUES (1000, 'there', 0)")
    async with boxed(world):
        await add(world, "ann")
        if world.is_async:
            await world.db.aclose()
        else:
            world.db.close()
        with pytest.raises(DatabaseClosed):
            await add(world, "bob")
    assert world.usernames() == ["there"]


async def test_an_engine_that_was_taken_before_does_not_write_past_it(world: World) -> None:
    if world.is_async:
        early: Any = world.db.async_engine
    else:
        early = world.db.engine
    async with boxed(world):
        with pytest.raises(OutsideSandbox, match="taken past"):
            if world.is_async:
                await early.connect()
            else:
                early.connect()
        await add(world, "ann")
    if world.is_async:
        async with early.connect():
            pass
    else:
        early.connect().close()


@pytest.mark.parametrize("backend", _SERVED, indirect=True, ids=_id)
async def test_a_lost_connection_is_told_and_replaced(world: World) -> None:
    whose, kill = {
        "postgresql": ("SELECT pg_backend_pid()", "SELECT pg_terminate_backend({})"),
        "mariadb": ("SELECT connection_id()", "KILL {}"),
    }[world.backend.family]
    with pytest.raises(SandboxEnded):
        async with boxed(world):
            async with world.session() as session:
                number = await session.scalar(text(whose))
            world.do(kill.format(number))
            with pytest.raises(ConnectionLost):
                await add(world, "ann")
    async with boxed(world):
        assert await count(world) == 0


async def test_the_other_world_is_told_whose_the_sandbox_is(world: World) -> None:
    async with boxed(world):
        with pytest.raises(OutsideSandbox, match="each that is used"):
            if world.is_async:
                with world.db.session() as session:
                    session.execute("SELECT 1")
            else:
                asyncio.run(_asynchronously(world.db))


async def _asynchronously(db: Database) -> None:
    async with db.session() as session:
        await session.execute("SELECT 1")


@pytest.mark.parametrize("backend", _POSTGRESQL, indirect=True, ids=_id)
async def test_what_was_put_off_is_checked_where_a_scope_commits(world: World) -> None:
    world.do(
        "CREATE TABLE parts (id INTEGER PRIMARY KEY, "
        "whole INTEGER REFERENCES parts DEFERRABLE INITIALLY DEFERRED)"
    )
    async with boxed(world):
        async with world.session() as session:
            await session.execute(text("INSERT INTO parts VALUES (2, 1)"))
            await session.execute(text("INSERT INTO parts VALUES (1, NULL)"))
        with pytest.raises(ForeignKeyViolation):
            async with world.session() as session:
                await session.execute(text("INSERT INTO parts VALUES (4, 3)"))
        assert session.outcome is Outcome.NOT_COMMITTED
        async with world.session() as session:
            await session.execute(text("INSERT INTO parts VALUES (6, 5)"))
            await session.execute(text("INSERT INTO parts VALUES (5, NULL)"))
        assert (await send(world, "SELECT id FROM parts ORDER BY id")) is not None


@pytest.mark.parametrize("backend", _POSTGRESQL, indirect=True, ids=_id)
async def test_tenants_are_kept_apart(world: World) -> None:
    for name in ("one", "two"):
        world.do(f"CREATE SCHEMA {name}")
        world.do(f"CREATE TABLE {name}.users AS SELECT * FROM users")
        world.do(f"ALTER TABLE {name}.users ADD PRIMARY KEY (id)")
    world.database(tenants=SchemaPerTenant(), tenant=NO_TENANT)
    insert = "INSERT INTO users (id, username, balance) VALUES (1, '{}', 0)"
    async with boxed(world):
        async with world.session(tenant="one") as session:
            await session.execute(text(insert.format("one")))
            await send(world, insert.format("two"), tenant="two", propagation="requires_new")
            assert (await session.scalars(text("SELECT username FROM users"))).all() == ["one"]
            await send(world, insert.format("none"), tenant=NO_TENANT, propagation="requires_new")
            assert (await session.scalars(text("SELECT username FROM users"))).all() == ["one"]
        assert await names(world, tenant="two") == ["two"]
        assert await names(world, tenant=NO_TENANT) == ["none"]
        assert await names(world, tenant="one") == ["one"]


async def test_many_rows_and_streams(world: World) -> None:
    async with boxed(world):
        async with world.session() as session:
            rows = [{"username": f"user-{n:03}", "balance": n} for n in range(300)]
            await session.insert_many(User, rows)
        assert await count(world) == 300
        if world.is_async:
            async with world.session() as session:
                stream = await session.stream(select(User.username).order_by(User.username))
                assert [row async for row in stream.scalars()][:1] == ["user-000"]
    assert world.usernames() == []


async def test_what_is_read_in_a_sandbox_is_not_cached(world: World) -> None:
    world.database(cache=Cache(entities=(User,)))
    async with boxed(world):
        await add(world, "ann")
        assert await names(world) == ["ann"]
        assert await names(world) == ["ann"]
    assert await names(world) == []


async def test_a_watched_database_counts_what_a_test_sends(world: World) -> None:
    db = world.database(watch=True)
    async with boxed(world):
        with db.assert_statements(exactly=1):
            assert await count(world) == 0


def test_a_group_of_sandboxed_databases(family_url: Any) -> None:
    with Database(family_url("postgresql")) as one, Database("sqlite://") as other:
        for db in (one, other):
            User.metadata.create_all(db.engine)
        group = Group(one=one, other=other)
        with sandbox(one), sandbox(other):
            with group.session() as session:
                session.add(User(username="ann"))
                session.flush()
                session.execute(
                    "INSERT INTO users (username, balance) VALUES ('bob', 0)",
                    bind_arguments={"bind_key": "other"},
                )
            for db, name in ((one, "ann"), (other, "bob")):
                with db.session() as session:
                    assert session.scalars(select(User.username)).all() == [name]
        for db in (one, other):
            with db.session() as session:
                assert session.scalars(select(User.username)).all() == []


def test_a_group_that_prepares_is_refused(family_url: Any) -> None:
    with Database(family_url("postgresql")) as one:
        User.metadata.create_all(one.engine)
        group = Group(one=one, two_phase=True)
        group.create_log()
        with sandbox(one):
            with (
                pytest.raises(ScopeRefused, match="cannot be prepared"),
                group.session() as session,
            ):
                session.add(User(username="ann"))
            with one.session() as session:
                assert session.scalars(select(User.username)).all() == []


@pytest.mark.parametrize("backend", _SERVED, indirect=True, ids=_id)
async def test_positions_are_those_of_no_server(world: World) -> None:
    async with boxed(world):
        with world.db.flow() as flow:
            async with world.session(position=True) as session:
                session.add(User(username="ann"))
            assert await names(world) == ["ann"]
        assert session.position is None
        assert flow.position is None


def test_tenants_with_databases_of_their_own_cannot_be_sandboxed() -> None:
    tenants = DatabasePerTenant(url="sqlite:///{tenant}.db")
    with (
        Database("sqlite://", tenants=tenants) as db,
        pytest.raises(ConfigurationError, match="template"),
        sandbox(db),
    ):
        pass
