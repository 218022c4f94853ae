"""Only the outermost unit that may run again does so."""

from __future__ import annotations

from typing import Any

import pytest

from hermetic import Retry
from tests.behaviour.aftermath import check_nothing_left, on_servers
from tests.behaviour.conflicts import conflict, conflict_class
from tests.models import User
from tests.worlds import World

FAST = Retry(attempts=5, base=0.001)


async def test_a_unit_inside_another_leaves_the_retry_to_that(world: World) -> None:
    outer_bodies = inner_bodies = 0

    @world.unit(retry=FAST)
    async def outer(session: Any) -> None:
        nonlocal outer_bodies
        outer_bodies += 1
        await inner()

    @world.unit(retry=FAST)
    async def inner(session: Any) -> None:
        nonlocal inner_bodies
        inner_bodies += 1
        if inner_bodies < 3:
            await conflict(world, session)
        session.add(User(username="ann"))

    await outer()

    assert (outer_bodies, inner_bodies) == (3, 3)
    assert world.usernames() == ["ann"]
    await check_nothing_left(world)


@pytest.mark.parametrize("propagation", ["required", "nested"])
async def test_a_unit_inside_a_scope_that_cannot_run_again_runs_once(
    world: World, propagation: str
) -> None:
    bodies = 0

    @world.unit(retry=FAST, propagation=propagation)
    async def unit(session: Any) -> None:
        nonlocal bodies
        bodies += 1
        await conflict(world, session)

    with pytest.raises(conflict_class(world)):
        async with world.session():
            await unit()

    assert bodies == 1
    await check_nothing_left(world)


async def test_a_loop_inside_a_unit_leaves_the_retry_to_that(world: World) -> None:
    outer_bodies = inner_bodies = 0

    @world.unit(retry=FAST)
    async def outer(session: Any) -> None:
        nonlocal outer_bodies
        outer_bodies += 1
        async for attempt in world.attempts(retry=FAST):
            async with attempt as inner:
                nonlocal inner_bodies
                inner_bodies += 1
                if inner_bodies < 3:
                    await conflict(world, inner)

    await outer()

    assert (outer_bodies, inner_bodies) == (3, 3)


@on_servers
async def test_an_independent_unit_inside_a_scope_runs_again_by_itself(world: World) -> None:
    bodies = 0

    @world.unit(retry=FAST, propagation="requires_new")
    async def unit(session: Any) -> None:
        nonlocal bodies
        bodies += 1
        if bodies < 3:
            await conflict(world, session)
        session.add(User(username="inner"))

    async with world.session() as session:
        session.add(User(username="outer"))
        await session.flush()
        await unit()

    assert bodies == 3
    assert world.usernames() == ["inner", "outer"]
    await check_nothing_left(world)


@on_servers
async def test_an_independent_unit_inside_a_unit_with_a_policy_leaves_the_retry_to_that(
    world: World,
) -> None:
    outer_bodies = inner_bodies = 0

    @world.unit(retry=FAST)
    async def outer(session: Any) -> None:
        nonlocal outer_bodies
        outer_bodies += 1
        await session.execute("SELECT 1")
        await inner()

    @world.unit(retry=FAST, propagation="requires_new")
    async def inner(session: Any) -> None:
        nonlocal inner_bodies
        inner_bodies += 1
        if inner_bodies < 3:
            await conflict(world, session)

    await outer()

    assert (outer_bodies, inner_bodies) == (3, 3)
    await check_nothing_left(world)
