"""What a unit that may run again is given: objects, hooks, its session, its name."""

from __future__ import annotations

from typing import Any

import pytest

from hermetic import (
    Retry,
    RetryRequested,
    StaleInstance,
)
from tests.behaviour.aftermath import check_nothing_left
from tests.behaviour.conflicts import conflict, conflict_class
from tests.models import Order, User
from tests.worlds import World

FAST = Retry(attempts=3, base=0.001)


# ---------------------------------------------------------------- objects


async def test_an_object_of_another_session_is_refused_as_an_argument(world: World) -> None:
    async with world.session() as session:
        user = User(username="ann")
        session.add(user)
    bodies = 0

    @world.unit(retry=FAST)
    async def rename(session: Any, *users: Any, **more: Any) -> None:
        nonlocal bodies
        bodies += 1

    for args, kwargs in (((user,), {}), (([user],), {}), ((), {"user": user})):
        with pytest.raises(StaleInstance, match="primary key"):
            await rename(*args, **kwargs)

    assert bodies == 0
    assert world.db.snapshot().scopes == ()


async def test_an_object_of_another_session_is_welcome_where_nothing_runs_again(
    world: World,
) -> None:
    async with world.session() as session:
        user = User(username="ann")
        session.add(user)

    @world.unit()
    async def rename(session: Any, user: User) -> None:
        session.add(user)
        user.username = "anna"

    await rename(user)

    assert world.usernames() == ["anna"]


async def test_a_new_object_is_welcome_as_an_argument(world: World) -> None:
    @world.unit(retry=FAST)
    async def add(session: Any, user: User) -> None:
        session.add(user)

    await add(User(username="ann"))

    assert world.usernames() == ["ann"]


@pytest.mark.parametrize("how", ["added", "by_cascade", "merged"])
async def test_an_object_of_an_earlier_attempt_is_refused(world: World, how: str) -> None:
    kept: list[User] = []

    @world.unit(retry=FAST)
    async def unit(session: Any) -> None:
        if not kept:
            kept.append(User(username="ann"))
            session.add(kept[0])
            await session.flush()
            await conflict(world, session)
        if how == "added":
            session.add(kept[0])
        elif how == "merged":
            await session.merge(kept[0])
        else:
            session.add(Order(item="tea", user=kept[0]))

    with pytest.raises(StaleInstance, match="earlier attempt"):
        await unit()

    assert world.usernames() == []
    await check_nothing_left(world)


async def test_an_object_of_an_earlier_attempt_of_a_loop_is_refused(world: World) -> None:
    user = User(username="ann")

    with pytest.raises(StaleInstance):
        async for attempt in world.attempts(retry=FAST):
            async with attempt as session:
                session.add(user)
                await session.flush()
                await conflict(world, session)

    assert world.usernames() == []


# ---------------------------------------------------------------- hooks, names, the current session


async def test_hooks_of_attempts_that_failed_do_not_run_after_the_commit(world: World) -> None:
    committed: list[int] = []
    rolled_back: list[int] = []

    @world.unit(retry=FAST)
    async def unit(session: Any) -> None:
        number = session.scope.attempt
        session.on_commit(lambda: committed.append(number))
        session.on_rollback(lambda: rolled_back.append(number))
        if number < 3:
            await conflict(world, session)

    await unit()

    assert committed == [3]
    assert rolled_back == [1, 2]


async def test_a_hook_that_fails_after_the_commit_runs_nothing_again(world: World) -> None:
    bodies = 0

    def fail() -> None:
        raise RetryRequested

    @world.unit(retry=FAST)
    async def unit(session: Any) -> None:
        nonlocal bodies
        bodies += 1
        session.on_commit(fail)
        session.add(User(username="ann"))

    await unit()

    assert bodies == 1
    assert world.usernames() == ["ann"]


async def test_a_hook_that_fails_before_the_commit_may_run_the_unit_again(world: World) -> None:
    bodies = 0

    def fail() -> None:
        if bodies == 1:
            raise RetryRequested

    @world.unit(retry=FAST)
    async def unit(session: Any) -> None:
        nonlocal bodies
        bodies += 1
        session.before_commit(fail)
        session.add(User(username="ann"))

    await unit()

    assert bodies == 2
    assert world.usernames() == ["ann"]


async def test_the_current_session_is_that_of_the_attempt(world: World) -> None:
    matches: list[bool] = []

    @world.unit(retry=FAST)
    async def unit(session: Any) -> None:
        matches.append(world.face(world.db.current).scope is session.scope)
        if len(matches) < 2:
            await conflict(world, session)

    await unit()

    assert matches == [True, True]


async def test_errors_carry_the_name_of_the_unit(world: World) -> None:
    @world.unit(retry=FAST, name="book an order")
    async def unit(session: Any) -> None:
        await conflict(world, session)

    with pytest.raises(conflict_class(world)) as caught:
        await unit()

    assert caught.value.scope is not None
    assert caught.value.scope.name == "book an order"
    assert "'book an order'" in str(caught.value)


async def test_the_live_list_tells_the_number_of_the_attempt(world: World) -> None:
    seen: list[int] = []

    @world.unit(retry=FAST)
    async def unit(session: Any) -> None:
        seen.extend(scope.attempt for scope in world.db.snapshot().scopes)
        if len(seen) < 3:
            raise RetryRequested

    await unit()

    assert seen == [1, 2, 3]
