"""The timeout of a scope: one deadline for waits, statements and COMMIT, and nothing left of it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from sqlalchemy import event, text

from hermetic import DeadlineExceeded, Outcome, PoolTimeout, RolledBack
from tests.behaviour.aftermath import (
    check_nothing_left,
    eventually,
    lent,
    on_postgresql,
    on_servers,
    on_sqlite,
)
from tests.behaviour.watching import SLACK, SLOW, Boom, Sent, ends_near, engine_of
from tests.models import User
from tests.worlds import World

pytestmark = pytest.mark.timing

SHORT = 0.3


async def wait_past_deadline(world: World, session: Any) -> None:
    assert await eventually(world, lambda: session.scope.remaining(time.monotonic()) < 0)


# ---------------------------------------------------------------- statements


@pytest.mark.parametrize("readonly", [False, True])
async def test_a_slow_statement_is_ended_at_the_deadline(world: World, readonly: bool) -> None:
    with ends_near(SHORT) as caught:
        async with world.session(timeout=SHORT, readonly=readonly, name="slow") as session:
            await session.execute(SLOW[world.backend.family])

    assert isinstance(caught.value, TimeoutError)
    assert caught.value.timeout == SHORT
    assert caught.value.scope is not None
    assert caught.value.scope.name == "slow"
    assert caught.value.outcome is Outcome.NOT_COMMITTED
    assert session.outcome is Outcome.NOT_COMMITTED
    await check_nothing_left(world)


async def test_a_slow_statement_of_a_plain_scope_is_ended_at_the_deadline(world: World) -> None:
    with ends_near(SHORT):
        async with world.session(timeout=SHORT, propagation="supports") as session:
            await session.execute(SLOW[world.backend.family])

    await check_nothing_left(world)


async def test_work_before_the_slow_statement_is_rolled_back(world: World) -> None:
    with ends_near(SHORT):
        async with world.session(timeout=SHORT) as session:
            session.add(User(username="ann"))
            await session.flush()
            await session.execute(SLOW[world.backend.family])

    assert world.usernames() == []
    await check_nothing_left(world)


async def test_many_deadlines_in_a_row_leave_the_pool_healthy(world: World) -> None:
    for _ in range(5):
        with ends_near(0.1):
            async with world.session(timeout=0.1) as session:
                await session.execute(SLOW[world.backend.family])

    assert lent(world.db) == []
    async with world.session(timeout=10) as session:
        session.add(User(username="ann"))
    assert world.usernames() == ["ann"]
    assert len(world.db.snapshot().connections) == 1


async def test_several_statements_share_one_deadline(world: World) -> None:
    with ends_near(SHORT):
        async with world.session(timeout=SHORT) as session:
            while True:
                await session.execute("SELECT 1")


async def test_a_deadline_that_passed_refuses_the_next_statement(world: World) -> None:
    async with world.session() as session:
        await session.execute("SELECT 1")
    sent = Sent(world)

    with pytest.raises(DeadlineExceeded):
        async with world.session(timeout=0.7) as session:
            await session.execute("SELECT 1")
            await wait_past_deadline(world, session)
            before = list(sent.statements)
            await session.execute("SELECT 2")

    assert [word for word in sent.statements if word not in before] == ["ROLLBACK"]


async def test_a_deadline_that_passed_stops_the_commit(world: World) -> None:
    sent = Sent(world)

    with pytest.raises(DeadlineExceeded, match="COMMIT"):
        async with world.session(timeout=1.0) as session:
            session.add(User(username="ann"))
            await session.flush()
            await wait_past_deadline(world, session)

    assert "COMMIT" not in sent.statements
    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    await check_nothing_left(world)


async def test_a_swallowed_deadline_commits_nothing(world: World) -> None:
    with pytest.raises((DeadlineExceeded, RolledBack)):
        async with world.session(timeout=SHORT) as session:
            session.add(User(username="ann"))
            await session.flush()
            with pytest.raises(DeadlineExceeded):
                await session.execute(SLOW[world.backend.family])

    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    await check_nothing_left(world)


async def test_an_error_of_the_block_is_raised_although_the_deadline_passed(
    world: World,
) -> None:
    async with world.session() as session:
        await session.execute("SELECT 1")

    with pytest.raises(Boom):
        async with world.session(timeout=0.7) as session:
            await session.execute("SELECT 1")
            await wait_past_deadline(world, session)
            raise Boom

    assert session.outcome is Outcome.NOT_COMMITTED
    await check_nothing_left(world)


@on_postgresql
async def test_a_slow_commit_is_ended_at_the_deadline(world: World) -> None:
    world.do(
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(60); RETURN NULL; END $$"
    )
    world.do(
        "CREATE CONSTRAINT TRIGGER dawdling AFTER INSERT ON users DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION dawdle()"
    )

    started = time.monotonic()
    with pytest.raises(Exception, match=r"COMMIT|time|cancel"):
        async with world.session(timeout=SHORT) as session:
            session.add(User(username="ann"))
    elapsed = time.monotonic() - started

    assert elapsed < SHORT + SLACK
    assert session.outcome is not Outcome.COMMITTED
    world.do(
        "SELECT pg_terminate_backend(pid, 15000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND state = 'active' AND query LIKE 'COMMIT%'"
    )
    assert world.usernames() == []
    await check_nothing_left(world)


# ---------------------------------------------------------------- waits


@pytest.mark.parametrize("readonly", [False, True])
async def test_the_wait_for_a_connection_ends_at_the_deadline(world: World, readonly: bool) -> None:
    db = world.database(pool_size=1, pool_timeout=60)
    held, done = world.signal(), world.signal()

    async def holder() -> None:
        async with world.session(db, readonly=readonly) as session:
            await session.execute("SELECT 1")
            held.set()
            await done.wait()

    async def waiter() -> DeadlineExceeded:
        await held.wait()
        try:
            with ends_near(SHORT) as caught:
                async with world.session(db, timeout=SHORT, readonly=readonly) as session:
                    await session.execute("SELECT 1")
        finally:
            done.set()
        return caught.value

    results = await world.together(holder, waiter)

    assert results[0] is None
    assert isinstance(results[1], DeadlineExceeded)
    assert "connection" in str(results[1])
    assert isinstance(results[1].__cause__, PoolTimeout)
    await check_nothing_left(world)


@on_servers
async def test_the_wait_for_a_row_lock_ends_at_the_deadline(world: World) -> None:
    world.do("INSERT INTO users (username, balance) VALUES ('ann', 7)")

    with world.observer.begin() as other:
        other.execute(text("UPDATE users SET balance = 8"))
        with ends_near(SHORT):
            async with world.session(timeout=SHORT) as session:
                await session.execute("UPDATE users SET balance = 9")

    assert world.seen("SELECT balance FROM users") == [(8,)]
    await check_nothing_left(world)


@on_sqlite
async def test_the_wait_for_a_lock_held_elsewhere_ends_at_the_deadline(world: World) -> None:
    with world.observer.connect() as other:
        other.exec_driver_sql("BEGIN IMMEDIATE")
        with ends_near(SHORT):
            async with world.session(timeout=SHORT) as session:
                session.add(User(username="ann"))
        other.rollback()

    await check_nothing_left(world)


# ---------------------------------------------------------------- other forms


async def test_a_database_may_have_a_timeout_for_every_scope(world: World) -> None:
    world.database(timeout=SHORT)

    with ends_near(SHORT):
        async with world.session() as session:
            await session.execute(SLOW[world.backend.family])


@pytest.mark.slow
async def test_a_unit_has_its_deadline_anew_at_each_call(world: World) -> None:
    @world.unit(timeout=1.5)
    async def count(session: Any) -> int:
        answer: int = await session.scalar("SELECT count(*) FROM users")
        return answer

    for _ in range(3):
        assert await count() == 0
        started = time.monotonic()
        assert await eventually(world, lambda since=started: time.monotonic() - since > 0.8)  # type: ignore[misc]


async def test_a_deadline_in_time_costs_the_result_nothing(world: World) -> None:
    rows = [User(username=f"user{number}", balance=number) for number in range(50)]

    async with world.session(timeout=30) as session:
        session.add_all(rows)
        await session.flush()
        rows[0].balance = 1000
        await session.delete(rows[1])
        await session.execute(
            text("INSERT INTO users (username, balance) VALUES (:name, 0)"),
            [{"name": "one"}, {"name": "two"}],
        )
        async with session.begin_nested():
            rows[2].balance = 2000
        total = await session.scalar("SELECT sum(balance) FROM users")

    assert total == sum(range(50)) + 1000 - 1 + 2000 - 2
    assert len(world.usernames()) == 51


async def test_a_statement_prepared_for_a_deadline_is_the_users_own(world: World) -> None:
    seen: list[str] = []

    def note(conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
        seen.append(statement)

    event.listen(engine_of(world), "after_cursor_execute", note)
    async with world.session(timeout=30) as session:
        await session.execute("SELECT 1")
        told = session.scope.last_statement

    assert seen == ["SELECT 1"]
    assert told == "SELECT 1"
