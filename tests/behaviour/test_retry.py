"""A unit that was certainly not applied runs again, on a fresh session."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import func, insert, select

from hermetic import (
    FaultError,
    InvalidStatement,
    Outcome,
    PoolTimeout,
    Retry,
    RetryRequested,
    RolledBack,
    UniqueViolation,
)
from tests.behaviour.aftermath import check_nothing_left, on_postgresql, on_servers
from tests.behaviour.conflicts import conflict, conflict_class
from tests.models import User
from tests.proxy import Proxy
from tests.worlds import World

FAST = Retry(attempts=5, base=0.001)


# ---------------------------------------------------------------- what runs again


async def test_a_decorated_unit_runs_again_on_a_fresh_session(world: World) -> None:
    sessions: list[Any] = []

    @world.unit(retry=FAST)
    async def add(session: Any) -> int:
        sessions.append(session.scope)
        session.add(User(username=f"ann {len(sessions)}"))
        await session.flush()
        if len(sessions) < 3:
            await conflict(world, session)
        return len(sessions)

    assert await add() == 3

    assert len({scope.number for scope in sessions}) == 3
    assert [scope.attempt for scope in sessions] == [1, 2, 3]
    outcomes = [Outcome.NOT_COMMITTED, Outcome.NOT_COMMITTED, Outcome.COMMITTED]
    assert [scope.outcome for scope in sessions] == outcomes
    assert world.usernames() == ["ann 3"]
    assert world.db.snapshot().counters["retries"] == 2
    await check_nothing_left(world)


async def test_a_block_of_a_loop_runs_again_on_a_fresh_session(world: World) -> None:
    scopes: list[Any] = []
    numbers: list[int] = []

    async for attempt in world.attempts(retry=FAST):
        async with attempt as session:
            scopes.append(session.scope)
            numbers.append(session.scope.attempt)
            session.add(User(username=f"ann {len(scopes)}"))
            await session.flush()
            if len(scopes) < 3:
                await conflict(world, session)

    assert numbers == [1, 2, 3]
    assert len({scope.number for scope in scopes}) == 3
    assert world.usernames() == ["ann 3"]
    await check_nothing_left(world)


async def test_a_unit_that_succeeds_runs_once(world: World) -> None:
    bodies = 0

    async for attempt in world.attempts():
        async with attempt as session:
            bodies += 1
            session.add(User(username="ann"))

    assert bodies == 1
    assert world.usernames() == ["ann"]


@on_servers
async def test_both_parties_of_a_deadlock_are_applied_once(world: World) -> None:
    world.do("INSERT INTO users (username, balance) VALUES ('ann', 0), ('bob', 0)")
    signals = {"ann": world.signal(), "bob": world.signal()}
    bodies: list[str] = []

    @world.unit(retry=FAST)
    async def raise_both(session: Any, first: str, second: str) -> None:
        bodies.append(first)
        raised = "UPDATE users SET balance = balance + 1 WHERE username = :name"
        await session.execute(raised, {"name": first})
        signals[first].set()
        await signals[second].wait()
        await session.execute(raised, {"name": second})

    ends = await world.together(lambda: raise_both("ann", "bob"), lambda: raise_both("bob", "ann"))

    assert ends == [None, None]
    assert len(bodies) == 3
    assert world.seen("SELECT balance FROM users") == [(2,), (2,)]
    await check_nothing_left(world)


@on_servers
async def test_both_parties_of_a_serialization_conflict_are_applied_once(world: World) -> None:
    world.do("INSERT INTO users (username, balance) VALUES ('ann', 0)")
    signals = [world.signal(), world.signal()]
    bodies: list[int] = []

    @world.unit(isolation="SERIALIZABLE", retry=FAST)
    async def increment(session: Any, me: int) -> None:
        bodies.append(me)
        user = (await session.execute(select(User))).scalar_one()
        signals[me].set()
        await signals[1 - me].wait()
        user.balance += 1

    ends = await world.together(lambda: increment(0), lambda: increment(1))

    assert ends == [None, None]
    assert len(bodies) == 3
    assert world.seen("SELECT balance FROM users") == [(2,)]
    await check_nothing_left(world)


@on_postgresql
async def test_a_conflict_told_at_commit_runs_the_unit_again(world: World) -> None:
    bodies = 0

    @world.unit(isolation="SERIALIZABLE", retry=FAST)
    async def first(session: Any) -> None:
        nonlocal bodies
        bodies += 1
        found = await session.scalar(select(func.count()).select_from(User))
        if bodies == 1:
            await second()
        session.add(User(username=f"first after {found}"))

    @world.unit(isolation="SERIALIZABLE", propagation="requires_new")
    async def second(session: Any) -> None:
        await session.scalar(select(func.count()).select_from(User))
        session.add(User(username="second"))

    await first()

    assert bodies == 2
    assert world.usernames() == ["first after 1", "second"]
    await check_nothing_left(world)


@on_servers
async def test_a_unit_that_got_no_connection_to_the_server_runs_again(
    world: World, proxy: Proxy
) -> None:
    # The user's name is in what a client says first.
    trap = proxy.cut_before(re.compile(rb"hermetic"))
    bodies = 0

    async for attempt in world.attempts(retry=FAST):
        async with attempt as session:
            bodies += 1
            session.add(User(username="ann"))

    assert trap.reached.is_set()
    assert bodies == 2
    assert world.usernames() == ["ann"]
    await check_nothing_left(world)


async def test_a_unit_can_ask_to_be_run_again(world: World) -> None:
    bodies = 0

    @world.unit(retry=FAST)
    async def add(session: Any) -> None:
        nonlocal bodies
        bodies += 1
        session.add(User(username=f"ann {bodies}"))
        if bodies < 3:
            raise RetryRequested

    await add()

    assert bodies == 3
    assert world.usernames() == ["ann 3"]


async def test_a_request_without_a_policy_rolls_back_and_is_raised(world: World) -> None:
    with pytest.raises(RetryRequested):
        async with world.session() as session:
            session.add(User(username="ann"))
            raise RetryRequested("not now")

    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []


@pytest.mark.parametrize("depth", [1, 3])
async def test_a_fault_inside_another_exception_is_still_known(world: World, depth: int) -> None:
    bodies = 0

    @world.unit(retry=FAST)
    async def wrapped(session: Any) -> None:
        nonlocal bodies
        bodies += 1
        if bodies > 1:
            return
        error: BaseException
        try:
            await conflict(world, session)
        except FaultError as fault:
            error = fault
        for level in range(depth):
            outer = ValueError(f"level {level}")
            outer.__cause__ = error
            error = outer
        raise error

    await wrapped()

    assert bodies == 2


async def test_a_rollback_because_of_a_swallowed_conflict_is_run_again(world: World) -> None:
    if world.backend.family == "sqlite":
        pytest.skip("SQLite's conflict leaves the transaction as it was")
    bodies = 0

    @world.unit(retry=FAST)
    async def unit(session: Any) -> None:
        nonlocal bodies
        bodies += 1
        if bodies == 1:
            with pytest.raises(conflict_class(world)):
                await conflict(world, session)

    await unit()

    assert bodies == 2


async def test_a_fault_that_was_disowned_is_not_retried(world: World) -> None:
    bodies = 0

    @world.unit(retry=FAST)
    async def disowned(session: Any) -> None:
        nonlocal bodies
        bodies += 1
        try:
            await conflict(world, session)
        except FaultError:
            raise ValueError("something else") from None

    with pytest.raises(ValueError, match="something else"):
        await disowned()

    assert bodies == 1


# ---------------------------------------------------------------- what does not


async def unique(world: World, session: Any) -> None:
    await session.execute(insert(User).values(username="taken"))


async def programming(world: World, session: Any) -> None:
    await session.execute("SELECT nothing FROM nowhere")


async def application(world: World, session: Any) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("fail", "expected"),
    [
        (unique, UniqueViolation),
        (programming, InvalidStatement),
        (application, ZeroDivisionError),
    ],
    ids=["unique", "programming", "application"],
)
async def test_what_would_fail_again_is_not_run_again(
    world: World, fail: Any, expected: type[Exception]
) -> None:
    world.do("INSERT INTO users (username, balance) VALUES ('taken', 0)")
    bodies = 0

    @world.unit(retry=FAST)
    async def unit(session: Any) -> None:
        nonlocal bodies
        bodies += 1
        await fail(world, session)

    with pytest.raises(expected) as caught:
        await unit()

    assert bodies == 1
    assert "attempt" not in "".join(getattr(caught.value, "__notes__", []))


async def test_a_rollback_because_of_a_failed_joined_scope_is_not_run_again(world: World) -> None:
    bodies = 0

    @world.unit(retry=FAST)
    async def unit(session: Any) -> None:
        nonlocal bodies
        bodies += 1
        with pytest.raises(ZeroDivisionError):
            async with world.session():
                raise ZeroDivisionError

    with pytest.raises(RolledBack):
        await unit()

    assert bodies == 1


async def test_a_wait_for_the_pool_is_not_run_again(world: World) -> None:
    db = world.database(pool_size=1, pool_timeout=0.05)
    taken, done = world.signal(), world.signal()
    bodies = 0

    async def holder() -> None:
        async with world.session(db) as session:
            await session.execute("SELECT 1")
            taken.set()
            await done.wait()

    @world.unit(db, retry=FAST)
    async def unit(session: Any) -> None:
        nonlocal bodies
        bodies += 1
        await session.execute("SELECT 1")

    async def waiter() -> None:
        await taken.wait()
        try:
            await unit()
        finally:
            done.set()

    held, waited = await world.together(holder, waiter)

    assert held is None
    assert isinstance(waited, PoolTimeout)
    assert bodies == 1
    await check_nothing_left(world, db)


@pytest.mark.parametrize("strike", [KeyboardInterrupt, SystemExit, GeneratorExit])
async def test_what_is_no_ordinary_exception_is_not_run_again(
    world: World, strike: type[BaseException]
) -> None:
    bodies = 0

    @world.unit(retry=Retry(when=lambda error: True))
    async def unit(session: Any) -> None:
        nonlocal bodies
        bodies += 1
        await session.execute("SELECT 1")
        raise strike

    with pytest.raises(strike):
        await unit()

    assert bodies == 1
    await check_nothing_left(world)
