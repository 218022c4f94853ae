"""A transaction that the server gave up is never committed in silence, on servers."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import insert, text

from hermetic import (
    FaultError,
    InvalidStatement,
    Outcome,
    RolledBack,
    UniqueViolation,
)
from tests.behaviour.aftermath import (
    check_nothing_left,
    on,
    on_postgresql,
)
from tests.models import User
from tests.proxy import Proxy
from tests.worlds import Face, World

NO_SUCH_TABLE = "SELECT * FROM nowhere"


async def swallow(session: Any, statement: Any) -> FaultError:
    """Run a statement that fails, and go on as if nothing had happened."""
    try:
        await session.execute(statement)
    except FaultError as error:
        return error
    raise AssertionError("the statement did not fail")


# ---------------------------------------------------------------- PostgreSQL's aborted transactions


@on_postgresql
async def test_leaving_after_a_swallowed_error_raises_and_commits_nothing(world: World) -> None:
    with pytest.raises(RolledBack) as caught:
        async with world.session() as session:
            session.add(User(username="ann"))
            await session.flush()
            swallowed = await swallow(session, NO_SUCH_TABLE)

    assert caught.value.outcome is Outcome.NOT_COMMITTED
    assert session.outcome is Outcome.NOT_COMMITTED
    assert caught.value.__cause__ is swallowed
    assert isinstance(swallowed, InvalidStatement)
    assert world.usernames() == []
    await check_nothing_left(world)


@on_postgresql
async def test_the_first_of_several_swallowed_errors_is_the_cause(world: World) -> None:
    with pytest.raises(RolledBack) as caught:
        async with world.session() as session:
            first = await swallow(session, NO_SUCH_TABLE)
            with pytest.raises(RolledBack):
                await session.execute(text("SELECT 1/0"))

    assert caught.value.__cause__ is first


@on_postgresql
async def test_statements_after_a_swallowed_error_never_reach_the_server(
    world: World, proxy: Proxy
) -> None:
    with pytest.raises(RolledBack):
        async with world.session() as session:
            await swallow(session, NO_SUCH_TABLE)
            proxy.forget()
            with pytest.raises(RolledBack, match="not sent"):
                await session.execute(text("SELECT 'late'"))
            session.add(User(username="late"))
            with pytest.raises(RolledBack, match="not sent"):
                await session.flush()

    assert b"late" not in proxy.sent
    assert b"COMMIT" not in proxy.sent
    assert world.usernames() == []


@on_postgresql
async def test_the_connection_is_used_again_after_a_swallowed_error(world: World) -> None:
    db = world.database(pool_size=1)
    with pytest.raises(RolledBack):
        async with world.session(db) as session:
            await swallow(session, NO_SUCH_TABLE)
    (before,) = db.snapshot().connections

    async with world.session(db) as session:
        session.add(User(username="bob"))

    (after,) = db.snapshot().connections
    assert after.number == before.number
    assert world.usernames() == ["bob"]


@on_postgresql
async def test_an_error_that_passes_out_is_raised_as_it_is(world: World) -> None:
    with pytest.raises(InvalidStatement) as caught:
        async with world.session() as session:
            await session.execute(NO_SUCH_TABLE)

    assert session.outcome is Outcome.NOT_COMMITTED
    assert caught.value.scope is not None
    await check_nothing_left(world)


@on_postgresql
async def test_an_error_heals_with_the_nested_scope_around_it(world: World) -> None:
    async with world.session() as session:
        session.add(User(username="ann"))
        with pytest.raises(InvalidStatement):
            async with world.session(propagation="nested"):
                session.add(User(username="inner"))
                await session.flush()
                await session.execute(NO_SUCH_TABLE)
        session.add(User(username="bob"))

    assert session.outcome is Outcome.COMMITTED
    assert world.usernames() == ["ann", "bob"]


@on_postgresql
async def test_an_error_heals_with_the_savepoint_around_it(world: World) -> None:
    async with world.session() as session:
        session.add(User(username="ann"))
        with pytest.raises(InvalidStatement):
            async with session.begin_nested():
                await session.execute(NO_SUCH_TABLE)
        session.add(User(username="bob"))

    assert world.usernames() == ["ann", "bob"]


@on_postgresql
async def test_an_error_swallowed_inside_a_nested_scope_rolls_back_that_scope_alone(
    world: World,
) -> None:
    async with world.session() as session:
        session.add(User(username="ann"))
        with pytest.raises(RolledBack) as caught:
            async with world.session(propagation="nested"):
                session.add(User(username="inner"))
                await session.flush()
                swallowed = await swallow(session, NO_SUCH_TABLE)
        session.add(User(username="bob"))

    assert caught.value.__cause__ is swallowed
    assert session.outcome is Outcome.COMMITTED
    assert world.usernames() == ["ann", "bob"]


@on_postgresql
async def test_an_error_swallowed_inside_a_savepoint_rolls_back_that_savepoint_alone(
    world: World,
) -> None:
    async with world.session() as session:
        session.add(User(username="ann"))
        with pytest.raises(RolledBack):
            async with session.begin_nested():
                session.add(User(username="inner"))
                await session.flush()
                await swallow(session, NO_SUCH_TABLE)
        session.add(User(username="bob"))

    assert world.usernames() == ["ann", "bob"]


@on_postgresql
async def test_an_error_before_a_savepoint_does_not_heal_with_it(world: World) -> None:
    with pytest.raises(RolledBack):
        async with world.session() as session:
            session.add(User(username="ann"))
            await session.flush()
            await swallow(session, NO_SUCH_TABLE)
            with pytest.raises(RolledBack):
                async with world.session(propagation="nested"):
                    session.add(User(username="inner"))

    assert world.usernames() == []
    await check_nothing_left(world)


@on_postgresql
async def test_an_error_in_a_released_savepoint_does_not_heal_with_its_parent_left(
    world: World,
) -> None:
    with pytest.raises(RolledBack):
        async with world.session() as session:
            async with world.session(propagation="nested"):
                session.add(User(username="inner"))
            await swallow(session, NO_SUCH_TABLE)

    assert world.usernames() == []


@on_postgresql
async def test_an_error_on_the_driver_itself_is_not_overlooked(world: World) -> None:
    def fail(sync_session: Any) -> None:
        cursor = sync_session.connection().connection.cursor()
        try:
            cursor.execute(NO_SUCH_TABLE)
        finally:
            cursor.close()

    with pytest.raises(RolledBack):
        async with world.session() as session:
            session.add(User(username="ann"))
            await session.flush()
            with pytest.raises(Exception, match="nowhere"):
                await session.run_sync(fail)

    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []


# ---------------------------------------------------------------- without a scope


@on_postgresql
async def test_a_plain_connection_of_the_engine_refuses_to_commit_what_was_given_up(
    world: World,
) -> None:
    db = world.db
    connection: Any = (
        await db.async_engine.connect() if world.is_async else Face(db.engine.connect())
    )
    try:
        await connection.execute(insert(User).values(username="ann", balance=0))
        swallowed = await swallow(connection, text(NO_SUCH_TABLE))
        with pytest.raises(RolledBack) as caught:
            await connection.commit()
        await connection.rollback()
        await connection.execute(insert(User).values(username="bob", balance=0))
        await connection.commit()
    finally:
        await connection.close()

    assert caught.value.__cause__ is swallowed
    assert world.usernames() == ["bob"]
    await check_nothing_left(world)


@on_postgresql
async def test_a_plain_session_refuses_to_commit_what_was_given_up(world: World) -> None:
    from hermetic import AsyncSession, Session

    session: Any = (
        AsyncSession(world.db.async_engine) if world.is_async else Face(Session(world.db.engine))
    )
    try:
        session.add(User(username="ann"))
        await session.flush()
        await swallow(session, NO_SUCH_TABLE)
        with pytest.raises(RolledBack):
            await session.commit()
        await session.rollback()
        session.add(User(username="bob"))
        await session.commit()
    finally:
        await session.close()

    assert world.usernames() == ["bob"]
    await check_nothing_left(world)


# ---------------------------------------------------------------- what is no rollback


@on(lambda backend: backend.family != "postgresql")
async def test_a_swallowed_constraint_error_leaves_the_rest_committable(world: World) -> None:
    async with world.session() as session:
        await session.execute(insert(User).values(username="ann", balance=0))
        swallowed = await swallow(session, insert(User).values(username="ann", balance=0))
        await session.execute(insert(User).values(username="bob", balance=0))

    assert isinstance(swallowed, UniqueViolation)
    assert session.outcome is Outcome.COMMITTED
    assert world.usernames() == ["ann", "bob"]


async def test_a_swallowed_failure_of_a_flush_commits_nothing(world: World) -> None:
    with pytest.raises(RolledBack) as caught:
        async with world.session() as session:
            await session.execute(insert(User).values(username="ann", balance=0))
            session.add(User(username="ann"))
            with pytest.raises(UniqueViolation) as failed:
                await session.flush()

    assert caught.value.__cause__ is failed.value
    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    await check_nothing_left(world)


async def test_a_failed_flush_inside_a_nested_scope_heals_with_it(world: World) -> None:
    async with world.session() as session:
        session.add(User(username="ann"))
        with pytest.raises(UniqueViolation):
            async with world.session(propagation="nested"):
                session.add(User(username="ann"))
                await session.flush()
        session.add(User(username="bob"))

    assert session.outcome is Outcome.COMMITTED
    assert world.usernames() == ["ann", "bob"]


async def test_text_of_a_rollback_in_an_error_is_no_rollback(world: World) -> None:
    with pytest.raises(FaultError) as caught:
        async with world.session() as session:
            await session.execute("SELECT * FROM rollback_to_nowhere")

    assert re.search("rollback_to_nowhere", str(caught.value))
    await check_nothing_left(world)
