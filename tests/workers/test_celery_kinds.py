"""Celery's kinds of tasks: functions, bound ones, classes, shared ones; and what is none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from celery import Celery, current_app, shared_task

from hermetic import ConfigurationError, Database, Outcome
from hermetic.integrations.celery import Sessions
from tests.behaviour.aftermath import on
from tests.models import User
from tests.workers.conftest import task_of
from tests.worlds import World

in_threads = on(lambda backend: backend.name == "sqlite")


@in_threads
def test_every_kind_of_task_is_a_unit(world: World, app: Celery) -> None:
    sessions = Sessions(world.db)
    sessions.install(app)
    outcomes: list[Callable[[], Outcome | None]] = []

    def work(name: str) -> None:
        unit = sessions.unit
        outcomes.append(lambda: unit.outcome)
        world.db.current.add(User(username=name))

    @task_of(app, bind=True)
    def bound(task: Any, name: str) -> str:
        work(name)
        return f"{name} {task.request.retries}"

    class Own(app.Task):  # type: ignore[misc]
        name = "own"

        def run(self, name: str) -> None:
            work(name)

        def on_success(self, *args: Any) -> None:
            # outside of the unit, when it has ended
            ended.append(outcomes[-1]())

    class Base(app.Task):  # type: ignore[misc]
        abstract = True

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            calls.append(args)
            return super().__call__(*args, **kwargs)

    ended: list[Outcome | None] = []
    calls: list[Any] = []

    @task_of(app, base=Base)
    def based(name: str) -> None:
        work(name)

    own = app.register_task(Own())
    assert bound.delay("ann").get() == "ann 0"
    own.delay("bob").get()
    based.delay("cyd").get()
    assert (ended, calls) == ([Outcome.COMMITTED], [("cyd",)])
    assert [outcome() for outcome in outcomes] == [Outcome.COMMITTED] * 3
    assert world.usernames() == ["ann", "bob", "cyd"]


@in_threads
def test_a_shared_task_has_the_units_of_the_application_it_runs_in(
    world: World, app: Celery
) -> None:
    Sessions(world.db).install(app)

    def shared(name: str) -> None:
        world.db.current.add(User(username=name))

    before: Any = current_app._get_current_object()
    app.set_current()
    try:
        task: Any = shared_task(name="tests.workers.shared")(shared)
        task.delay("ann").get()
    finally:
        before.set_current()
    assert world.usernames() == ["ann"]


@in_threads
def test_a_generator_function_is_no_task(world: World, app: Celery) -> None:
    Sessions(world.db).install(app)

    def rows() -> Iterator[int]:
        yield 1

    async def later() -> AsyncIterator[int]:
        yield 1

    for function in (rows, later):
        with pytest.raises(ConfigurationError, match="is a generator function"):
            task_of(app, lazy=False)(function)

    with pytest.raises(ConfigurationError, match="is a generator function"):

        class Own(app.Task):  # type: ignore[misc]
            def run(self) -> Iterator[int]:
                yield 1


@in_threads
def test_an_application_has_the_units_of_one_database(world: World, app: Celery) -> None:
    first, other = Sessions(world.db), Database("sqlite://", name="other")
    first.install(app)
    for again in (first, Sessions(world.db), Sessions(other)):
        with pytest.raises(ConfigurationError, match="have units of Database") as refused:
            again.install(app)
        assert world.db.name in str(refused.value)

    # another Database has scopes of its own inside the task
    @task_of(app)
    def both() -> int:
        world.db.current.add(User(username="ann"))
        with other.session() as session:
            return int(session.scalar("SELECT 1"))

    assert both.delay().get() == 1
    assert world.usernames() == ["ann"]
    other.close()
