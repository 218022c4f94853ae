"""Savepoints that really nest: by nested scopes, by hand, and both together."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError, StatementError

from hermetic import Outcome, RolledBack, UniqueViolation
from tests.behaviour.aftermath import check_nothing_left, lent, on
from tests.behaviour.watching import Boom, Sent
from tests.models import User
from tests.worlds import World


async def names(session: Any) -> list[str]:
    return list(await session.scalars(select(User.username).order_by(User.username)))


async def left_open(session: Any) -> None:
    """Begin a savepoint that nobody ends."""
    await session.run_sync(lambda plain: plain.begin_nested())


# ---------------------------------------------------------------- nested scopes


async def test_a_nested_scope_that_fails_is_undone_alone(world: World) -> None:
    async with world.session() as outer:
        outer.add(User(username="before"))
        with pytest.raises(Boom):
            async with world.session(propagation="nested") as inner:
                inner.add(User(username="inside"))
                await inner.flush()
                raise Boom
        between = await names(outer)
        outer.add(User(username="after"))

    assert between == ["before"]
    assert world.usernames() == ["after", "before"]


async def test_a_nested_scope_that_succeeds_is_part_of_the_whole(world: World) -> None:
    scopes = []
    async with world.session():
        async with world.session(propagation="nested") as inner:
            inner.add(User(username="inside"))
            scopes = list(world.db.registry.scopes.values())
        nested = next(scope for scope in scopes if scope.entry == "savepoint")
        during = nested.outcome

    assert during is None
    assert nested.outcome is Outcome.COMMITTED
    assert world.usernames() == ["inside"]


# MariaDB's drivers write anything as text
@on(lambda backend: backend.family != "mariadb")
async def test_a_nested_scope_whose_first_read_fails_is_undone_alone(world: World) -> None:
    world.do("INSERT INTO users (id, username, balance) VALUES (1000, 'there', 0)")
    async with world.session():  # the next one finds a connection in the pool
        pass
    async with world.session() as outer:
        assert await outer.get(User, 1000) is not None
        with pytest.raises((DBAPIError, StatementError)):
            async with world.session(propagation="nested") as inner:
                await inner.get(User, object())
        outer.add(User(username="after"))

    assert world.usernames() == ["after", "there"]


async def test_a_nested_scope_is_undone_with_its_whole(world: World) -> None:
    with pytest.raises(Boom):
        async with world.session():
            async with world.session(propagation="nested") as inner:
                inner.add(User(username="inside"))
                scopes = list(world.db.registry.scopes.values())
            raise Boom

    nested = next(scope for scope in scopes if scope.entry == "savepoint")
    assert nested.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []


async def test_a_nested_scope_that_failed_is_not_committed_whatever_the_whole_does(
    world: World,
) -> None:
    async with world.session() as outer:
        with pytest.raises(Boom):
            async with world.session(propagation="nested"):
                scopes = list(world.db.registry.scopes.values())
                raise Boom
        outer.add(User(username="outer"))

    nested = next(scope for scope in scopes if scope.entry == "savepoint")
    assert nested.outcome is Outcome.NOT_COMMITTED
    assert outer.outcome is Outcome.COMMITTED


async def test_what_is_pending_before_a_nested_scope_is_outside_of_it(world: World) -> None:
    async with world.session() as outer:
        outer.add(User(username="pending"))
        with pytest.raises(Boom):
            async with world.session(propagation="nested"):
                raise Boom

    assert world.usernames() == ["pending"]


@pytest.mark.parametrize("failing", [1, 2, 3])
async def test_three_levels_undo_from_the_one_that_fails(world: World, failing: int) -> None:
    def fail_at(level: int) -> None:
        if level == failing:
            raise Boom

    async def level(number: int) -> None:
        async with world.session(propagation="nested") as session:
            session.add(User(username=f"in{number}"))
            await session.flush()
            if number < 3:
                try:
                    await level(number + 1)
                except Boom:
                    if number + 1 != failing:
                        raise
            session.add(User(username=f"out{number}"))
            fail_at(number)

    async with world.session() as session:
        session.add(User(username="root"))
        try:
            await level(1)
        except Boom:
            pass

    kept = {
        1: ["root"],
        2: ["in1", "out1", "root"],
        3: ["in1", "in2", "out1", "out2", "root"],
    }
    assert world.usernames() == kept[failing]
    assert lent(world.db) == []


async def test_a_failure_of_the_server_heals_with_its_nested_scope(world: World) -> None:
    world.do("INSERT INTO users (username, balance) VALUES ('taken', 0)")

    async with world.session() as outer:
        outer.add(User(username="before"))
        with pytest.raises(UniqueViolation):
            async with world.session(propagation="nested") as inner:
                inner.add(User(username="taken"))
        outer.add(User(username="after"))

    assert outer.outcome is Outcome.COMMITTED
    assert world.usernames() == ["after", "before", "taken"]


async def test_a_raw_error_of_the_server_heals_with_its_nested_scope(world: World) -> None:
    async with world.session() as outer:
        with pytest.raises(Exception, match="no_such"):
            async with world.session(propagation="nested") as inner:
                await inner.execute("SELECT no_such FROM users")
        outer.add(User(username="after"))

    assert world.usernames() == ["after"]


async def test_rollback_only_in_a_nested_scope_undoes_it_alone(world: World) -> None:
    async with world.session() as outer:
        async with world.session(propagation="nested") as inner:
            inner.add(User(username="inside"))
            await inner.flush()
            inner.rollback_only()
        outer.add(User(username="outside"))

    assert outer.outcome is Outcome.COMMITTED
    assert world.usernames() == ["outside"]


async def test_a_nested_scope_commits_on_what_it_says(world: World) -> None:
    async with world.session() as outer:
        with pytest.raises(KeyError):
            async with world.session(propagation="nested", commit_on=KeyError) as inner:
                inner.add(User(username="inside"))
                raise KeyError
        outer.add(User(username="outside"))

    assert world.usernames() == ["inside", "outside"]


async def test_a_nested_scope_swallowing_its_error_keeps_the_whole_open(world: World) -> None:
    world.do("INSERT INTO users (username, balance) VALUES ('taken', 0)")

    async with world.session() as outer:
        outer.add(User(username="before"))
        with pytest.raises(RolledBack):
            async with world.session(propagation="nested") as inner:
                inner.add(User(username="taken"))
                with pytest.raises(UniqueViolation):
                    await inner.flush()
        outer.add(User(username="after"))

    assert world.usernames() == ["after", "before", "taken"]


async def test_a_nested_scope_in_an_empty_one_opens_the_transaction(world: World) -> None:
    sent = Sent(world)

    async with world.session(), world.session(propagation="nested") as inner:
        inner.add(User(username="ann"))

    assert sent.lent == 1
    assert sent.statements.count("COMMIT") == 1
    assert world.usernames() == ["ann"]


# ---------------------------------------------------------------- by hand


async def test_a_savepoint_by_hand_that_fails_is_undone_alone(world: World) -> None:
    async with world.session() as session:
        session.add(User(username="before"))
        with pytest.raises(Boom):
            async with session.begin_nested():
                session.add(User(username="inside"))
                await session.flush()
                raise Boom
        session.add(User(username="after"))

    assert world.usernames() == ["after", "before"]


async def test_a_flush_that_fails_heals_with_a_savepoint_by_hand(world: World) -> None:
    world.do("INSERT INTO users (username, balance) VALUES ('taken', 0)")

    async with world.session() as session:
        for name in ("ann", "taken", "bob"):
            try:
                async with session.begin_nested():
                    session.add(User(username=name))
            except UniqueViolation:
                pass

    assert session.outcome is Outcome.COMMITTED
    assert world.usernames() == ["ann", "bob", "taken"]


async def test_a_statement_that_fails_heals_with_a_savepoint_by_hand(world: World) -> None:
    async with world.session() as session:
        with pytest.raises(Exception, match="no_such"):
            async with session.begin_nested():
                await session.execute("SELECT no_such FROM users")
        session.add(User(username="ann"))

    assert world.usernames() == ["ann"]


async def test_savepoints_by_hand_three_deep(world: World) -> None:
    async with world.session() as session, session.begin_nested():
        session.add(User(username="one"))
        with pytest.raises(Boom):
            async with session.begin_nested():
                session.add(User(username="two"))
                async with session.begin_nested():
                    session.add(User(username="three"))
                raise Boom
        inside = await names(session)

    assert inside == ["one"]
    assert world.usernames() == ["one"]


async def test_a_savepoint_by_hand_inside_a_nested_scope(world: World) -> None:
    async with world.session() as outer:
        async with world.session(propagation="nested") as inner:
            inner.add(User(username="inside"))
            with pytest.raises(Boom):
                async with inner.begin_nested():
                    inner.add(User(username="by hand"))
                    await inner.flush()
                    raise Boom
        outer.add(User(username="outside"))

    assert world.usernames() == ["inside", "outside"]


async def test_a_nested_scope_inside_a_savepoint_by_hand(world: World) -> None:
    async with world.session() as outer:
        with pytest.raises(Boom):
            async with outer.begin_nested():
                async with world.session(propagation="nested") as inner:
                    inner.add(User(username="inside"))
                raise Boom
        outer.add(User(username="outside"))

    assert world.usernames() == ["outside"]


async def test_a_savepoint_left_open_is_undone_with_its_nested_scope(world: World) -> None:
    async with world.session() as outer:
        outer.add(User(username="before"))
        with pytest.raises(Boom):
            async with world.session(propagation="nested") as inner:
                inner.add(User(username="inside"))
                await inner.flush()
                await left_open(inner)
                inner.add(User(username="deeper"))
                await inner.flush()
                raise Boom
        between = await names(outer)
        outer.add(User(username="after"))

    assert between == ["before"]
    assert world.usernames() == ["after", "before"]
    await check_nothing_left(world)


async def test_a_savepoint_left_open_is_kept_with_its_nested_scope(world: World) -> None:
    async with world.session() as outer:
        async with world.session(propagation="nested") as inner:
            inner.add(User(username="inside"))
            await left_open(inner)
            inner.add(User(username="deeper"))
        outer.add(User(username="after"))

    assert world.usernames() == ["after", "deeper", "inside"]
    await check_nothing_left(world)


async def test_a_savepoint_left_open_is_committed_with_its_scope(world: World) -> None:
    async with world.session() as session:
        await left_open(session)
        session.add(User(username="ann"))

    assert session.outcome is Outcome.COMMITTED
    assert world.usernames() == ["ann"]
    await check_nothing_left(world)


async def test_an_object_changed_in_a_savepoint_is_read_anew_after_it(world: World) -> None:
    world.do("INSERT INTO users (id, username, balance) VALUES (1, 'ann', 7)")

    async with world.session() as session:
        user = await session.get(User, 1)
        with pytest.raises(Boom):
            async with session.begin_nested():
                user.balance = 1000
                await session.flush()
                raise Boom
        await session.refresh(user)
        seen = user.balance

    assert seen == 7


async def test_a_savepoint_in_a_read_only_scope_reads(world: World) -> None:
    world.do("INSERT INTO users (username, balance) VALUES ('ann', 0)")

    async with world.session(readonly=True), world.session(propagation="nested") as inner:
        seen = await names(inner)

    assert seen == ["ann"]
