"""A task's unit at its end: what its hooks call, what is thrown into it, who is part of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from hermetic import Deadlock, NoScope, Outcome, RetryRequested, work
from hermetic.integrations.tasks import Sessions, TaskUnit, retried
from hermetic.integrations.verdicts import Verdict, verdict_of
from tests.behaviour.aftermath import on
from tests.models import User
from tests.worlds import World

in_threads = on(lambda backend: backend.name == "sqlite")
in_asyncio = on(lambda backend: backend.name == "aiosqlite")


class Thrown(BaseException):
    """What a worker throws into a thread."""


def strike_first(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function at whose first call something is thrown into the thread."""
    calls: list[object] = []

    def struck(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 1:
            raise Thrown
        return function(*args)

    return struck


@in_threads
def test_a_task_that_is_called_by_a_hook_has_a_unit_of_its_own(world: World) -> None:
    sessions = Sessions(world.db)
    units: list[TaskUnit] = []

    @sessions.task
    def second() -> None:
        world.db.current.add(User(username="second"))
        units.append(sessions.unit)

    @sessions.task
    def first() -> None:
        world.db.current.add(User(username="first"))
        world.db.current.on_commit(second)
        units.append(sessions.unit)

    first()
    assert units[0] is not units[1]
    assert [unit.outcome for unit in units] == [Outcome.COMMITTED] * 2
    assert world.usernames() == ["first", "second"]


@in_asyncio
async def test_under_asyncio_too(world: World) -> None:
    sessions = Sessions(world.db)

    @sessions.task
    async def second() -> None:
        world.db.current.add(User(username="second"))

    @sessions.task
    async def first() -> None:
        world.db.current.add(User(username="first"))
        world.db.current.on_commit(second)

    await first()
    assert world.usernames() == ["first", "second"]


@in_threads
def test_a_hook_opens_nothing_that_nobody_ends(world: World) -> None:
    sessions = Sessions(world.db)
    said: list[str] = []

    def late() -> None:
        with pytest.raises(NoScope, match="has ended") as refused:
            sessions.session()
        said.append(str(refused.value))
        sessions.after_commit(said.append, "at once")

    @sessions.task
    def first() -> None:
        world.db.current.add(User(username="first"))
        world.db.current.on_commit(late)

    first()
    assert said[1:] == ["at once"]
    assert not world.db.registry.scopes


@in_threads
def test_nothing_is_sent_before_a_second_attempt_has_its_session(world: World) -> None:
    sessions = Sessions(world.db, opens=False)
    attempts: list[str] = []

    @sessions.task
    @retried(3)
    def job() -> None:
        attempts.append("attempt")
        with pytest.raises(NoScope, match="not open yet"):
            sessions.after_commit(attempts.append, "sent")
        sessions.session().add(User(username="ann"))
        if len(attempts) == 1:
            raise RetryRequested

    job()
    assert attempts == ["attempt"] * 2


@in_threads
@pytest.mark.parametrize("place", ["hand_round", "Work._end_here"])
def test_what_is_thrown_in_leaves_no_scope_open(
    world: World, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    sessions = Sessions(world.db)
    holder: Any = work.Work if place == "Work._end_here" else work
    name = place.rpartition(".")[2]

    @sessions.task
    def failing() -> None:
        world.db.current.add(User(username="ann"))
        world.db.current.flush()
        raise LookupError

    with monkeypatch.context() as patch:
        patch.setattr(holder, name, strike_first(getattr(holder, name)))
        with pytest.raises(Thrown):
            failing()
    assert not world.db.registry.scopes
    with pytest.raises(LookupError):
        failing()  # in a scope of its own, and on a connection that is free
    assert world.usernames() == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@in_threads
def test_a_task_in_a_forked_child_is_not_part_of_its_parents(world: World) -> None:
    sessions = Sessions(world.db)

    @sessions.task
    def second() -> bool:
        return sessions.unit.is_here

    @sessions.task
    def first() -> int:
        unit = sessions.unit
        assert unit.is_here
        child = os.fork()
        if not child:
            try:
                os._exit([unit.is_here, not second()].count(True))
            finally:
                os._exit(2)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert first() == 0


@in_threads
def test_a_stale_unit_of_the_same_thread_takes_no_task_in(world: World) -> None:
    sessions = Sessions(world.db)

    @sessions.task
    def job(name: str) -> TaskUnit:
        world.db.current.add(User(username=name))
        return sessions.unit

    unit = job("ann")
    assert unit.is_here
    assert not unit.is_open
    assert world.usernames() == ["ann"]


def test_scopes_that_are_the_tasks_own_are_not_known_to_have_changed_nothing() -> None:
    assert verdict_of(Deadlock("lost"), None) is Verdict.OWN
    assert verdict_of(Deadlock("lost"), Outcome.NOT_COMMITTED) is Verdict.AGAIN
