"""A watched Database: what scopes did is kept, and what should not be is found."""

from __future__ import annotations

import gc
import logging
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from hermetic import Database, Finding, FindingError, Outcome, ScopeEnded, Watch
from hermetic.events import Event, Found
from tests.behaviour.aftermath import check_nothing_left, on
from tests.models import Order, User
from tests.worlds import World

# as soon as anybody looks
AT_ONCE = 1e-9

one_of_each_world = on(lambda backend: backend.name in ("psycopg", "asyncpg", "pymysql", "sqlite"))
in_threads = on(lambda backend: backend.name in ("psycopg", "pymysql", "sqlite"))


def watched(world: World, **options: Any) -> Database:
    limits = {"every": 3600.0, "slow": 3600.0, "held": 3600.0, "idle": 3600.0}
    return world.database(watch=Watch(**{**limits, **options}))


def codes(db: Database) -> list[str]:
    db.watch.look()
    return sorted(finding.code for finding in db.watch.findings())


def only(db: Database, code: str) -> Finding:
    found = [finding for finding in db.watch.findings() if finding.code == code]
    assert len(found) == 1, db.watch.findings()
    return found[0]


async def filled(world: World, db: Database, users: int) -> None:
    async with world.session(db, name="filling") as session:
        for number in range(users):
            session.add(User(username=f"user {number}", orders=[Order(item="a"), Order(item="b")]))


# ---------------------------------------------------------------- what is kept


async def test_an_ended_scope_is_kept_with_its_statements(world: World) -> None:
    db = watched(world)
    async with world.session(db, name="reading", readonly=True) as session:
        await session.execute("SELECT 1")
        await session.execute(select(User.id))

    seen = db.watch.recent()[0]
    assert (seen.name, seen.outcome, seen.error) == ("reading", Outcome.COMMITTED, None)
    assert seen.statements == len(seen.steps) == 2
    assert seen.steps[0].statement == "SELECT 1"
    assert all(step.seconds is not None for step in seen.steps)
    assert 0 < seen.working <= seen.seconds
    assert "in __aenter__" in seen.opened_at or "in test_" in seen.opened_at
    assert seen.ended_at is not None


async def test_objects_read_and_written_are_statements_too(world: World) -> None:
    db = watched(world)
    await filled(world, db, 1)
    async with world.session(db, name="small") as session:
        user = await session.get(User, 1) or (await session.scalars(select(User))).first()
        assert user is not None
        user.balance = 5

    seen = db.watch.recent()[0]
    assert seen.statements == len(seen.steps) >= 2
    assert any(step.statement.startswith("UPDATE") for step in seen.steps)


async def test_a_scope_that_failed_is_kept_apart(world: World) -> None:
    db = watched(world)
    with pytest.raises(ZeroDivisionError):
        async with world.session(db, name="failing") as session:
            await session.execute("SELECT 1")
            raise ZeroDivisionError

    seen = db.watch.failed()[0]
    assert (seen.name, seen.error) == ("failing", "ZeroDivisionError")
    assert seen.outcome is Outcome.NOT_COMMITTED
    assert db.watch.by_name()["failing"].failed == 1


async def test_a_statement_that_failed_has_no_end(world: World) -> None:
    db = watched(world)
    with pytest.raises(Exception, match="nowhere"):
        async with world.session(db) as session:
            await session.execute("SELECT 1 FROM nowhere")

    (step,) = db.watch.failed()[0].steps
    assert step.seconds is None


@one_of_each_world
async def test_scopes_are_counted_by_name_and_over_time(world: World) -> None:
    db = watched(world, keep=2)
    for _ in range(5):
        async with world.session(db, name="often") as session:
            await session.execute("SELECT 1")
    async with world.session(db, name="once"):
        pass

    series = db.watch.by_name()
    assert (series["often"].count, series["once"].count) == (5, 1)
    assert series["often"].committed == 5
    assert 0 < series["often"].percentile(0.5) <= series["often"].longest
    assert sum(each.count for _, each in db.watch.over_time()) == 6
    assert sum(each.count for _, each in db.watch.over_time("often")) == 5
    assert db.watch.over_time("never") == ()
    assert len(db.watch.recent()) == 2


