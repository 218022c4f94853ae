"""Who is preferred, who is sent away, what several Databases share, and that nobody starves."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest

from hermetic import (
    Budget,
    Database,
    DeadlineExceeded,
    InvalidOption,
    PoolOverloaded,
    PoolSelfDeadlock,
    PoolTimeout,
)
from tests.behaviour.aftermath import check_nothing_left, eventually, on, on_servers
from tests.behaviour.test_pool import hold, use, waiting
from tests.worlds import PATIENCE, World


@on_servers
@pytest.mark.timing
async def test_a_scope_with_priority_has_a_place_that_others_have_not(world: World) -> None:
    db = world.database(pool_size=2, pool_reserve=1, pool_timeout=0.2)

    async def meanwhile() -> None:
        with pytest.raises(PoolTimeout, match="1 are reserved"):
            await use(world, db)
        assert await use(world, db, priority=True)

    assert await hold(world, db, meanwhile) is None
    await check_nothing_left(world, db)


@pytest.mark.parametrize(
    "options",
    [
        {"pool_reserve": 10},
        {"pool_reserve": 2, "reader_pool_size": 2},
        {"pool_reserve": -1},
        {"pool_min": 11},
        {"pool_min": -1},
        {"shed_after": 0},
        {"keepalive": 0},
        {"pool_idle": -1},
        {"budget": 3},
        {"credentials": "secret"},
        {"priority": 1},
    ],
    ids=str,
)
def test_a_wrong_option_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption) as caught:
        Database("sqlite://", **options)
    assert "secret" not in str(caught.value)


@pytest.mark.slow
async def test_an_old_line_is_shed(world: World) -> None:
    """Nobody comes back for two seconds: the next to come finds that the first waited enough."""
    db = world.database(pool_size=1, shed_after=0.05, pool_timeout=PATIENCE)

    async def meanwhile() -> list[object]:
        async def old() -> int:
            return await use(world, db, name="the old one")

        async def later() -> int:
            await eventually(world, lambda: waiting(db) == 1, PATIENCE)
            begun = time.monotonic()
            await eventually(world, lambda: time.monotonic() - begun > 2.1, PATIENCE)
            return await use(world, db, timeout=0.2)

        return await world.together(old, later)

    ends = await hold(world, db, meanwhile)

    assert isinstance(ends[0], PoolOverloaded)
    assert "shed_after" in str(ends[0])
    assert isinstance(ends[1], DeadlineExceeded)
    await check_nothing_left(world, db)


@on_servers
@pytest.mark.timing
async def test_databases_share_a_budget(world: World) -> None:
    budget = Budget(2)
    first = world.database(budget=budget, pool_timeout=0.2, name="first")
    second = world.database(budget=budget, pool_timeout=0.2, name="second")

    async with world.session(first) as one:
        await one.execute("SELECT 1")
        async with world.session(second) as two:
            await two.execute("SELECT 1")
            assert budget.lent == 2
            # whoever holds both would wait for themselves; anybody else waits
            with pytest.raises(PoolSelfDeadlock, match="All 2 connections of the budget"):
                await use(world, second, propagation="requires_new")
            with pytest.raises(PoolSelfDeadlock):
                await use(world, first, propagation="requires_new", readonly=True)
            (refused,) = await world.together(lambda: use(world, second))
            assert isinstance(refused, PoolTimeout)
            assert "all 2 of its budget" in str(refused)
        assert await use(world, first, propagation="requires_new", readonly=True)

    assert budget.lent == 0
    assert await use(world, second)
    await check_nothing_left(world, first)
    await check_nothing_left(world, second)


@pytest.mark.timing
async def test_an_error_names_those_who_wait_too(world: World) -> None:
    db = world.database(pool_size=1, pool_timeout=PATIENCE)

    held = world.signal()

    async def early() -> None:
        await held.wait()
        await use(world, db, name="the early one")

    async def late() -> object:
        held.set()
        assert await eventually(world, lambda: waiting(db) == 1)
        with pytest.raises(DeadlineExceeded) as caught:
            await use(world, db, name="the late one", timeout=0.1)
        return caught.value.__cause__

    early_end, error = await world.together(early, lambda: hold(world, db, late))

    assert early_end is None
    assert isinstance(error, PoolTimeout)
    assert len(error.waiters) == 1
    assert "the early one" in error.waiters[0]
    assert "the holder" in error.holders[0]
    assert f"wanted by {error.waiters[0]}" in str(error)


@on(lambda backend: backend.name in ("psycopg", "asyncpg", "pymysql", "asyncmy"))
@pytest.mark.slow
async def test_twenty_equal_clients_get_equal_shares(world: World) -> None:
    db = world.database(pool_size=2, pool_timeout=PATIENCE)
    shares = Counter[int]()
    waits: list[float] = []
    until = time.monotonic() + 3

    async def client(number: int) -> None:
        while time.monotonic() < until:
            asked = time.monotonic()
            async with world.session(db) as session:
                await session.execute("SELECT 1")
                waits.append(time.monotonic() - asked)
                shares[number] += 1

    assert await world.together(*[lambda n=n: client(n) for n in range(20)]) == [None] * 20

    waits.sort()
    mean, late = sum(waits) / len(waits), waits[len(waits) * 99 // 100]
    assert len(shares) == 20
    assert max(shares.values()) <= 2 * min(shares.values())
    # the goal is 3 on a quiet machine; who is passed over in a line waits for tens of turns
    assert late <= 12 * mean
