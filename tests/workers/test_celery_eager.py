"""Celery's eager tasks, which run in the process that sends them; and what Celery tries again."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from celery.exceptions import Ignore, Reject

from hermetic import RetryRequested, UniqueViolation
from hermetic.integrations.celery import Sessions
from tests.behaviour.aftermath import on
from tests.models import User
from tests.workers.conftest import task_of
from tests.worlds import World

in_asyncio = on(lambda backend: backend.name == "aiosqlite")
in_threads = on(lambda backend: backend.name == "sqlite")


@in_threads
def test_what_is_sent_after_the_commit_has_a_unit_of_its_own(world: World, app: Celery) -> None:
    Sessions(world.db).install(app)

    @task_of(app)
    def receipt() -> None:
        world.db.current.add(User(username="receipt"))

    @task_of(app)
    def pay() -> None:
        world.db.current.add(User(username="paid"))
        receipt.delay_on_commit()

    assert pay.delay().successful()
    assert world.usernames() == ["paid", "receipt"]


@in_threads
def test_a_task_that_was_sent_fails_for_itself_alone(world: World, app: Celery) -> None:
    Sessions(world.db).install(app)

    @task_of(app)
    def failing() -> None:
        world.db.current.add(User(username="half"))
        world.db.current.flush()
        raise LookupError

    @task_of(app)
    def well() -> None:
        world.db.current.add(User(username="well"))

    @task_of(app)
    def outer() -> list[str]:
        world.db.current.add(User(username="outer"))
        return [failing.delay().state, well.delay().state]

    assert outer.delay().get() == ["FAILURE", "SUCCESS"]
    assert world.usernames() == ["outer", "well"]


@in_threads
def test_autoretry_takes_what_the_database_has_nothing_to_do_with(
    world: World, app: Celery
) -> None:
    Sessions(world.db).install(app)
    runs: list[str] = []

    @task_of(app, autoretry_for=(Exception,), default_retry_delay=0, max_retries=2)
    def add(name: str, fails: int) -> None:
        runs.append(name)
        world.db.current.add(User(username=name))
        world.db.current.flush()
        if len(runs) <= fails:
            raise LookupError

    add.delay("ann", 1)
    assert runs == ["ann"] * 2
    assert world.usernames() == ["ann"]
    runs.clear()
    taken: Any = add.delay("ann", 0)
    assert isinstance(taken.result, UniqueViolation)
    assert runs == ["ann"]  # it would fail again
    runs.clear()
    assert isinstance(add.delay("bob", 9).result, LookupError)
    assert runs == ["bob"] * 3
    with pytest.raises(LookupError):
        add("bob", 9)
    assert world.usernames() == ["ann"]


@in_threads
def test_a_task_that_is_called_raises_what_it_met(world: World, app: Celery) -> None:
    Sessions(world.db).install(app)

    @task_of(app, autoretry_for=(Exception,))
    def meet() -> None:
        raise RetryRequested

    with pytest.raises(RetryRequested):
        meet()


@in_asyncio
async def test_a_coroutine_task_that_is_called_in_a_loop_is_awaited(
    world: World, app: Celery
) -> None:
    Sessions(world.db).install(app)

    @task_of(app)
    async def inner(name: str) -> str:
        world.db.current.add(User(username=name))
        return name

    @task_of(app)
    async def outer() -> str:
        # it is part of this one
        async with world.db.session(propagation="mandatory"):
            name: str = await inner("ann")
        return name

    assert await outer() == "ann"
    assert await inner("bob") == "bob"
    assert world.usernames() == ["ann", "bob"]


@in_threads
def test_a_task_that_replaces_itself_may_keep_what_it_has_done(world: World, app: Celery) -> None:
    Sessions(world.db).install(app)

    @task_of(app, scope_options={"commit_on": (Ignore,)})
    def replaced(name: str, error: type[Exception]) -> None:
        world.db.current.add(User(username=name))
        raise error

    for name, error in (("ann", Ignore), ("bob", Reject)):
        with pytest.raises(error):
            replaced(name, error)
    assert world.usernames() == ["ann"]
