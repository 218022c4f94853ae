"""Ending a scope by hand is refused, in whatever way it is tried."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from hermetic import HermeticError, Outcome, RolledBack, ScopeControls, UniqueViolation
from tests.behaviour.aftermath import check_nothing_left, on_servers
from tests.behaviour.watching import Boom, Sent, plain_session
from tests.models import User
from tests.worlds import World

CONTROLS = ["commit", "rollback", "close", "reset", "invalidate"]

enclosing = pytest.mark.parametrize("inside", ["outermost", "joined", "nested"])


def scope(world: World, inside: str) -> Any:
    return world.session(propagation="nested" if inside == "nested" else "required")


# ---------------------------------------------------------------- the session's own methods


@enclosing
@pytest.mark.parametrize("control", CONTROLS)
async def test_ending_by_hand_is_refused(world: World, control: str, inside: str) -> None:
    async with world.session(name="whole") as outer:
        outer.add(User(username="before"))
        await outer.flush()
        async with scope(world, inside) as session:
            with pytest.raises(ScopeControls) as caught:
                await session.run_sync(lambda plain: getattr(plain, control)())
            session.add(User(username="after"))

    assert f"{control}()" in str(caught.value)
    assert caught.value.scope is not None
    assert caught.value.hint
    assert outer.outcome is Outcome.COMMITTED
    assert world.usernames() == ["after", "before"]
    await check_nothing_left(world)


@pytest.mark.parametrize("control", ["commit", "rollback", "close", "reset"])
async def test_ending_by_hand_is_refused_in_the_sessions_own_world(
    world: World, control: str
) -> None:
    async with world.session() as session:
        session.add(User(username="ann"))
        await session.flush()
        with pytest.raises(ScopeControls, match=control):
            await getattr(session, control)()

    assert session.outcome is Outcome.COMMITTED
    assert world.usernames() == ["ann"]


@enclosing
async def test_beginning_by_hand_is_refused(world: World, inside: str) -> None:
    async with world.session(), scope(world, inside) as session:
        with pytest.raises(ScopeControls, match=r"begin\(\)"):
            await session.run_sync(lambda plain: plain.begin())
        session.add(User(username="ann"))

    assert world.usernames() == ["ann"]


async def test_leaving_the_session_as_a_block_is_refused(world: World) -> None:
    def as_a_block(plain: Any) -> None:
        with plain:
            pass

    async with world.session() as session:
        session.add(User(username="ann"))
        with pytest.raises(ScopeControls):
            await session.run_sync(as_a_block)

    assert session.outcome is Outcome.COMMITTED
    assert world.usernames() == ["ann"]


async def test_what_sends_and_nests_is_allowed(world: World) -> None:
    async with world.session() as session:
        session.add(User(username="ann"))
        await session.flush()
        async with session.begin_nested():
            session.add(User(username="bob"))
        await session.execute("SELECT 1")
        connection = await session.connection()

    assert connection is not None
    assert world.usernames() == ["ann", "bob"]


async def test_a_refused_commit_does_not_doom(world: World) -> None:
    sent = Sent(world)

    async with world.session() as session:
        session.add(User(username="ann"))
        with pytest.raises(ScopeControls):
            await session.commit()
        seen = world.usernames()

    assert seen == []
    assert sent.statements.count("COMMIT") == 1
    assert world.usernames() == ["ann"]


async def test_a_commit_by_hand_before_any_statement_is_refused_too(world: World) -> None:
    sent = Sent(world)

    with pytest.raises(ScopeControls):
        async with world.session() as session:
            await session.commit()

    assert sent.nothing


async def test_after_the_scope_there_is_nothing_to_end(world: World) -> None:
    async with world.session() as session:
        session.add(User(username="ann"))

    for control in ("commit", "rollback"):
        with pytest.raises(Exception, match=r"scope"):
            await getattr(session, control)()
    await session.close()
    assert session.outcome is Outcome.COMMITTED
    assert world.usernames() == ["ann"]


# ---------------------------------------------------------------- ways around them


@pytest.mark.parametrize("control", ["commit", "rollback"])
async def test_ending_the_sessions_transaction_object_is_no_way_around(
    world: World, control: str
) -> None:
    with pytest.raises((ScopeControls, RolledBack)):
        async with world.session() as session:
            session.add(User(username="ann"))
            await session.flush()
            await session.run_sync(lambda plain: getattr(plain.get_transaction(), control)())

    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    await check_nothing_left(world)


@pytest.mark.parametrize("control", ["commit", "rollback", "close", "invalidate"])
async def test_ending_the_connections_transaction_is_no_way_around(
    world: World, control: str
) -> None:
    with pytest.raises(Exception, match=r".") as caught:
        async with world.session() as session:
            session.add(User(username="ann"))
            await session.flush()
            await session.run_sync(lambda plain: getattr(plain.connection(), control)())

    assert caught.value is not None
    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    await check_nothing_left(world)


@pytest.mark.parametrize("control", ["commit", "rollback"])
async def test_an_ending_around_the_session_that_is_swallowed_is_never_reported_wrongly(
    world: World, control: str
) -> None:
    async def unit() -> Any:
        async with world.session() as session:
            kept.append(session)
            session.add(User(username="ann"))
            await session.flush()
            try:
                await session.run_sync(lambda p: getattr(p.connection(), control)())
            except HermeticError:
                pass

    kept: list[Any] = []
    with contextlib.suppress(HermeticError, SQLAlchemyError):
        await unit()

    committed = kept[0].outcome is Outcome.COMMITTED
    assert (world.usernames() == ["ann"]) is committed
    await check_nothing_left(world)


@pytest.mark.parametrize("control", ["commit", "rollback"])
async def test_an_ending_around_the_session_that_is_swallowed_is_told_at_the_end(
    world: World, control: str
) -> None:
    with pytest.raises(RolledBack) as caught:
        async with world.session() as session:
            session.add(User(username="ann"))
            await session.flush()
            with contextlib.suppress(HermeticError):
                await session.run_sync(lambda p: getattr(p.connection(), control)())

    assert isinstance(caught.value.__cause__, ScopeControls)


@pytest.mark.parametrize(
    "statement", ["COMMIT", "ROLLBACK", "commit", "  Rollback  ", "BEGIN", "END"]
)
async def test_transaction_control_as_text_is_refused(world: World, statement: str) -> None:
    with pytest.raises(ScopeControls):
        async with world.session() as session:
            session.add(User(username="ann"))
            await session.flush()
            await session.execute(statement)

    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    await check_nothing_left(world)


@pytest.mark.parametrize("statement", ["/* x */ COMMIT", "-- x\nROLLBACK", "; COMMIT"])
async def test_transaction_control_in_disguise_is_never_reported_wrongly(
    world: World, statement: str
) -> None:
    with pytest.raises(HermeticError):
        async with world.session() as session:
            session.add(User(username="ann"))
            await session.flush()
            await session.execute(statement)

    applied = Outcome.COMMITTED if world.usernames() else Outcome.NOT_COMMITTED
    assert session.outcome in (applied, Outcome.UNKNOWN)
    await check_nothing_left(world)


@on_servers
@pytest.mark.parametrize(
    "statement", ["START TRANSACTION", "COMMIT AND CHAIN", "ROLLBACK AND CHAIN"]
)
async def test_transaction_control_of_servers_as_text_is_refused(
    world: World, statement: str
) -> None:
    with pytest.raises(ScopeControls):
        async with world.session() as session:
            await session.execute(statement)

    assert session.outcome is Outcome.NOT_COMMITTED
    await check_nothing_left(world)


async def test_savepoints_as_text_are_allowed(world: World) -> None:
    async with world.session() as session:
        await session.execute("SAVEPOINT mine")
        await session.execute("INSERT INTO users (username, balance) VALUES ('undone', 0)")
        await session.execute("ROLLBACK TO SAVEPOINT mine")
        await session.execute("RELEASE SAVEPOINT mine")
        session.add(User(username="ann"))

    assert session.outcome is Outcome.COMMITTED
    assert world.usernames() == ["ann"]


async def test_a_plain_scope_cannot_be_ended_by_hand_either(world: World) -> None:
    async with world.session(propagation="supports") as session:
        await session.execute("INSERT INTO users (username, balance) VALUES ('ann', 0)")
        for control in ("commit", "rollback", "close", "reset"):
            with pytest.raises(ScopeControls):
                await getattr(session, control)()

    assert world.usernames() == ["ann"]
    await check_nothing_left(world)


# ---------------------------------------------------------------- the articles' own pattern


async def test_code_that_commits_by_itself_is_told_what_to_do_instead(world: World) -> None:
    async def create_user(session: Any, name: str) -> None:
        try:
            session.add(User(username=name))
            await session.commit()
        except BaseException:
            await session.rollback()
            raise

    with pytest.raises(ScopeControls) as caught:
        async with world.session() as session:
            await create_user(session, "ann")

    assert "rollback_only" in str(caught.value) or "flush" in str(caught.value)
    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []


async def test_a_savepoint_committed_or_rolled_back_by_hand_is_no_end(world: World) -> None:
    def by_hand(plain: Any) -> None:
        kept = plain.begin_nested()
        plain.add(User(username="kept"))
        kept.commit()
        undone = plain.begin_nested()
        plain.add(User(username="undone"))
        plain.flush()
        undone.rollback()

    async with world.session() as session:
        await session.run_sync(by_hand)
        names = list(await session.scalars(select(User.username)))

    assert names == ["kept"]
    assert session.outcome is Outcome.COMMITTED
    assert world.usernames() == ["kept"]


async def test_a_failed_flush_cannot_be_made_good_by_a_rollback_by_hand(world: World) -> None:
    world.do("INSERT INTO users (username, balance) VALUES ('taken', 0)")

    with pytest.raises(RolledBack):
        async with world.session() as session:
            session.add(User(username="taken"))
            with pytest.raises(UniqueViolation):
                await session.flush()
            with pytest.raises(ScopeControls):
                await session.rollback()

    assert session.outcome is Outcome.NOT_COMMITTED


async def test_the_error_of_the_block_wins_over_a_refusal(world: World) -> None:
    with pytest.raises(Boom) as caught:
        async with world.session() as session:
            with pytest.raises(ScopeControls):
                await session.commit()
            raise Boom

    assert not isinstance(caught.value.__cause__, ScopeControls)
    assert not plain_session(session).in_transaction()
