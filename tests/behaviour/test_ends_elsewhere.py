"""Scopes that end in another thread, task or order than they were opened in."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hermetic import HermeticError, NoScope, Outcome
from tests.behaviour.aftermath import check_nothing_left, eventually, lent, on_asyncio
from tests.behaviour.watching import Boom, on_threads
from tests.models import User
from tests.worlds import World

DONE = (None, None, None)


async def check_ended_here(world: World) -> None:
    unit = world.session()

    async def open_it() -> Any:
        session = await unit.__aenter__()
        session.add(User(username="ann"))
        return session

    (session,) = await world.together(open_it)
    await unit.__aexit__(*DONE)

    assert session.outcome is Outcome.COMMITTED
    assert world.usernames() == ["ann"]
    with pytest.raises(NoScope):
        _ = world.db.current
    await check_nothing_left(world)


@on_asyncio
async def test_a_scope_opened_by_another_task_may_be_ended_here(world: World) -> None:
    await check_ended_here(world)


@on_threads
async def test_a_scope_opened_by_another_thread_may_be_ended_here(world: World) -> None:
    await check_ended_here(world)


async def test_a_scope_opened_here_may_be_ended_by_another_party(world: World) -> None:
    unit = world.session()
    session = await unit.__aenter__()
    session.add(User(username="ann"))
    await session.flush()

    async def end_it() -> None:
        await unit.__aexit__(*DONE)

    (error,) = await world.together(end_it)

    assert error is None
    assert session.outcome is Outcome.COMMITTED
    assert world.usernames() == ["ann"]
    with pytest.raises(NoScope):
        _ = world.db.current
    await check_nothing_left(world)


async def test_a_failure_elsewhere_rolls_back(world: World) -> None:
    unit = world.session()
    session = await unit.__aenter__()
    session.add(User(username="ann"))
    await session.flush()
    error = Boom()

    async def end_it() -> None:
        await unit.__aexit__(Boom, error, None)

    await world.together(end_it)

    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    await check_nothing_left(world)


@pytest.mark.parametrize(
    "propagation",
    [
        "required",
        "nested",
    ],
)
async def test_an_inner_scope_that_outlives_its_outer_one_ends_without_harm(
    world: World, propagation: str
) -> None:
    outer, inner = world.session(), world.session(propagation=propagation)
    session = await outer.__aenter__()
    session.add(User(username="ann"))
    await (await inner.__aenter__()).flush()

    with contextlib.suppress(HermeticError):
        await outer.__aexit__(*DONE)
    with contextlib.suppress(HermeticError):
        await inner.__aexit__(*DONE)

    applied = world.usernames() == ["ann"]
    assert session.outcome is (Outcome.COMMITTED if applied else Outcome.NOT_COMMITTED)
    with pytest.raises(NoScope):
        _ = world.db.current
    await check_nothing_left(world)


async def test_independent_scopes_may_end_in_any_order(world: World) -> None:
    first, second = world.session(), world.session(propagation="requires_new", readonly=True)
    one = await first.__aenter__()
    one.add(User(username="ann"))
    two = await second.__aenter__()
    await two.execute("SELECT 1")

    await first.__aexit__(*DONE)
    answer = await two.scalar("SELECT count(*) FROM users")
    await second.__aexit__(*DONE)

    assert answer in (0, 1)
    assert (one.outcome, two.outcome) == (Outcome.COMMITTED, Outcome.COMMITTED)
    await check_nothing_left(world)


async def test_a_unit_left_without_being_entered_says_so(world: World) -> None:
    unit = world.session()

    with pytest.raises(HermeticError):
        await unit.__aexit__(*DONE)


async def test_a_unit_left_twice_says_so(world: World) -> None:
    unit = world.session()
    async with unit as session:
        session.add(User(username="ann"))

    with pytest.raises(HermeticError):
        await unit.__aexit__(*DONE)

    assert world.usernames() == ["ann"]


async def test_a_stack_of_contexts_ends_scopes_in_its_order(world: World) -> None:
    with pytest.raises(Boom):
        async with contextlib.AsyncExitStack() as stack:
            outer = await stack.enter_async_context(world.session())
            outer.add(User(username="ann"))
            await stack.enter_async_context(world.session(propagation="nested"))
            raise Boom

    assert outer.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    await check_nothing_left(world)


async def test_a_scope_inside_a_context_manager_of_the_users_is_as_ever(world: World) -> None:
    @contextlib.asynccontextmanager
    async def session_scope() -> AsyncIterator[Any]:
        async with world.session() as session:
            yield session

    async with session_scope() as session:
        session.add(User(username="ann"))
    with pytest.raises(Boom):
        async with session_scope() as failing:
            failing.add(User(username="bob"))
            await failing.flush()
            raise Boom

    assert (session.outcome, failing.outcome) == (Outcome.COMMITTED, Outcome.NOT_COMMITTED)
    assert world.usernames() == ["ann"]


async def test_interleaved_generators_end_each_their_own_scope(world: World) -> None:
    unit = world.session(readonly=True)

    async def rows(kept: list[Any], propagation: str) -> AsyncIterator[int]:
        async with world.session(propagation=propagation, readonly=True) as session:
            kept.append(session)
            for number in range(3):
                yield await session.scalar(f"SELECT {number}")

    kept: list[Any] = []
    one, two = rows(kept, "requires_new"), rows(kept, "requires_new")
    seen = [await anext(one), await anext(two), await anext(one), await anext(two)]
    async with unit as session:
        await session.execute("SELECT 1")
    rest = [value async for value in one] + [value async for value in two]

    assert (seen, rest) == ([0, 0, 1, 1], [2, 2])
    assert [each.outcome for each in kept] == [Outcome.COMMITTED] * 2
    assert lent(world.db) == []


@on_asyncio
async def test_a_generator_that_is_forgotten_is_ended_by_the_loop(world: World) -> None:
    async def rows() -> AsyncIterator[int]:
        async with world.db.session() as session:
            session.add(User(username="ann"))
            await session.flush()
            yield 1

    values = rows()
    await anext(values)

    del values
    gc.collect()

    assert await eventually(world, lambda: not lent(world.db))
    assert world.usernames() == []
    await check_nothing_left(world)


@on_asyncio
async def test_a_scope_opened_in_a_finished_task_belongs_to_nobody_else(world: World) -> None:
    unit = world.db.session()

    async def open_it() -> Any:
        return await unit.__aenter__()

    session = await asyncio.create_task(open_it())
    with pytest.raises(HermeticError):
        await session.execute("SELECT 1")
    await unit.__aexit__(*DONE)

    assert session.outcome is Outcome.COMMITTED
