"""A transaction that SQLite rolled back by itself is never committed in silence."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeAlias

import pytest
from sqlalchemy import insert, text

from hermetic import (
    AsyncSession,
    DeadlineExceeded,
    FaultError,
    LockTimeout,
    Outcome,
    RolledBack,
    Session,
)
from tests.behaviour.aftermath import check_nothing_left, on_sqlite
from tests.models import User
from tests.worlds import Face, World

Provoke: TypeAlias = Callable[[Any], Coroutine[Any, Any, None]]

# Writes until somebody ends it.
ENDLESS: Final = (
    "INSERT INTO users (username, balance) WITH RECURSIVE c(x) AS"
    " (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT 'endless' || x, 0 FROM c"
)


async def conflict(session: Any) -> None:
    await session.execute(
        "INSERT OR ROLLBACK INTO users (username, balance) VALUES ('ann', 0), ('ann', 0)"
    )


async def trigger(session: Any) -> None:
    # Made in the transaction itself, and gone with it.
    await session.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON orders BEGIN SELECT RAISE(ROLLBACK, 'refused'); END"
    )
    await session.execute("INSERT INTO orders (user_id, item) VALUES (1, 'tea')")


async def full_disk(session: Any) -> None:
    (pages,) = (await session.execute("PRAGMA page_count")).one()
    await session.execute(f"PRAGMA max_page_count = {pages + 1}")
    await session.execute(
        "INSERT INTO users (username, balance) VALUES (hex(zeroblob(1000000)), 0)"
    )


async def interrupt(session: Any) -> None:
    def register(sync_session: Any) -> None:
        driver = sync_session.connection().connection.driver_connection
        raw = getattr(driver, "_conn", driver)

        def strike() -> int:
            raw.interrupt()
            return 0

        raw.create_function("strike", 0, strike)

    await session.run_sync(register)
    await session.execute(ENDLESS.replace("0 FROM c", "strike() FROM c"))


causes: Final = pytest.mark.parametrize(
    "provoke", [conflict, trigger, full_disk, interrupt], ids=lambda provoke: provoke.__name__
)


async def swallow(session: Any, provoke: Provoke) -> FaultError:
    try:
        await provoke(session)
    except FaultError as error:
        return error
    raise AssertionError("SQLite did not object")


@on_sqlite
@causes
async def test_leaving_after_an_automatic_rollback_raises_and_commits_nothing(
    world: World, provoke: Provoke
) -> None:
    with pytest.raises(RolledBack) as caught:
        async with world.session() as session:
            await session.execute(insert(User).values(username="bob"))
            swallowed = await swallow(session, provoke)

    assert caught.value.__cause__ is swallowed
    assert caught.value.outcome is session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    await check_nothing_left(world)


@on_sqlite
@causes
async def test_statements_after_an_automatic_rollback_are_refused(
    world: World, provoke: Provoke
) -> None:
    with pytest.raises(RolledBack):
        async with world.session() as session:
            await session.execute(insert(User).values(username="bob"))
            await swallow(session, provoke)
            # Sent now, it would be committed by itself, outside any transaction.
            with pytest.raises(RolledBack, match="not sent"):
                await session.execute(insert(User).values(username="late"))

    assert world.usernames() == []


@on_sqlite
@causes
async def test_an_automatic_rollback_inside_a_nested_scope_takes_the_whole_with_it(
    world: World, provoke: Provoke
) -> None:
    with pytest.raises(RolledBack) as caught:
        async with world.session() as session:
            await session.execute(insert(User).values(username="bob"))
            try:
                async with world.session(propagation="nested"):
                    await provoke(session)
            except FaultError as error:
                first = error
            with pytest.raises(RolledBack, match="not sent"):
                await session.execute(insert(User).values(username="late"))

    # SQLite knows the savepoint no more; its complaint about that must not hide the cause.
    assert "no such savepoint" not in str(first)
    assert caught.value.__cause__ is first
    assert world.usernames() == []
    await check_nothing_left(world)


@on_sqlite
@causes
async def test_a_plain_session_refuses_to_commit_what_sqlite_rolled_back(
    world: World, provoke: Provoke
) -> None:
    session: Any = (
        AsyncSession(world.db.async_engine) if world.is_async else Face(Session(world.db.engine))
    )
    try:
        await session.execute(insert(User).values(username="ann"))
        await swallow(session, provoke)
        with pytest.raises(RolledBack):
            await session.commit()
        await session.rollback()
        await session.execute(insert(User).values(username="bob"))
        await session.commit()
    finally:
        await session.close()

    assert world.usernames() == ["bob"]
    await check_nothing_left(world)


# Without `full_disk`, which changes a setting, and `interrupt`, which takes the driver's
# connection: such connections are not lent again.
@on_sqlite
@pytest.mark.parametrize("provoke", [conflict, trigger], ids=lambda provoke: provoke.__name__)
async def test_the_connection_is_used_again_after_an_automatic_rollback(
    world: World, provoke: Provoke
) -> None:
    with pytest.raises(FaultError):
        async with world.session() as session:
            await provoke(session)
    (before,) = world.db.snapshot().connections

    async with world.session() as session:
        session.add(User(username="bob"))

    (after,) = world.db.snapshot().connections
    assert after.number == before.number
    assert world.usernames() == ["bob"]


@on_sqlite
async def test_a_write_ended_by_the_deadline_commits_nothing(world: World) -> None:
    with pytest.raises(DeadlineExceeded):
        async with world.session(timeout=0.2) as session:
            await session.execute(insert(User).values(username="bob"))
            await session.execute(ENDLESS)

    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    await check_nothing_left(world)


@on_sqlite
async def test_a_swallowed_deadline_commits_nothing(world: World) -> None:
    with pytest.raises((RolledBack, DeadlineExceeded)):
        async with world.session(timeout=0.2) as session:
            await session.execute(insert(User).values(username="bob"))
            with pytest.raises(DeadlineExceeded):
                await session.execute(ENDLESS)

    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    await check_nothing_left(world)


@on_sqlite
async def test_a_begin_that_found_the_file_locked_may_be_tried_again(world: World) -> None:
    db = world.database(lock_timeout=0.05)
    async with world.session(db) as session:
        with world.observer.connect() as holder:
            holder.exec_driver_sql("BEGIN IMMEDIATE")
            with pytest.raises(LockTimeout):
                await session.execute(text("SELECT 1"))
            holder.exec_driver_sql("ROLLBACK")
        await session.execute(insert(User).values(username="bob"))

    assert session.outcome is Outcome.COMMITTED
    assert world.usernames() == ["bob"]
    await check_nothing_left(world)
