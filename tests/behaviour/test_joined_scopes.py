"""Joined scopes end nothing; one that fails dooms the whole, which then says why."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
from sqlalchemy import select

from hermetic import NoScope, Outcome, RolledBack, UniqueViolation
from tests.behaviour.aftermath import check_nothing_left, lent
from tests.behaviour.watching import Boom, Sent
from tests.models import User
from tests.worlds import World

# ---------------------------------------------------------------- dooming


async def test_a_joined_scope_that_failed_makes_the_outermost_raise(world: World) -> None:
    first = Boom("first cause")

    with pytest.raises(RolledBack) as caught:
        async with world.session(name="outer") as outer:
            outer.add(User(username="ann"))
            with pytest.raises(Boom):
                async with world.session(name="inner"):
                    raise first

    assert caught.value.__cause__ is first
    assert caught.value.outcome is Outcome.NOT_COMMITTED
    assert caught.value.scope is not None
    assert caught.value.scope.name == "outer"
    assert "first cause" in str(caught.value)
    assert outer.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    await check_nothing_left(world)


async def test_the_first_of_several_causes_is_told(world: World) -> None:
    first = Boom("first")

    with pytest.raises(RolledBack) as caught:
        async with world.session():
            for error in (first, Boom("second"), ValueError("third")):
                with pytest.raises(type(error)):
                    async with world.session():
                        raise error

    assert caught.value.__cause__ is first


@pytest.mark.parametrize("depth", [1, 2, 3])
async def test_a_failure_dooms_from_any_depth(world: World, depth: int) -> None:
    async def deeper(left: int) -> None:
        async with world.session():
            if left == 0:
                raise Boom("deep")
            await deeper(left - 1)

    with pytest.raises(RolledBack) as caught:
        async with world.session() as outer:
            outer.add(User(username="ann"))
            with pytest.raises(Boom):
                await deeper(depth)

    assert isinstance(caught.value.__cause__, Boom)
    assert world.usernames() == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
async def test_a_swallowed_exit_dooms_too(world: World, error: type[BaseException]) -> None:
    with pytest.raises(RolledBack) as caught:
        async with world.session() as outer:
            outer.add(User(username="ann"))
            with pytest.raises(error):
                async with world.session():
                    raise error

    assert isinstance(caught.value.__cause__, error)
    assert world.usernames() == []


async def test_statements_of_a_doomed_scope_never_reach_the_server(world: World) -> None:
    sent = Sent(world)

    with pytest.raises(RolledBack):
        async with world.session() as outer:
            await outer.execute("SELECT 1")
            with pytest.raises(Boom):
                async with world.session():
                    raise Boom("first cause")
            before = list(sent.statements)
            with pytest.raises(RolledBack, match="first cause") as refused:
                await outer.execute("SELECT 2")
            with pytest.raises(RolledBack):
                await outer.get(User, 1)
            outer.add(User(username="ann"))
            with pytest.raises(RolledBack):
                await outer.flush()
            with pytest.raises(RolledBack):
                async with outer.begin_nested():
                    pass
            after = list(sent.statements)

    assert isinstance(refused.value.__cause__, Boom)
    assert before == after
    assert "COMMIT" not in sent.statements


async def test_new_scopes_inside_a_doomed_one_send_nothing_either(world: World) -> None:
    with pytest.raises(RolledBack, match="first cause"):
        async with world.session():
            with pytest.raises(Boom):
                async with world.session():
                    raise Boom("first cause")
            with pytest.raises(RolledBack):
                async with world.session(propagation="nested"):
                    pass
            with pytest.raises(RolledBack):
                async with world.session() as joined:
                    await joined.execute("SELECT 1")

    assert lent(world.db) == []


async def test_an_empty_doomed_scope_raises_too(world: World) -> None:
    sent = Sent(world)

    with pytest.raises(RolledBack):
        async with world.session():
            with pytest.raises(Boom):
                async with world.session():
                    raise Boom

    assert sent.nothing


async def test_an_error_that_passes_through_is_raised_as_it_is(world: World) -> None:
    error = Boom("all the way")

    with pytest.raises(Boom) as caught:
        async with world.session(), world.session():
            raise error

    assert caught.value is error
    assert world.usernames() == []


async def test_another_error_after_the_doom_is_raised_as_it_is(world: World) -> None:
    with pytest.raises(ValueError, match="second") as caught:
        async with world.session() as outer:
            with pytest.raises(Boom):
                async with world.session():
                    raise Boom
            raise ValueError("second")

    assert not isinstance(caught.value, RolledBack)
    assert outer.outcome is Outcome.NOT_COMMITTED


async def test_an_error_to_commit_on_does_not_hide_that_nothing_was_committed(
    world: World,
) -> None:
    with pytest.raises(RolledBack) as caught:
        async with world.session(commit_on=KeyError) as outer:
            outer.add(User(username="ann"))
            with pytest.raises(Boom):
                async with world.session():
                    raise Boom("first cause")
            raise KeyError("asked to commit")

    assert isinstance(caught.value.__cause__, Boom)
    assert outer.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []


async def test_a_joined_scope_that_commits_on_its_error_does_not_doom(world: World) -> None:
    async with world.session() as outer:
        with pytest.raises(KeyError):
            async with world.session(commit_on=KeyError) as inner:
                inner.add(User(username="ann"))
                raise KeyError

    assert outer.outcome is Outcome.COMMITTED
    assert world.usernames() == ["ann"]


async def test_a_failed_flush_in_a_joined_scope_dooms_with_its_error(world: World) -> None:
    world.do("INSERT INTO users (username, balance) VALUES ('taken', 0)")

    with pytest.raises(RolledBack) as caught:
        async with world.session() as outer:
            outer.add(User(username="ann"))
            with pytest.raises(UniqueViolation) as first:
                async with world.session() as inner:
                    inner.add(User(username="taken"))
                    await inner.flush()

    assert caught.value.__cause__ is first.value
    assert world.usernames() == ["taken"]


async def test_a_joined_scope_that_fails_inside_a_nested_one_dooms_only_that(
    world: World,
) -> None:
    async with world.session() as outer:
        outer.add(User(username="before"))
        with pytest.raises(RolledBack) as caught:
            async with world.session(propagation="nested") as nested:
                nested.add(User(username="inside"))
                with pytest.raises(Boom):
                    async with world.session():
                        raise Boom("joined the savepoint")
                with pytest.raises(RolledBack):
                    await nested.execute("SELECT 1")
        outer.add(User(username="after"))

    assert isinstance(caught.value.__cause__, Boom)
    assert outer.outcome is Outcome.COMMITTED
    assert world.usernames() == ["after", "before"]


async def test_a_nested_scope_does_not_heal_what_was_doomed_before_it(world: World) -> None:
    with pytest.raises(RolledBack) as caught:
        async with world.session() as outer:
            outer.add(User(username="ann"))
            with pytest.raises(Boom):
                async with world.session():
                    raise Boom("doomed before")
            with pytest.raises(RolledBack):
                async with world.session(propagation="nested"):
                    pass

    assert isinstance(caught.value.__cause__, Boom)
    assert world.usernames() == []


# ---------------------------------------------------------------- rollback_only


async def test_rollback_only_in_a_joined_scope_makes_the_outermost_raise(world: World) -> None:
    with pytest.raises(RolledBack) as caught:
        async with world.session() as outer:
            outer.add(User(username="ann"))
            async with world.session() as inner:
                inner.rollback_only()

    assert caught.value.outcome is Outcome.NOT_COMMITTED
    assert outer.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []


@pytest.mark.parametrize("first", ["outermost", "joined"])
async def test_rollback_only_of_the_outermost_is_silent_whatever_a_joined_scope_asked(
    world: World, first: str
) -> None:
    async with world.session() as outer:
        outer.add(User(username="ann"))
        if first == "outermost":
            outer.rollback_only()
        async with world.session() as inner:
            inner.rollback_only()
        if first == "joined":
            outer.rollback_only()

    assert outer.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []


async def test_rollback_only_of_the_outermost_is_silent_after_a_joined_scope_failed(
    world: World,
) -> None:
    async with world.session() as outer:
        outer.add(User(username="ann"))
        with pytest.raises(Boom):
            async with world.session():
                raise Boom
        outer.rollback_only()

    assert outer.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []


async def test_rollback_only_of_the_outermost_called_after_a_joined_scope_is_silent(
    world: World,
) -> None:
    async with world.session() as outer:
        async with world.session() as inner:
            inner.add(User(username="ann"))
        outer.rollback_only()

    assert outer.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []


async def test_rollback_only_does_not_stop_statements(world: World) -> None:
    async with world.session() as session:
        session.rollback_only()
        session.add(User(username="ann"))
        await session.flush()
        seen = list(await session.scalars(select(User.username)))

    assert seen == ["ann"]
    assert world.usernames() == []


async def test_rollback_only_with_an_error_to_commit_on_rolls_back(world: World) -> None:
    with pytest.raises(KeyError):
        async with world.session(commit_on=KeyError) as session:
            session.add(User(username="ann"))
            await session.flush()
            session.rollback_only()
            raise KeyError

    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []


async def test_a_joined_scope_inside_a_nested_one_asks_for_that_ones_rollback(
    world: World,
) -> None:
    async with world.session() as outer:
        outer.add(User(username="outside"))
        with pytest.raises(RolledBack):
            async with world.session(propagation="nested") as nested:
                nested.add(User(username="inside"))
                async with world.session() as joined:
                    joined.rollback_only()

    assert outer.outcome is Outcome.COMMITTED
    assert world.usernames() == ["outside"]


# ---------------------------------------------------------------- outliving the whole


@pytest.mark.parametrize("propagation", ["required", "nested"])
async def test_one_that_a_paused_generator_holds_is_joined_by_nobody_after_the_whole(
    world: World, propagation: str
) -> None:
    async def paused() -> AsyncGenerator[None]:
        async with world.session(propagation=propagation):
            yield

    generator = paused()
    async with world.session() as outer:
        outer.add(User(username="ann"))
        await anext(generator)

    with pytest.raises(NoScope):
        _ = world.db.current
    async with world.session() as own:
        assert own.scope is not outer.scope
        own.add(User(username="bob"))
        async with world.session() as joined:
            assert joined.scope.root is own.scope
    await generator.aclose()
    assert outer.outcome is own.outcome is Outcome.COMMITTED
    assert world.usernames() == ["ann", "bob"]
    await check_nothing_left(world)
