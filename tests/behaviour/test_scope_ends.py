"""How a scope ends: nothing sent when empty, committed, rolled back, always closed."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import event

from hermetic import Outcome
from tests.behaviour.aftermath import lent, on_asyncio
from tests.behaviour.watching import Boom, Sent, on_threads, plain_session
from tests.models import User
from tests.worlds import World

# ---------------------------------------------------------------- empty scopes


async def test_an_empty_scope_opens_no_connection(world: World) -> None:
    sent = Sent(world)

    async with world.session() as session:
        pass

    assert sent.nothing
    assert world.db.snapshot().connections == ()
    assert session.outcome is Outcome.COMMITTED


async def test_an_empty_scope_that_fails_opens_no_connection(world: World) -> None:
    sent = Sent(world)

    with pytest.raises(Boom):
        async with world.session() as session:
            raise Boom

    assert sent.nothing
    assert session.outcome is Outcome.NOT_COMMITTED


async def test_an_empty_scope_takes_no_pooled_connection(world: World) -> None:
    async with world.session() as session:
        await session.execute("SELECT 1")
    sent = Sent(world)

    async with world.session():
        pass

    assert sent.nothing


async def test_a_connection_is_taken_at_the_first_statement_only(world: World) -> None:
    async with world.session() as session:
        session.add(User(username="ann"))
        before = world.db.snapshot().connections
        await session.flush()
        after = world.db.snapshot().connections

    assert before == ()
    assert [connection.state for connection in after] == ["in transaction"]


async def test_an_empty_joined_or_nested_scope_outside_any_sends_nothing(world: World) -> None:
    sent = Sent(world)

    async with world.session():
        async with world.session():
            pass
        async with world.session(propagation="requires_new"):
            pass

    assert sent.nothing


@pytest.mark.parametrize(
    "options", [{"readonly": True}, {"timeout": 5}, {"isolation": "SERIALIZABLE"}], ids=str
)
async def test_promises_of_an_empty_scope_cost_nothing(
    world: World, options: dict[str, Any]
) -> None:
    sent = Sent(world)

    async with world.session(**options):
        pass

    assert sent.nothing


# ---------------------------------------------------------------- commit and rollback


async def test_a_successful_scope_flushes_commits_and_gives_its_connection_back(
    world: World,
) -> None:
    sent = Sent(world)

    async with world.session() as session:
        session.add(User(username="ann"))

    assert [word for word in sent.statements if word in ("COMMIT", "ROLLBACK")] == ["COMMIT"]
    assert world.usernames() == ["ann"]
    assert lent(world.db) == []


class Custom(BaseException):
    pass


@pytest.mark.parametrize("error", [Boom, KeyboardInterrupt, SystemExit, GeneratorExit, Custom])
async def test_any_exception_rolls_back_closes_and_goes_on(
    world: World, error: type[BaseException]
) -> None:
    raised = error("on purpose")

    with pytest.raises(error) as caught:
        async with world.session() as session:
            session.add(User(username="ann"))
            await session.flush()
            raise raised

    assert caught.value is raised
    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    assert lent(world.db) == []


async def test_what_was_only_added_is_never_sent_when_the_block_fails(world: World) -> None:
    sent = Sent(world)

    with pytest.raises(Boom):
        async with world.session() as session:
            session.add(User(username="ann"))
            raise Boom

    assert sent.nothing


async def held_in_a_generator(world: World, kept: list[Any]) -> AsyncIterator[int]:
    async with world.session() as session:
        kept.append(session)
        session.add(User(username="ann"))
        await session.flush()
        yield 1
        yield 2


async def test_a_generator_closed_early_rolls_back_its_scope(world: World) -> None:
    kept: list[Any] = []
    values = held_in_a_generator(world, kept)
    await anext(values)

    await values.aclose()  # type: ignore[attr-defined]

    assert kept[0].outcome is Outcome.NOT_COMMITTED
    assert lent(world.db) == []
    assert world.usernames() == []


async def test_a_generator_read_to_its_end_commits_its_scope(world: World) -> None:
    kept: list[Any] = []

    values = [value async for value in held_in_a_generator(world, kept)]

    assert values == [1, 2]
    assert kept[0].outcome is Outcome.COMMITTED
    assert world.usernames() == ["ann"]


@on_threads
def test_a_generator_that_is_forgotten_gives_its_connection_back(world: World) -> None:
    def rows() -> Any:
        with world.db.session() as session:
            session.add(User(username="ann"))
            session.flush()
            yield 1

    values = rows()
    next(values)

    del values
    gc.collect()

    assert lent(world.db) == []
    assert world.usernames() == []


async def test_commit_on_commits_and_still_raises(world: World) -> None:
    with pytest.raises(Boom):
        async with world.session(commit_on=Boom) as session:
            session.add(User(username="ann"))
            raise Boom

    assert session.outcome is Outcome.COMMITTED
    assert world.usernames() == ["ann"]


async def test_commit_on_takes_subclasses_and_leaves_others_alone(world: World) -> None:
    with pytest.raises(KeyError):
        async with world.session(commit_on=(LookupError, OSError)) as session:
            session.add(User(username="ann"))
            raise KeyError("ann")
    with pytest.raises(ValueError, match="bob"):
        async with world.session(commit_on=(LookupError, OSError)) as session:
            session.add(User(username="bob"))
            raise ValueError("bob")

    assert world.usernames() == ["ann"]
    assert session.outcome is Outcome.NOT_COMMITTED


async def test_rollback_only_rolls_back_without_an_exception(world: World) -> None:
    async with world.session() as session:
        session.add(User(username="ann"))
        await session.flush()
        session.rollback_only()
        seen_inside = (await session.execute("SELECT count(*) FROM users")).scalar()

    assert seen_inside == 1
    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []


# ---------------------------------------------------------------- what is readable


async def test_scope_and_outcome_are_readable_during_and_after(world: World) -> None:
    async with world.session(name="transfer") as session:
        scope = session.scope
        during = (session.outcome, scope.outcome, str(scope.state), scope.ended)
        await session.execute("SELECT 1")

    assert during == (None, None, "active", False)
    assert session.scope is scope
    assert scope.name == "transfer"
    assert scope.ended
    assert (session.outcome, scope.outcome) == (Outcome.COMMITTED, Outcome.COMMITTED)
    assert str(scope.state) == "committed"
    assert scope.statements == 1
    assert scope.seconds > 0
    assert "transfer" in repr(session)
    assert "committed" in repr(session)


async def test_scope_and_outcome_are_readable_after_a_rollback(world: World) -> None:
    with pytest.raises(Boom):
        async with world.session() as session:
            await session.execute("SELECT 1")
            raise Boom

    assert session.scope.outcome is Outcome.NOT_COMMITTED
    assert str(session.scope.state) == "not committed"
    assert session.scope.ended
    assert "not committed" in repr(session)


@on_asyncio
async def test_a_scope_knows_the_function_and_line_that_opened_it(world: World) -> None:
    async with world.session() as session:
        scope = session.scope

    assert scope.name == "test_a_scope_knows_the_function_and_line_that_opened_it"
    assert str(scope.place).startswith(f"{__file__}:")


@on_threads
def test_a_scope_of_threads_knows_the_function_and_line_that_opened_it(world: World) -> None:
    with world.db.session() as session:
        scope = session.scope

    assert scope is not None
    assert scope.name == "test_a_scope_of_threads_knows_the_function_and_line_that_opened_it"
    assert str(scope.place).startswith(f"{__file__}:")


async def test_the_session_is_closed_and_empty_afterwards(world: World) -> None:
    async with world.session() as session:
        user = User(username="ann")
        session.add(user)

    assert user not in plain_session(session)
    assert not plain_session(session).in_transaction()
    assert len(plain_session(session).identity_map) == 0


# ---------------------------------------------------------------- autoflush, order, several


async def test_writes_of_a_scope_are_unseen_by_others_until_it_ends(world: World) -> None:
    async with world.session() as session:
        session.add(User(username="ann"))
        await session.flush()
        during = world.usernames()

    assert during == []
    assert world.usernames() == ["ann"]


async def test_scopes_one_after_another_share_one_connection(world: World) -> None:
    sent = Sent(world)

    for number in range(5):
        async with world.session() as session:
            session.add(User(username=f"user{number}"))

    assert sent.connected == 1
    assert sent.lent == 5
    assert len(world.usernames()) == 5


async def test_a_flush_made_by_a_flush_event_is_committed_too(world: World) -> None:
    left = [User(username="bob"), User(username="cid")]

    def add_another(session: Any, context: Any) -> None:
        if left:
            session.add(left.pop(0))

    async with world.session() as session:
        event.listen(plain_session(session), "after_flush_postexec", add_another)
        session.add(User(username="ann"))

    assert world.usernames() == ["ann", "bob", "cid"]


async def test_the_sessions_of_two_scopes_are_two(world: World) -> None:
    async with world.session() as first:
        pass
    async with world.session() as second:
        pass

    assert plain_session(first) is not plain_session(second)
    assert first.scope.number < second.scope.number