@one_of_each_world
async def test_open_scopes_show_what_they_have_done_so_far(world: World) -> None:
    db = watched(world)
    async with world.session(db, name="going on") as session:
        await session.execute("SELECT 1")
        (seen,) = db.watch.open()

    assert (seen.name, seen.statements, seen.ended_at) == ("going on", 1, None)
    assert db.watch.open() == ()


# ---------------------------------------------------------------- what is refused


async def test_a_session_used_after_its_end_is_found_once(world: World) -> None:
    db = watched(world)
    async with world.session(db, name="over") as session:
        await session.execute("SELECT 1")
    for _ in range(2):
        with pytest.raises(ScopeEnded):
            await session.execute("SELECT 1")

    found = only(db, "used-after-end")
    assert found.count == 2
    assert "in test_" in found.place or "in call" in found.place
    assert found.scope is not None
    assert found.scope.name == "over"
    assert codes(db) == ["used-after-end"]


# of aiosqlite SQLAlchemy leaves a coroutine behind that nobody has awaited, with a warning
@on(lambda backend: backend.is_async and backend.name != "aiosqlite")
async def test_a_lazy_load_under_asyncio_is_found_with_what_ends_it(world: World) -> None:
    db = watched(world)
    await filled(world, db, 1)
    async with world.session(db, name="lazy") as session:
        user = (await session.scalars(select(User))).one()
        for _ in range(2):
            with pytest.raises(SQLAlchemyError, match="greenlet_spawn"):
                _ = user.orders
        await session.refresh(user, ["orders"])
        assert len(user.orders) == 2

    found = only(db, "lazy-load-in-asyncio")
    assert found.count == 2
    assert found.message.startswith("User.orders was loaded at its first use")
    assert "selectinload(User.orders)" in found.advice
    assert "in test_a_lazy_load_under_asyncio" in found.place
    assert found.scope is not None
    assert found.scope.name == "lazy"
    assert codes(db) == ["lazy-load-in-asyncio"]


async def test_nothing_is_found_where_nothing_is_wrong(world: World) -> None:
    db = world.database(watch=True)
    await filled(world, db, 3)
    async with world.session(db) as session:
        for user in (await session.scalars(select(User))).all():
            user.balance += 1
    async with world.session(db, propagation="nested") as session:
        await session.execute("SELECT 1")

    assert codes(db) == []
    await check_nothing_left(world, db)


# ---------------------------------------------------------------- what is found


def orders_of_each(session: Any) -> None:
    for user in session.scalars(select(User)):
        assert len(user.orders) == 2


def one_after_the_other(session: Any) -> None:
    for number in range(5):
        session.execute(select(User.id).where(User.username == f"user {number}"))


async def test_a_lazy_load_of_every_object_is_found_with_what_ends_it(world: World) -> None:
    db = watched(world, repeats=3)
    await filled(world, db, 5)
    async with world.session(db, name="page") as session:
        await session.run_sync(orders_of_each)

    finding = only(db, "repeated-statement")
    assert "User.orders" in finding.message
    assert "selectinload(User.orders)" in finding.advice
    assert f"{__file__}:" in finding.place
    assert finding.place.endswith("in orders_of_each")
    assert finding.statement is not None
    assert "orders" in finding.statement
    assert finding.scope is not None
    assert finding.scope.name == "page"


@in_threads
async def test_the_loads_after_the_first_are_found_as_well(world: World) -> None:
    """They go another way: what loads them has learnt how from the first."""
    db = watched(world, repeats=3)
    await filled(world, db, 5)
    for _ in range(3):
        async with world.session(db, name="page") as session:
            await session.run_sync(orders_of_each)

    assert only(db, "repeated-statement").count == 3


