"""Deadlines of scopes inside others, and what is left of a deadline afterwards: nothing."""

from __future__ import annotations

import time
from typing import Any

import pytest
from sqlalchemy import event

from hermetic import DeadlineExceeded, Outcome, RolledBack, UniqueViolation, limits
from tests.behaviour.aftermath import check_nothing_left, eventually, on_postgresql, on_servers
from tests.behaviour.watching import SLOW, ends_near, engine_of
from tests.models import User
from tests.worlds import World

pytestmark = pytest.mark.timing

SHORT = 0.3


@pytest.mark.usefixtures("servers_own_limit")
async def test_a_nested_scope_may_have_less_time(world: World) -> None:
    async with world.session(timeout=60) as outer:
        outer.add(User(username="before"))
        with ends_near(SHORT):
            async with world.session(propagation="nested", timeout=SHORT) as inner:
                await inner.execute(SLOW[world.backend.family])
        outer.add(User(username="after"))

    assert outer.outcome is Outcome.COMMITTED
    assert world.usernames() == ["after", "before"]
    await check_nothing_left(world)


async def test_a_failure_heals_with_its_nested_scope_under_a_deadline(world: World) -> None:
    world.do("INSERT INTO users (username, balance) VALUES ('taken', 0)")

    async with world.session(timeout=60) as outer:
        with pytest.raises(UniqueViolation):
            async with world.session(propagation="nested") as inner:
                inner.add(User(username="taken"))
        outer.add(User(username="ann"))

    assert world.usernames() == ["ann", "taken"]


async def test_a_joined_scope_that_runs_out_of_time_dooms_the_whole(world: World) -> None:
    with pytest.raises(RolledBack) as caught:
        async with world.session() as outer:
            outer.add(User(username="before"))
            with ends_near(SHORT):
                async with world.session(timeout=SHORT) as inner:
                    await inner.execute(SLOW[world.backend.family])

    assert isinstance(caught.value.__cause__, DeadlineExceeded)
    assert world.usernames() == []
    await check_nothing_left(world)


async def test_an_inner_scope_never_has_more_time_than_its_outer_one(world: World) -> None:
    with ends_near(SHORT):
        async with world.session(timeout=SHORT), world.session(timeout=60) as inner:
            await inner.execute(SLOW[world.backend.family])

    await check_nothing_left(world)


@pytest.mark.slow
async def test_the_deadline_of_an_inner_scope_ends_with_it(world: World) -> None:
    async with world.session() as outer:
        await outer.execute("SELECT 1")
        for propagation in ("required", "nested"):
            async with world.session(propagation=propagation, timeout=1) as inner:
                await inner.execute("SELECT 1")
                deadline = time.monotonic() + 1
            assert await eventually(world, lambda end=deadline: time.monotonic() > end)  # type: ignore[misc]
            await outer.execute("SELECT 2")
        outer.add(User(username="ann"))

    assert outer.outcome is Outcome.COMMITTED


@on_servers
@pytest.mark.slow
@pytest.mark.parametrize("propagation", ["required", "nested"])
async def test_statements_after_an_inner_scope_are_not_limited_by_its_time(
    world: World, propagation: str
) -> None:
    nap = {"postgresql": "SELECT pg_sleep(1.3)", "mariadb": "SELECT SLEEP(1.3)"}

    async with world.session() as outer:
        await outer.execute("SELECT 1")  # a connect would take of the time
        async with world.session(propagation=propagation, timeout=1) as inner:
            await inner.execute("SELECT 1")
        await outer.execute(nap[world.backend.family])
        outer.add(User(username="ann"))

    assert outer.outcome is Outcome.COMMITTED
    assert world.usernames() == ["ann"]


@on_servers
@pytest.mark.slow
@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("propagation", ["required", "supports"])
async def test_the_next_scope_is_not_limited_by_an_earlier_ones_time(
    world: World, propagation: str, readonly: bool
) -> None:
    nap = {"postgresql": "SELECT pg_sleep(1.3)", "mariadb": "SELECT SLEEP(1.3)"}
    options = {"propagation": propagation, "readonly": readonly}
    async with world.session(**options) as session:
        await session.execute("SELECT 1")  # a connect would take of the time

    async with world.session(timeout=1, **options) as session:
        await session.execute("SELECT 1")
    async with world.session(**options) as session:
        await session.execute(nap[world.backend.family])

    await check_nothing_left(world)


async def test_a_statement_that_is_refused_for_its_time_costs_no_connection(world: World) -> None:
    """The time is over between the session's own look at it and the last one before sending."""
    scopes: list[Any] = []

    def pass_time(conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement == "SELECT 42":
            scopes[0].deadline = time.monotonic() - 1.0

    event.listen(engine_of(world), "before_cursor_execute", pass_time)
    async with world.session() as outer:
        outer.add(User(username="before"))
        await outer.flush()
        with pytest.raises(DeadlineExceeded, match="before a statement was sent"):
            async with world.session(propagation="nested", timeout=60) as inner:
                scopes.append(inner.scope)
                await inner.execute("SELECT 42")
        outer.add(User(username="after"))

    assert outer.outcome is Outcome.COMMITTED
    assert world.usernames() == ["after", "before"]
    assert world.db.snapshot().counters["destroyed"] == 0
    await check_nothing_left(world)


@on_postgresql
async def test_what_takes_the_limit_of_an_inner_scope_back_has_time_itself(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs under the limit that it takes back, and would end the outer scope's transaction."""
    async with world.session() as outer:
        await outer.execute("SELECT 1")
        async with world.session(timeout=60) as inner:
            with monkeypatch.context() as patched:
                patched.setattr(limits, "monotonic", lambda: inner.scope.deadline - 0.0001)
                assert await inner.scalar("SHOW statement_timeout") == "50ms"
        assert await outer.scalar("SHOW statement_timeout") == "0"


async def test_requires_new_has_a_deadline_of_its_own(world: World) -> None:
    async with world.session(timeout=60) as outer:
        await outer.execute("SELECT 1")
        with ends_near(SHORT):
            async with world.session(
                propagation="requires_new", readonly=True, timeout=SHORT
            ) as inner:
                await inner.execute(SLOW[world.backend.family])
        outer.add(User(username="ann"))

    assert world.usernames() == ["ann"]
    await check_nothing_left(world)
