"""AsyncSession: SQLAlchemy's behaviour."""

from __future__ import annotations

import gc
import inspect
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import InvalidRequestError, PendingRollbackError
from sqlalchemy.ext import asyncio as sa_asyncio
from sqlalchemy.ext.asyncio import async_object_session, async_session
from sqlalchemy.orm.exc import DetachedInstanceError

from hermetic import AsyncSession
from hermetic.release import IS_2_0
from tests.dropin.conftest import Library
from tests.dropin.ground import Ground
from tests.models import Order, User


def test_it_is_an_async_session_of_sqlalchemys() -> None:
    assert issubclass(AsyncSession, sa_asyncio.AsyncSession)
    assert inspect.signature(AsyncSession.__init__) == inspect.signature(
        sa_asyncio.AsyncSession.__init__
    )


async def test_it_commits_rolls_back_and_is_reused(ground: Ground, library: Library) -> None:
    async with ground.async_engine() as engine:
        session = library.AsyncSession(engine)
        session.add(User(username="ann"))
        await session.commit()
        session.add(User(username="bob"))
        await session.flush()
        await session.rollback()
        session.add(User(username="cid"))
        await session.commit()
        await session.close()

    assert ground.usernames() == ["ann", "cid"]


async def test_with_begin_commits_and_closes(ground: Ground, library: Library) -> None:
    async with ground.async_engine() as engine:
        async with library.AsyncSession(engine) as session, session.begin():
            session.add(User(username="ann"))
        begun = session.in_transaction()

    assert not begun
    assert ground.usernames() == ["ann"]


async def test_with_begin_rolls_back_on_an_error(ground: Ground, library: Library) -> None:
    async def fail(engine: Any) -> None:
        async with library.AsyncSession(engine) as session, session.begin():
            session.add(User(username="ann"))
            raise LookupError

    async with ground.async_engine() as engine:
        with pytest.raises(LookupError):
            await fail(engine)

    assert ground.usernames() == []


async def test_without_autobegin_it_waits_for_begin(ground: Ground, library: Library) -> None:
    async with ground.async_engine() as engine:
        session = library.AsyncSession(engine, autobegin=False)
        with pytest.raises(InvalidRequestError, match="Autobegin is disabled"):
            await session.execute(text("SELECT 1"))
        async with session.begin():
            session.add(User(username="ann"))
        await session.close()

    assert ground.usernames() == ["ann"]


async def test_savepoints_roll_back_their_part(ground: Ground, library: Library) -> None:
    db = ground.database()
    async with library.AsyncSession(db.async_engine) as session:
        session.add(User(username="ann"))
        nested = await session.begin_nested()
        session.add(User(username="bob"))
        await session.flush()
        await nested.rollback()
        async with session.begin_nested():
            session.add(User(username="cid"))
        await session.commit()
    await db.aclose()

    assert ground.usernames() == ["ann", "cid"]


async def test_objects_expire_at_a_commit_unless_told_otherwise(
    ground: Ground, library: Library
) -> None:
    async with ground.async_engine() as engine:
        async with library.AsyncSession(engine) as session:
            ann = User(username="ann")
            session.add(ann)
            await session.commit()
        with pytest.raises(DetachedInstanceError):
            _ = ann.username
        async with library.AsyncSession(engine, expire_on_commit=False) as session:
            bob = User(username="bob")
            session.add(bob)
            await session.commit()

    assert bob.username == "bob"


async def test_a_failed_flush_waits_for_a_rollback(ground: Ground, library: Library) -> None:
    async with ground.async_engine() as engine, library.AsyncSession(engine) as session:
        session.add(User(username="ann"))
        await session.commit()
        session.add(User(username="ann"))
        with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
            await session.flush()
        with pytest.raises(PendingRollbackError):
            await session.execute(text("SELECT 1"))
        await session.rollback()
        count = await session.scalar(text("SELECT count(*) FROM users"))

    assert count == 1
    if IS_2_0:
        gc.collect()  # there the error and the driver's cursor keep each other


async def test_rows_are_streamed(ground: Ground, library: Library) -> None:
    async with ground.async_engine() as engine, library.AsyncSession(engine) as session:
        session.add_all([User(username=f"user {number}") for number in range(20)])
        await session.flush()
        stream = await session.stream(select(User.username).order_by(User.id))
        names = [row.username async for row in stream]
        scalars = await session.stream_scalars(select(User).order_by(User.id))
        users = [user.username async for user in scalars]

    assert names == users == [f"user {number}" for number in range(20)]


async def test_objects_are_got_merged_refreshed_and_deleted(
    ground: Ground, library: Library
) -> None:
    async with ground.async_engine() as engine, library.AsyncSession(engine) as session:
        user = User(username="ann")
        session.add(user)
        await session.commit()
        await session.refresh(user)
        got = await session.get(User, user.id)
        one = await session.get_one(User, user.id)
        merged = await session.merge(User(id=user.id, username="bea"))
        await session.flush()
        await session.delete(user)
        await session.commit()

    assert got is one is merged is user
    assert ground.usernames() == []


async def test_related_objects_are_loaded_when_awaited(ground: Ground, library: Library) -> None:
    async with ground.async_engine() as engine, library.AsyncSession(engine) as session:
        session.add(User(username="ann", orders=[Order(item="tea")]))
        await session.commit()
        user = (await session.scalars(select(User))).one()
        items = await session.run_sync(lambda sync: [order.item for order in user.orders])

    assert items == ["tea"]


async def test_objects_know_their_async_session(ground: Ground, library: Library) -> None:
    async with ground.async_engine() as engine, library.AsyncSession(engine) as session:
        user = User(username="ann")
        session.add(user)
        found = async_object_session(user), async_session(session.sync_session)

    assert found == (session, session)


async def test_the_connection_is_the_transactions(ground: Ground, library: Library) -> None:
    async with ground.async_engine() as engine, library.AsyncSession(engine) as session:
        session.add(User(username="ann"))
        await session.flush()
        connection = await session.connection()
        inside = (await connection.execute(text("SELECT count(*) FROM users"))).scalar()
        await session.rollback()

    assert inside == 1
    assert ground.usernames() == []


async def test_an_external_connection_is_joined(ground: Ground, library: Library) -> None:
    db = ground.database()
    async with db.async_engine.connect() as connection:
        outer = await connection.begin()
        async with library.AsyncSession(
            bind=connection, join_transaction_mode="create_savepoint"
        ) as session:
            session.add(User(username="ann"))
            await session.commit()
            printed = repr(session)
        inside = (await connection.execute(text("SELECT count(*) FROM users"))).scalar()
        await outer.rollback()
    await db.aclose()

    assert printed
    assert inside == 1
    assert ground.usernames() == []


async def test_closing_can_be_made_final(ground: Ground, library: Library) -> None:
    async with ground.async_engine() as engine:
        session = library.AsyncSession(engine, close_resets_only=False)
        await session.close()
        with pytest.raises(InvalidRequestError, match="closed"):
            await session.execute(text("SELECT 1"))


async def test_what_is_proxied_is_proxied(ground: Ground, library: Library) -> None:
    user = User(username="ann")

    async with (
        ground.async_engine() as engine,
        library.AsyncSession(engine, info={"a": 1}) as session,
    ):
        session.add(user)

        assert user in session
        assert list(session.new) == [user]
        assert session.info == {"a": 1}
        assert session.bind is engine
        assert session.is_active
        session.expunge_all()
        assert user not in session
