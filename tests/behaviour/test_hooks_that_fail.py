"""Hooks that fail, and hooks before the commit, which may still stop it."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from hermetic import Event, HookFailed, Outcome
from tests.behaviour.aftermath import check_nothing_left
from tests.behaviour.watching import Boom
from tests.models import User
from tests.worlds import World


def hook(ran: list[str], word: str) -> Any:
    return lambda: ran.append(word)


async def test_a_failing_commit_hook_stops_no_other_and_changes_no_outcome(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[str] = []
    heard: list[Event] = []
    world.db.listen(heard.append)
    error = Boom("the mail server is down")

    def send_mail() -> None:
        raise error

    with caplog.at_level(logging.ERROR, "hermetic"):
        async with world.session(name="signup") as session:
            session.add(User(username="ann"))
            session.on_commit(hook(ran, "before it"))
            session.on_commit(send_mail)
            session.on_commit(hook(ran, "after it"))

    assert ran == ["before it", "after it"]
    assert session.outcome is Outcome.COMMITTED
    assert session.scope.hook_errors == (error,)
    assert world.usernames() == ["ann"]
    (failed,) = [event for event in heard if isinstance(event, HookFailed)]
    assert failed.error is error
    assert "send_mail" in failed.hook
    assert failed.scope.name == "signup"
    (record,) = [record for record in caplog.records if record.name == "hermetic"]
    assert "send_mail" in record.getMessage()
    assert "committed" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    await check_nothing_left(world)


async def test_a_failing_rollback_hook_masks_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[str] = []
    first = Boom("first")

    def fail() -> None:
        raise ValueError("second")

    with pytest.raises(Boom) as caught:
        async with world.session() as session:
            session.on_rollback(fail)
            session.on_rollback(hook(ran, "after it"))
            raise first

    assert caught.value is first
    assert ran == ["after it"]
    assert [type(error) for error in session.scope.hook_errors] == [ValueError]
    assert any("fail" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_a_hook_that_is_interrupted_stops_no_other_and_is_raised_with_the_outcome(
    world: World, error: type[BaseException]
) -> None:
    ran: list[str] = []
    struck = error("struck")

    def interrupted() -> None:
        raise struck

    with pytest.raises(error) as caught:
        async with world.session() as session:
            session.add(User(username="ann"))
            session.on_commit(interrupted)
            session.on_commit(hook(ran, "after it"))

    assert caught.value is struck
    assert ran == ["after it"]
    assert session.outcome is Outcome.COMMITTED
    assert any("committed" in note for note in getattr(struck, "__notes__", []))
    assert world.usernames() == ["ann"]
    await check_nothing_left(world)


# ---------------------------------------------------------------- before_commit


async def test_a_before_commit_hook_works_inside_the_transaction(world: World) -> None:
    seen: list[Any] = []

    async with world.session() as session:
        session.add(User(username="ann"))

        def last_minute() -> None:
            seen.append((session.outcome, world.usernames()))
            session.add(User(username="last minute"))

        session.before_commit(last_minute)

    assert seen == [(None, [])]
    assert world.usernames() == ["ann", "last minute"]


async def test_a_failing_before_commit_hook_rolls_back_and_is_raised(world: World) -> None:
    ran: list[str] = []
    error = Boom("not allowed")

    def refuse() -> None:
        raise error

    with pytest.raises(Boom) as caught:
        async with world.session() as session:
            session.add(User(username="ann"))
            await session.flush()
            session.before_commit(hook(ran, "one"))
            session.before_commit(refuse)
            session.before_commit(hook(ran, "three"))
            session.on_commit(hook(ran, "commit"))
            session.on_rollback(hook(ran, "rollback"))

    assert caught.value is error
    assert ran == ["one", "rollback"]
    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    await check_nothing_left(world)


async def test_hooks_added_by_a_before_commit_hook_run_too(world: World) -> None:
    ran: list[str] = []

    async with world.session() as session:

        def more() -> None:
            ran.append("before")
            session.before_commit(hook(ran, "another before"))
            session.on_commit(hook(ran, "commit"))

        session.before_commit(more)

    assert ran == ["before", "another before", "commit"]


async def test_a_before_commit_hook_does_not_run_when_the_block_failed(world: World) -> None:
    ran: list[str] = []

    with pytest.raises(Boom):
        async with world.session() as session:
            session.before_commit(hook(ran, "before"))
            raise Boom

    assert ran == []
