"""Ends that fail: a failed commit is raised, a failed cleanup never masks what came first."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError

from hermetic import (
    CheckViolation,
    Event,
    FaultError,
    ForeignKeyViolation,
    Outcome,
    RolledBack,
    ScopeFinished,
    UniqueViolation,
)
from tests.behaviour.aftermath import (
    check_nothing_left,
    eventually,
    kill,
    lent,
    on_postgresql,
    on_servers,
    on_sqlite,
)
from tests.behaviour.watching import Boom, Sent, engine_of, plain_session
from tests.models import Order, User
from tests.worlds import World

CONNECTION_ID = {"postgresql": "SELECT pg_backend_pid()", "mariadb": "SELECT connection_id()"}


# ---------------------------------------------------------------- commits


async def test_a_constraint_met_by_the_last_flush_is_raised(world: World) -> None:
    world.do("INSERT INTO users (username, balance) VALUES ('ann', 0)")

    with pytest.raises(UniqueViolation) as caught:
        async with world.session() as session:
            session.add(User(username="bob"))
            session.add(User(username="ann"))

    assert isinstance(caught.value, IntegrityError)
    assert caught.value.outcome is Outcome.NOT_COMMITTED
    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == ["ann"]
    await check_nothing_left(world)


async def test_a_constraint_met_in_the_block_is_raised_as_it_is(world: World) -> None:
    world.do("INSERT INTO users (username, balance) VALUES ('ann', 0)")

    with pytest.raises(UniqueViolation) as caught:
        async with world.session() as session:
            session.add(User(username="ann"))
            await session.flush()

    assert caught.value.outcome is Outcome.NOT_COMMITTED
    assert session.outcome is Outcome.NOT_COMMITTED
    await check_nothing_left(world)


async def test_a_flush_error_that_was_swallowed_is_raised_at_the_end(world: World) -> None:
    world.do("INSERT INTO users (username, balance) VALUES ('ann', 0)")

    with pytest.raises(RolledBack) as caught:
        async with world.session() as session:
            session.add(User(username="bob"))
            await session.flush()
            session.add(User(username="ann"))
            with pytest.raises(UniqueViolation) as first:
                await session.flush()

    assert caught.value.__cause__ is first.value
    assert caught.value.outcome is Outcome.NOT_COMMITTED
    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == ["ann"]
    await check_nothing_left(world)


@on_postgresql
async def test_a_deferred_constraint_that_the_commit_meets_is_raised(world: World) -> None:
    world.do("ALTER TABLE users ADD UNIQUE (balance) DEFERRABLE INITIALLY DEFERRED")

    with pytest.raises(UniqueViolation) as caught:
        async with world.session() as session:
            session.add_all([User(username="ann", balance=1), User(username="bob", balance=1)])
            await session.flush()

    assert caught.value.outcome is Outcome.NOT_COMMITTED
    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    await check_nothing_left(world)


@on_sqlite
async def test_a_foreign_key_deferred_to_the_commit_is_raised_and_rolled_back(
    world: World,
) -> None:
    with pytest.raises(ForeignKeyViolation) as caught:
        async with world.session() as session:
            await session.execute("PRAGMA defer_foreign_keys = ON")
            session.add(User(username="ann"))
            session.add(Order(user_id=99, item="pen"))

    assert caught.value.outcome is Outcome.NOT_COMMITTED
    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    await check_nothing_left(world)


async def test_a_failed_commit_is_counted_and_told_as_what_it_is(world: World) -> None:
    world.do("INSERT INTO users (username, balance) VALUES ('ann', 0)")
    heard: list[Event] = []
    world.db.listen(heard.append)

    with pytest.raises(UniqueViolation):
        async with world.session() as session:
            session.add(User(username="ann"))

    (finished,) = [e for e in heard if isinstance(e, ScopeFinished)]
    assert finished.outcome is Outcome.NOT_COMMITTED
    assert finished.error == "UniqueViolation"
    counters = world.db.snapshot().counters
    assert (counters["committed"], counters["not_committed"]) == (0, 1)


@pytest.mark.parametrize("error", [Boom, KeyboardInterrupt])
async def test_an_error_after_the_commit_is_raised_with_the_outcome_that_is_true(
    world: World, error: type[BaseException]
) -> None:
    def fail(session: Any) -> None:
        raise error("after the commit")

    with pytest.raises(error, match="after the commit"):
        async with world.session() as session:
            session.add(User(username="ann"))
            event.listen(plain_session(session), "after_commit", fail)

    assert session.outcome is Outcome.COMMITTED
    assert world.usernames() == ["ann"]
    await check_nothing_left(world)


async def test_a_commit_that_fails_under_commit_on_is_raised_instead(world: World) -> None:
    world.do("INSERT INTO users (username, balance) VALUES ('ann', 0)")

    with pytest.raises(UniqueViolation) as caught:
        async with world.session(commit_on=Boom) as session:
            session.add(User(username="ann"))
            raise Boom("asked to commit")

    assert isinstance(caught.value.__context__, Boom)
    assert session.outcome is Outcome.NOT_COMMITTED


# ---------------------------------------------------------------- rollbacks and closes


async def test_a_failing_rollback_is_a_note_on_the_first_error(world: World) -> None:
    def fail(conn: Any) -> None:
        raise RuntimeError("no rollback today")

    first = Boom("first")
    with pytest.raises(Boom) as caught:
        async with world.session() as session:
            session.add(User(username="ann"))
            await session.flush()
            event.listen(engine_of(world), "rollback", fail, once=True)
            raise first

    assert caught.value is first
    assert any("no rollback today" in note for note in first.__notes__)
    assert session.outcome is Outcome.NOT_COMMITTED


async def test_a_failing_rollback_costs_the_connection(world: World) -> None:
    def fail(conn: Any) -> None:
        raise RuntimeError("no rollback today")

    with pytest.raises(Boom):
        async with world.session() as session:
            session.add(User(username="ann"))
            await session.flush()
            event.listen(engine_of(world), "rollback", fail, once=True)
            raise Boom

    assert world.db.snapshot().connections == ()
    assert lent(world.db) == []
    assert world.usernames() == []
    sent = Sent(world)
    async with world.session() as session:
        session.add(User(username="bob"))
    assert sent.connected == 1
    assert world.usernames() == ["bob"]


async def test_a_failing_close_is_a_note_on_the_first_error(world: World) -> None:
    def fail(session: Any, transaction: Any) -> None:
        raise RuntimeError("no close today")

    first = Boom("first")
    with pytest.raises(Boom) as caught:
        async with world.session() as session:
            session.add(User(username="ann"))
            await session.flush()
            event.listen(plain_session(session), "after_transaction_end", fail)
            raise first

    assert caught.value is first
    assert any("no close today" in note for note in first.__notes__)
    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    await check_nothing_left(world)


@on_servers
async def test_a_connection_killed_in_the_block_leaves_the_first_error(world: World) -> None:
    family = world.backend.family
    first = Boom("first")

    with pytest.raises(Boom) as caught:
        async with world.session() as session:
            session.add(User(username="ann"))
            await session.flush()
            number = await session.scalar(CONNECTION_ID[family])
            kill(world, number)
            raise first

    assert caught.value is first
    assert session.outcome is Outcome.NOT_COMMITTED
    assert await eventually(world, lambda: not world.db.snapshot().connections)
    assert world.usernames() == []
    await check_nothing_left(world)


@on_servers
async def test_a_connection_killed_before_the_commit_is_never_reported_committed(
    world: World,
) -> None:
    family = world.backend.family

    with pytest.raises(Exception, match=r".") as caught:
        async with world.session() as session:
            session.add(User(username="ann"))
            await session.flush()
            number = await session.scalar(CONNECTION_ID[family])
            kill(world, number)

    assert session.outcome is not Outcome.COMMITTED
    assert caught.value.outcome is session.outcome  # type: ignore[attr-defined]
    assert world.usernames() == []
    await check_nothing_left(world)


async def test_a_failing_statement_leaves_the_pool_healthy(world: World) -> None:
    for _ in range(15):
        with pytest.raises(FaultError):
            async with world.session() as session:
                await session.execute("SELECT no_such_column FROM users")

    await check_nothing_left(world)


async def test_a_check_constraint_fails_as_such_on_every_database(world: World) -> None:
    world.do("CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER CHECK (balance >= 0))")

    with pytest.raises(CheckViolation):
        async with world.session() as session:
            await session.execute("INSERT INTO accounts (id, balance) VALUES (1, -1)")

    assert world.seen("SELECT * FROM accounts") == []