async def test_a_statement_in_a_loop_is_found_where_it_is(world: World) -> None:
    db = watched(world, repeats=3)
    await filled(world, db, 5)
    async with world.session(db) as session:
        await session.run_sync(one_after_the_other)

    finding = only(db, "repeated-statement")
    assert "where(column.in_(values))" in finding.advice
    assert finding.place.endswith("in one_after_the_other")


@one_of_each_world
async def test_a_scope_of_very_many_statements_is_found(world: World) -> None:
    db = watched(world, chatty=3, repeats=100)
    async with world.session(db, name="chatting") as session:
        for _ in range(5):
            await session.execute("SELECT 1")

    finding = only(db, "chatty-scope")
    assert finding.scope is not None
    assert finding.scope.name == "chatting"


@one_of_each_world
async def test_a_slow_scope_is_found_with_its_slowest_statement(world: World) -> None:
    db = watched(world, slow=AT_ONCE)
    async with world.session(db, name="slow") as session:
        await session.execute("SELECT 1")

    assert codes(db) == ["slow-scope"]
    assert only(db, "slow-scope").statement == "SELECT 1"
    assert [seen.name for seen in db.watch.slow()] == ["slow"]


@one_of_each_world
async def test_a_connection_that_is_held_is_found_with_its_holders_stack(world: World) -> None:
    db = watched(world, held=AT_ONCE)
    async with world.session(db, name="holding") as session:
        await session.execute("SELECT 1")
        assert codes(db) == ["held-too-long"]
        db.watch.look()

    finding = only(db, "held-too-long")
    assert finding.count == 1  # told once of a scope
    assert any(__file__ in line for line in finding.stack)
    assert finding.as_dict()["code"] == "held-too-long"


@one_of_each_world
async def test_an_idle_transaction_is_found(world: World) -> None:
    db = watched(world, idle=AT_ONCE)
    async with world.session(db) as session:
        await session.execute("UPDATE users SET balance = 1")
        assert codes(db) == ["idle-in-transaction"]


@on(lambda backend: backend.name in ("psycopg", "asyncpg", "pymysql"))
async def test_a_scope_that_only_read_is_not_idle_in_a_transaction(world: World) -> None:
    db = watched(world, idle=AT_ONCE)
    async with world.session(db, readonly=True) as session:
        await session.get(User, 1)
        assert codes(db) == []


@on(lambda backend: backend.name in ("psycopg", "asyncpg"))
async def test_a_pool_that_is_nearly_lent_is_found_at_the_third_look(world: World) -> None:
    db = watched(world)
    db.resize(pool_size=2)
    async with world.session(db) as one, world.session(db, propagation="requires_new") as two:
        await one.execute("SELECT 1")
        await two.execute("SELECT 1")
        db.watch.look()
        db.watch.look()
        before = [finding.code for finding in db.watch.findings()]
        db.watch.look()

    assert "pool-near-limit" not in before
    assert "2 connections" in only(db, "pool-near-limit").message


@on(lambda backend: backend.name in ("psycopg", "asyncpg"))
async def test_scopes_that_could_lock_each_other_out_are_found(world: World) -> None:
    db = watched(world)
    db.resize(pool_size=2)
    async with world.session(db) as outer:
        await outer.execute("SELECT 1")
        async with world.session(db, propagation="requires_new", name="second") as inner:
            await inner.execute("SELECT 1")

    finding = only(db, "nested-independent")
    assert finding.scope is not None
    assert finding.scope.name == "second"


@on(lambda backend: backend.name in ("psycopg", "asyncpg"))
async def test_an_independent_scope_with_room_enough_is_nothing(world: World) -> None:
    db = watched(world)
    async with world.session(db) as outer:
        await outer.execute("SELECT 1")
        async with world.session(db, propagation="requires_new") as inner:
            await inner.execute("SELECT 1")

    assert codes(db) == []


