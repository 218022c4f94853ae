"""BEGIN waits for the first statement that is more than a plain read (PostgreSQL)."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select, text

from hermetic import DeadlineExceeded, LockTimeout, Outcome, RolledBack, UniqueViolation
from tests.behaviour.aftermath import check_nothing_left, on_postgresql
from tests.models import User
from tests.worlds import World

pytestmark = [on_postgresql, pytest.mark.usefixtures("ann")]

_STATE = (
    "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' "
    "AND application_name = 'put off' AND datname = current_database()"
)


@pytest.fixture
def ann(world: World) -> World:
    world.do("INSERT INTO users (id, username, balance) VALUES (71, 'ann', 7), (72, 'bob', 8)")
    return world


async def warm(world: World, **options: Any) -> None:
    """Make the Database, and a connection of it, and the plans."""
    world.database(application_name="put off", **options)
    for _ in range(2):
        async with world.session() as session:
            await session.get(User, 71)
            await session.flush()


def in_transaction(world: World) -> bool:
    return bool(world.seen(_STATE)[0][0])


async def test_what_was_only_read_holds_nothing_open_on_the_server(world: World) -> None:
    await warm(world)
    async with world.session() as session:
        await session.get(User, 71)
        assert not in_transaction(world)

    assert session.outcome is Outcome.COMMITTED


async def test_a_write_begins_and_commits(world: World) -> None:
    await warm(world)
    async with world.session() as session:
        user = await session.get(User, 71)
        user.balance = 70
        await session.flush()
        assert in_transaction(world)
        assert world.seen("SELECT balance FROM users WHERE id = 71") == [(7,)]

    assert session.outcome is Outcome.COMMITTED
    assert world.seen("SELECT balance FROM users WHERE id = 71") == [(70,)]
    await check_nothing_left(world)


async def test_a_write_after_a_read_is_rolled_back_with_its_scope(world: World) -> None:
    await warm(world)
    with pytest.raises(LookupError):
        async with world.session() as session:
            user = await session.get(User, 71)
            user.balance = 70
            session.add(User(username="new"))
            await session.flush()
            await session.get(User, 72)
            raise LookupError

    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.seen("SELECT balance FROM users WHERE id = 71") == [(7,)]
    assert world.usernames() == ["ann", "bob"]
    await check_nothing_left(world)


async def test_reads_after_a_write_see_it_and_stay_in_its_transaction(world: World) -> None:
    await warm(world)
    async with world.session() as session:
        await session.get(User, 71)
        session.add(User(id=73, username="new", balance=9))
        await session.flush()
        session.expunge_all()
        found = await session.get(User, 73)
        assert found is not None
        assert found.balance == 9
        assert in_transaction(world)

    assert session.outcome is Outcome.COMMITTED


@pytest.mark.parametrize(
    "statement",
    [
        text("SELECT 1"),
        select(func.count()).select_from(User),
        select(User).where(User.id == 71).with_for_update(),
    ],
    ids=["text", "function", "for update"],
)
async def test_what_is_more_than_a_plain_read_begins(world: World, statement: Any) -> None:
    await warm(world)
    async with world.session() as session:
        await session.get(User, 71)
        await session.execute(statement)
        assert in_transaction(world)

    assert session.outcome is Outcome.COMMITTED
    await check_nothing_left(world)


async def test_a_connection_that_was_asked_for_and_not_used_is_no_lost_transaction(
    world: World,
) -> None:
    await warm(world)
    async with world.session() as session:
        await session.get(User, 71)
        await session.connection()

    assert session.outcome is Outcome.COMMITTED
    await check_nothing_left(world)


async def test_a_savepoint_begins(world: World) -> None:
    await warm(world)
    async with world.session() as session:
        user = await session.get(User, 71)
        with pytest.raises(UniqueViolation):
            async with world.session(propagation="nested") as inner:
                inner.add(User(username="bob"))
        user.balance = 70

    assert session.outcome is Outcome.COMMITTED
    assert world.seen("SELECT balance FROM users WHERE id = 71") == [(70,)]


async def test_a_read_that_failed_dooms_the_scope_as_in_a_transaction(world: World) -> None:
    await warm(world, lock_timeout=0.01)
    with pytest.raises(RolledBack):
        async with world.session() as session:
            await session.get(User, 71)
            with world.observer.begin() as other:
                other.execute(text("LOCK TABLE users"))
                with pytest.raises(LockTimeout):
                    await session.get(User, 72)
            session.add(User(username="new"))

    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == ["ann", "bob"]
    await check_nothing_left(world)


async def test_a_deadline_ends_a_read_that_waits(world: World) -> None:
    await warm(world)
    with pytest.raises(DeadlineExceeded):
        async with world.session(timeout=0.3) as session:
            await session.get(User, 71)
            with world.observer.begin() as other:
                other.execute(text("LOCK TABLE users"))
                await session.get(User, 72)

    assert session.outcome is Outcome.NOT_COMMITTED
    await check_nothing_left(world)


async def test_a_deadline_leaves_no_limit_on_the_connection(world: World) -> None:
    await warm(world, pool_size=1)
    async with world.session(timeout=30) as session:
        await session.get(User, 71)
    async with world.session() as session:
        assert await session.scalar("SHOW statement_timeout") == "0"


async def test_a_default_of_the_server_that_promises_more_is_kept(world: World) -> None:
    role = world.seen("SELECT current_user")[0][0]
    setting = f'ALTER ROLE "{role}" IN DATABASE "{world.seen("SELECT current_database()")[0][0]}"'
    world.do(f"{setting} SET default_transaction_isolation = 'repeatable read'")
    try:
        await warm(world)
        async with world.session() as session:
            await session.get(User, 71)
            assert in_transaction(world)
            world.do("UPDATE users SET balance = 80 WHERE id = 72")
            assert (await session.get(User, 72)).balance == 8
    finally:
        world.do(f"{setting} RESET default_transaction_isolation")

    assert session.outcome is Outcome.COMMITTED


async def test_it_can_be_had_at_once(world: World) -> None:
    await warm(world, put_off_begin=False)
    async with world.session() as session:
        await session.get(User, 71)
        assert in_transaction(world)

    assert session.outcome is Outcome.COMMITTED


async def test_a_query_and_lazy_loads_are_plain_reads_too(world: World) -> None:
    await warm(world)
    async with world.session() as session:
        query = select(User).where(User.balance > 1).order_by(User.id)
        assert [user.username for user in await session.scalars(query)] == ["ann", "bob"]
        assert not in_transaction(world)
