"""Hooks go with the savepoint in which they were added."""

from __future__ import annotations

from typing import Any

import pytest

from hermetic import UniqueViolation
from tests.behaviour.watching import Boom
from tests.models import User
from tests.worlds import World


def add_all(ran: list[str], session: Any, word: str) -> None:
    session.on_commit(lambda: ran.append(f"commit {word}"))
    session.on_rollback(lambda: ran.append(f"rollback {word}"))
    session.before_commit(lambda: ran.append(f"before {word}"))


def savepoint(world: World, session: Any, by_hand: bool) -> Any:
    return session.begin_nested() if by_hand else world.session(propagation="nested")


both_ways = pytest.mark.parametrize("by_hand", [False, True], ids=["scope", "by hand"])


@both_ways
async def test_a_hook_is_dropped_with_its_savepoint(world: World, by_hand: bool) -> None:
    ran: list[str] = []

    async with world.session() as session:
        session.on_commit(lambda: ran.append("outside"))
        await session.execute("SELECT 1")
        with pytest.raises(Boom):
            async with savepoint(world, session, by_hand):
                session.on_commit(lambda: ran.append("dropped"))
                session.before_commit(lambda: ran.append("dropped before"))
                raise Boom
        session.on_commit(lambda: ran.append("afterwards"))

    assert ran == ["outside", "afterwards"]


@both_ways
async def test_a_hook_is_kept_with_its_savepoint(world: World, by_hand: bool) -> None:
    ran: list[str] = []

    async with world.session() as session:
        async with savepoint(world, session, by_hand):
            add_all(ran, session, "kept")
        between = list(ran)

    assert between == []
    assert ran == ["before kept", "commit kept"]


@both_ways
async def test_a_rollback_hook_of_a_savepoint_undone_runs_once_whatever_the_whole_does(
    world: World, by_hand: bool
) -> None:
    ran: list[str] = []

    async with world.session() as session:
        with pytest.raises(Boom):
            async with savepoint(world, session, by_hand):
                session.on_rollback(lambda: ran.append("undone"))
                raise Boom
    with pytest.raises(Boom):
        async with world.session() as session:
            with pytest.raises(Boom):
                async with savepoint(world, session, by_hand):
                    session.on_rollback(lambda: ran.append("undone too"))
                    raise Boom
            raise Boom

    assert ran == ["undone", "undone too"]


@both_ways
async def test_a_hook_of_a_released_savepoint_is_dropped_with_the_one_around_it(
    world: World, by_hand: bool
) -> None:
    ran: list[str] = []

    async with world.session() as session:
        with pytest.raises(Boom):
            async with savepoint(world, session, by_hand):
                async with savepoint(world, session, by_hand):
                    async with savepoint(world, session, by_hand):
                        session.on_commit(lambda: ran.append("innermost"))
                    session.on_commit(lambda: ran.append("middle"))
                raise Boom
        session.on_commit(lambda: ran.append("outside"))

    assert ran == ["outside"]


@both_ways
async def test_only_the_hooks_of_the_savepoint_undone_are_dropped(
    world: World, by_hand: bool
) -> None:
    ran: list[str] = []

    async with world.session() as session:
        async with savepoint(world, session, by_hand):
            session.on_commit(lambda: ran.append("outer before"))
            with pytest.raises(Boom):
                async with savepoint(world, session, by_hand):
                    session.on_commit(lambda: ran.append("inner"))
                    raise Boom
            session.on_commit(lambda: ran.append("outer after"))
        async with savepoint(world, session, by_hand):
            session.on_commit(lambda: ran.append("sibling"))

    assert ran == ["outer before", "outer after", "sibling"]


@both_ways
async def test_a_key_dropped_with_its_savepoint_may_be_used_again(
    world: World, by_hand: bool
) -> None:
    ran: list[str] = []

    async with world.session() as session:
        with pytest.raises(Boom):
            async with savepoint(world, session, by_hand):
                session.on_commit(lambda: ran.append("first"), key="mail")
                raise Boom
        session.on_commit(lambda: ran.append("second"), key="mail")

    assert ran == ["second"]


@both_ways
async def test_a_key_known_outside_is_known_in_a_savepoint_and_stays(
    world: World, by_hand: bool
) -> None:
    ran: list[str] = []

    async with world.session() as session:
        session.on_commit(lambda: ran.append("outside"), key="mail")
        with pytest.raises(Boom):
            async with savepoint(world, session, by_hand):
                session.on_commit(lambda: ran.append("inside"), key="mail")
                raise Boom

    assert ran == ["outside"]


@both_ways
async def test_a_hook_is_dropped_when_the_flush_of_its_savepoint_fails(
    world: World, by_hand: bool
) -> None:
    world.do("INSERT INTO users (username, balance) VALUES ('taken', 0)")
    ran: list[str] = []

    async with world.session() as session:
        with pytest.raises(UniqueViolation):
            async with savepoint(world, session, by_hand):
                session.on_commit(lambda: ran.append("inside"))
                session.add(User(username="taken"))
                await session.flush()
        session.add(User(username="ann"))
        session.on_commit(lambda: ran.append("outside"))

    assert ran == ["outside"]
    assert world.usernames() == ["ann", "taken"]


async def test_a_hook_is_dropped_when_its_nested_scope_asks_for_a_rollback(
    world: World,
) -> None:
    ran: list[str] = []

    async with world.session() as session:
        async with world.session(propagation="nested") as nested:
            nested.on_commit(lambda: ran.append("inside"))
            nested.rollback_only()
        session.on_commit(lambda: ran.append("outside"))

    assert ran == ["outside"]


async def test_everything_is_dropped_for_its_rollback_hooks_when_the_whole_fails(
    world: World,
) -> None:
    ran: list[str] = []

    with pytest.raises(Boom):
        async with world.session() as session:
            add_all(ran, session, "outer")
            async with world.session(propagation="nested") as nested:
                add_all(ran, nested, "nested")
            raise Boom

    assert ran == ["rollback outer", "rollback nested"]


async def test_a_hook_dropped_by_another_one_before_the_commit_does_not_run(world: World) -> None:
    ran: list[str] = []

    async with world.session() as session:
        await session.execute("SELECT 1")
        session.before_commit(lambda: session.sync_session.get_nested_transaction().rollback())
        await aopen(session)
        session.before_commit(lambda: ran.append("dropped"))
        session.on_rollback(lambda: ran.append("undone"))

    assert ran == ["undone"]


async def aopen(session: Any) -> None:
    """Begin a savepoint that nobody leaves."""
    await session.run_sync(lambda sync: sync.begin_nested())