@in_threads
async def test_a_connection_that_nobody_gave_back_is_found_with_its_line(world: World) -> None:
    db = watched(world)

    def forgetful() -> None:
        db.engine.connect()

    forgetful()
    gc.collect()

    finding = only(db, "connection-leak")
    assert finding.place.endswith("in forgetful")


@in_threads
async def test_a_connection_that_was_given_back_is_no_leak(world: World) -> None:
    db = watched(world)
    for _ in range(3):
        with db.engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
    del connection
    gc.collect()

    assert codes(db) == []


@in_threads
async def test_a_session_outside_any_scope_that_stays_open_is_found(world: World) -> None:
    from hermetic import sessionmaker

    db = watched(world, held=AT_ONCE)
    with sessionmaker(db.engine)() as session:
        session.execute("SELECT 1")
        assert codes(db) == ["session-left-open"]

    assert only(db, "session-left-open").place.endswith("is_found")


@one_of_each_world
async def test_what_is_ignored_is_not_found(world: World) -> None:
    db = watched(world, slow=AT_ONCE, held=AT_ONCE, ignore={"held-too-long"})
    async with world.session(db) as session:
        await session.execute("SELECT 1")
        db.watch.look()

    assert codes(db) == ["slow-scope"]


# ---------------------------------------------------------------- told


@one_of_each_world
async def test_a_finding_is_told_once_and_counted(world: World) -> None:
    db = watched(world, chatty=1)
    told: list[Event] = []
    db.listen(told.append)
    for _ in range(3):
        async with world.session(db) as session:
            await session.execute("SELECT 1")
            await session.execute("SELECT 2")

    found = [event for event in told if isinstance(event, Found)]
    assert len(found) == 1
    assert found[0].finding.code == "chatty-scope"
    assert only(db, "chatty-scope").count == 3


async def test_strictly_watched_a_finding_is_raised_and_nothing_is_committed(
    world: World,
) -> None:
    db = watched(world, repeats=2, strict=True)
    with pytest.raises(FindingError) as raised:
        async with world.session(db) as session:
            session.add(User(username="ann"))
            await session.flush()
            for _ in range(5):
                await session.execute("SELECT 1")

    assert raised.value.finding.code == "repeated-statement"
    assert raised.value.scope is not None
    assert world.seen("SELECT count(*) FROM users") == [(0,)]
    await check_nothing_left(world, db)


async def test_what_was_found_from_outside_is_raised_before_the_commit(world: World) -> None:
    db = watched(world, held=AT_ONCE, strict=True)
    with pytest.raises(FindingError) as raised:
        async with world.session(db) as session:
            session.add(User(username="ann"))
            await session.flush()
            db.watch.look()

    assert raised.value.finding.code == "held-too-long"
    assert world.seen("SELECT count(*) FROM users") == [(0,)]
    await check_nothing_left(world, db)


@one_of_each_world
async def test_a_caught_finding_is_not_raised_again(world: World) -> None:
    db = watched(world, chatty=1, strict=True)
    async with world.session(db) as session:
        await session.execute("SELECT 1")
        with pytest.raises(FindingError):
            await session.execute("SELECT 2")
        await session.execute("SELECT 3")

    assert session.outcome is Outcome.COMMITTED


@in_threads
async def test_who_is_not_watched_is_told_how_to_be(world: World) -> None:
    with pytest.raises(ValueError, match="watch=True"):
        _ = world.db.watch


@in_threads
async def test_what_a_listener_raises_on_a_finding_changes_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    db = watched(world, chatty=1)

    def refuse(event: Event) -> None:
        if isinstance(event, Found):
            raise ZeroDivisionError

    db.listen(refuse)
    with caplog.at_level(logging.CRITICAL, logger="hermetic"):
        async with world.session(db) as session:
            await session.execute("SELECT 1")
            await session.execute("SELECT 2")

    assert session.outcome is Outcome.COMMITTED
