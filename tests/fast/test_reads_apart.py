"""Read-only scopes on servers: each statement by itself, until something needs a transaction."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from hermetic import DeadlineExceeded, Outcome, ReadOnlyScope, ScopeRefused
from hermetic.errors import FaultError
from tests.behaviour.aftermath import check_nothing_left, on_postgresql, on_servers
from tests.behaviour.watching import Sent
from tests.models import User
from tests.worlds import World

pytestmark = pytest.mark.usefixtures("ann")

_BALANCE = "SELECT balance FROM users WHERE id = 71"


@pytest.fixture
def ann(world: World) -> World:
    world.do("INSERT INTO users (id, username, balance) VALUES (71, 'ann', 7)")
    return world


@on_servers
async def test_each_statement_sees_what_is_committed_when_it_begins(world: World) -> None:
    async with world.session(readonly=True) as session:
        before = await session.scalar(_BALANCE)
        world.do("UPDATE users SET balance = 8")
        after = await session.scalar(_BALANCE)

    assert (before, after) == (7, 8)
    assert session.outcome is Outcome.COMMITTED


@on_servers
async def test_a_level_makes_a_snapshot_of_it(world: World) -> None:
    async with world.session(readonly=True, isolation="REPEATABLE READ") as session:
        before = await session.scalar(_BALANCE)
        world.do("UPDATE users SET balance = 8")
        after = await session.scalar(_BALANCE)
    async with world.session(readonly=True) as session:
        later = await session.scalar(_BALANCE)

    assert (before, after, later) == (7, 7, 8)


@on_servers
async def test_a_level_that_it_does_not_keep_cannot_join_it(world: World) -> None:
    async with world.session(readonly=True) as session:
        with pytest.raises(ScopeRefused, match="READ COMMITTED"):
            async with world.session(isolation="REPEATABLE READ"):
                pass
        async with world.session(isolation="READ COMMITTED") as joined:
            assert await joined.scalar(_BALANCE) == 7

    assert session.outcome is Outcome.COMMITTED


@on_servers
async def test_a_statement_that_fails_leaves_the_next_ones_alone(world: World) -> None:
    async with world.session(readonly=True) as session:
        with pytest.raises(FaultError):
            await session.execute("SELECT nothing FROM nowhere")
        assert (await session.get(User, 71)).username == "ann"
        with pytest.raises(ReadOnlyScope):
            await session.execute("DELETE FROM users")
        assert await session.scalar(_BALANCE) == 7

    assert session.outcome is Outcome.COMMITTED
    await check_nothing_left(world)


@on_servers
async def test_a_savepoint_begins_a_transaction_and_the_next_scope_has_none(world: World) -> None:
    sent = Sent(world)

    async with world.session(readonly=True) as session:
        assert (await session.get(User, 71)).username == "ann"
        with pytest.raises(FaultError):
            async with world.session(propagation="nested") as nested:
                await nested.execute("SELECT nothing FROM nowhere")
        async with world.session(propagation="nested") as nested:
            assert await nested.scalar(_BALANCE) == 7
        with pytest.raises(ReadOnlyScope):
            async with world.session(propagation="nested") as nested:
                await nested.execute("DELETE FROM users")
        assert await session.scalar(_BALANCE) == 7
    assert session.outcome is Outcome.COMMITTED
    async with world.session(readonly=True) as session:
        before = await session.scalar(_BALANCE)
        world.do("UPDATE users SET balance = 8")
        after = await session.scalar(_BALANCE)

    assert (before, after) == (7, 8)
    assert sent.connected == 1
    await check_nothing_left(world)


@on_postgresql
@pytest.mark.usefixtures("servers_own_limit")
async def test_a_deadline_strikes_and_stays_on_no_connection(world: World) -> None:
    sent = Sent(world)

    with pytest.raises(DeadlineExceeded):
        async with world.session(readonly=True, timeout=0.3) as session:
            await session.execute("SELECT pg_sleep(10)")
    async with world.session(readonly=True, timeout=30) as session:
        assert (await session.get(User, 71)).username == "ann"
    async with world.session(readonly=True) as session:
        limit = await session.scalar("SHOW statement_timeout")

    assert limit == "0"
    assert sent.connected == 1
    await check_nothing_left(world)


@on_postgresql
async def test_a_joined_scopes_deadline_ends_with_it(world: World) -> None:
    async with world.session(readonly=True) as session:
        assert await session.scalar(_BALANCE) == 7
        async with world.session(timeout=30) as joined:
            assert await joined.scalar(_BALANCE) == 7
        limit = await session.scalar("SHOW statement_timeout")

    assert limit == "0"
    await check_nothing_left(world)


@on_postgresql
async def test_rows_can_be_had_in_portions(world: World) -> None:
    world.do(
        "INSERT INTO users (username, balance) SELECT 'u' || g, g FROM generate_series(1, 9) g"
    )
    statement = select(User.balance).order_by(User.id).execution_options(yield_per=2)

    async with world.session(readonly=True) as session:
        if world.is_async:
            found = [row async for row in await session.stream_scalars(statement)]
        else:
            found = list(await session.scalars(statement))

    assert len(found) == 10
    await check_nothing_left(world)


@on_postgresql
async def test_a_promise_that_was_taken_back_costs_the_connection(world: World) -> None:
    sent = Sent(world)

    async with world.session(readonly=True) as session:
        await session.execute("SET default_transaction_read_only = off")
    with pytest.raises(ReadOnlyScope):
        async with world.session(readonly=True) as session:
            await session.execute("DELETE FROM users")

    assert sent.connected == 2
    assert world.usernames() == ["ann"]
