"""Small flushes under asyncio go straight to the driver, and end as through SQLAlchemy."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import threading
from collections.abc import Iterator
from typing import Any, Final

import pytest
from sqlalchemy import event, inspect, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm.exc import StaleDataError

from hermetic import Outcome, RolledBack
from hermetic.fast.counts import counts
from tests.behaviour.aftermath import check_nothing_left, eventually, happened, on
from tests.models import Order, User
from tests.proxy import Proxy
from tests.worlds import PATIENCE, World

on_wires: Final = on(
    lambda backend: backend.is_async and backend.family in ("sqlite", "postgresql")
)
on_postgresql: Final = on(lambda backend: backend.is_async and backend.family == "postgresql")
on_sqlite: Final = on(lambda backend: backend.is_async and backend.family == "sqlite")
INSERT: Final = re.compile(rb"INSERT INTO users", re.IGNORECASE)


@pytest.fixture
def proxy(world: World) -> Iterator[Proxy]:
    """A proxy that the world's Databases go through; its observer does not."""
    with Proxy(world.url) as proxy:
        world.url = proxy.url
        yield proxy


async def connect(world: World) -> None:
    """Have a writer's connection in the pool, and the plan of the class made."""
    async with world.session() as session:
        await session.get(User, 4711)


def insert(world: World, *names: str) -> None:
    for number, name in enumerate(names, 71):
        world.do(f"INSERT INTO users (id, username, balance) VALUES ({number}, '{name}', 7)")


def awaited() -> int:
    return counts.get("flush:awaited", 0)


# ---------------------------------------------------------------- which way


@on_wires
async def test_one_new_object_is_written_at_the_end(world: World) -> None:
    await connect(world)
    before = awaited()

    ann = User(username="ann")
    async with world.session() as session:
        session.add(ann)
        unsent = session.scope.statements

    assert awaited() == before + 1
    assert unsent == 0
    assert world.seen("SELECT id, username, balance FROM users") == [(ann.id, "ann", 0)]
    assert session.outcome is Outcome.COMMITTED
    assert session.scope.statements == 1
    assert inspect(ann).detached
    await check_nothing_left(world)


@on_wires
async def test_changes_are_written_in_the_transaction_that_read(world: World) -> None:
    await connect(world)
    insert(world, "ann", "bob", "carl")
    before = awaited()

    async with world.session() as session:
        ann, bob, carl = [await session.get(User, number) for number in (71, 72, 73)]
        ann.balance, bob.balance, carl.username = 8, 9, "dora"
        session.add(User(username="ed"))
        session.add(Order(user_id=71, item="book"))
        in_hand = session.scope.in_hand

    assert in_hand
    assert awaited() == before + 1
    rows = world.seen("SELECT username, balance FROM users ORDER BY balance, username")
    assert rows == [("ed", 0), ("dora", 7), ("ann", 8), ("bob", 9)]
    assert world.seen("SELECT item FROM orders") == [("book",)]
    await check_nothing_left(world)


@on_wires
async def test_a_flush_by_hand_leaves_the_connection_in_hand(world: World) -> None:
    await connect(world)
    before = awaited()

    async with world.session() as session:
        ann = User(username="ann")
        session.add(ann)
        await session.flush()
        key, state = ann.id, inspect(ann)
        persistent, in_hand = state.persistent, session.scope.in_hand
        same = await session.get(User, key)
        ann.balance = 5
        await session.flush()
        await session.flush()
        unseen = world.usernames()

    assert awaited() == before + 2
    assert persistent
    assert in_hand
    assert same is ann
    assert unseen == []
    assert world.seen("SELECT id, balance FROM users") == [(key, 5)]
    await check_nothing_left(world)


@on_wires
async def test_what_sqlalchemy_has_begun_is_written_in_natively(world: World) -> None:
    await connect(world)
    before = awaited()

    async with world.session() as session:
        await session.execute(text("SELECT 1"))
        session.add(User(username="ann"))
        await session.flush()
        unseen = world.usernames()
        session.add(User(username="bob"))

    assert awaited() == before + 2
    assert unseen == []
    assert world.usernames() == ["ann", "bob"]
    await check_nothing_left(world)


@on_wires
@pytest.mark.parametrize("what", ["listener", "isolation", "many", "delete", "savepoint"])
async def test_what_is_more_is_sqlalchemys(world: World, what: str) -> None:
    await connect(world)
    insert(world, "zoe")
    before = awaited()
    heard: list[Any] = []
    isolation = "SERIALIZABLE" if what == "isolation" else None

    async with world.session(isolation=isolation) as session:
        if what == "listener":
            event.listen(session.sync_session, "after_flush", lambda *each: heard.append(each))
        if what == "delete":
            await session.delete(await session.get(User, 71))
        if what == "savepoint":
            await session.begin_nested()
        names = ["ann", "bob"] if what == "many" else ["ann"]
        session.add_all([User(username=name) for name in names])
        await session.flush()

    assert awaited() == before
    assert len(heard) == (what == "listener")
    assert world.usernames() == [*names, *(["zoe"] if what != "delete" else [])]
    await check_nothing_left(world)


@on_wires
async def test_what_is_written_can_be_rolled_back(world: World) -> None:
    await connect(world)
    insert(world, "bob")
    ann = User(username="ann")

    with pytest.raises(ZeroDivisionError):
        async with world.session() as session:
            session.add(ann)
            (await session.get(User, 71)).balance = 0
            await session.flush()
            raise ZeroDivisionError

    assert session.outcome is Outcome.NOT_COMMITTED
    assert inspect(ann).transient
    assert world.seen("SELECT username, balance FROM users") == [("bob", 7)]
    await check_nothing_left(world)


# ---------------------------------------------------------------- errors


async def failed(world: World, direct: bool, by_hand: bool) -> tuple[Any, Any, User]:
    """A flush that fails, by the driver itself or by SQLAlchemy, whose way a listener keeps to."""
    ann = User(username="ann")
    with pytest.raises(IntegrityError) as caught:
        async with world.session() as session:
            if not direct:
                event.listen(session.sync_session, "after_flush", lambda *_: None)
            session.add(ann)
            if by_hand:
                await session.flush()
    return caught.value, session, ann


@on_wires
@pytest.mark.parametrize("by_hand", [True, False])
async def test_an_error_of_the_driver_is_as_every_other(world: World, by_hand: bool) -> None:
    await connect(world)
    insert(world, "ann")

    direct, first, mine = await failed(world, True, by_hand)
    plain, second, theirs = await failed(world, False, by_hand)

    assert type(direct) is type(plain)
    assert type(direct.orig) is type(plain.orig)
    assert type(direct.__cause__) is type(plain.__cause__)
    assert (direct.statement, direct.params) == (plain.statement, plain.params)
    assert direct.outcome is plain.outcome is Outcome.NOT_COMMITTED
    assert first.outcome is second.outcome is Outcome.NOT_COMMITTED
    assert first.scope.hook_errors == second.scope.hook_errors
    assert (mine.id, inspect(mine).transient) == (theirs.id, inspect(theirs).transient)
    assert getattr(direct, "__notes__", None) == getattr(plain, "__notes__", None)
    assert world.usernames() == ["ann"]
    await check_nothing_left(world)


@on_wires
async def test_an_error_that_is_caught_dooms_the_scope(world: World) -> None:
    await connect(world)
    insert(world, "ann")

    with pytest.raises(RolledBack) as caught:
        async with world.session() as session:
            session.add(User(username="ann"))
            with pytest.raises(IntegrityError) as first:
                await session.flush()
            with pytest.raises(RolledBack, match="not sent"):
                await session.get(User, 71)

    assert caught.value.__cause__ is first.value
    assert session.outcome is Outcome.NOT_COMMITTED
    await check_nothing_left(world)


@on_wires
async def test_a_row_that_is_gone_is_noticed(world: World) -> None:
    await connect(world)
    insert(world, "ann")

    with pytest.raises(StaleDataError, match="1 row"):
        async with world.session() as session:
            ann = await session.get(User, 71)
            await session.execute(text("DELETE FROM users WHERE id = 71"))
            ann.balance = 8

    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == ["ann"]
    await check_nothing_left(world)


@on_wires
async def test_a_value_that_cannot_be_sent_is_refused(world: World) -> None:
    await connect(world)

    async def fail(direct: bool) -> Any:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - two of a kind are compared
            async with world.session() as session:
                if not direct:
                    event.listen(session.sync_session, "after_flush", lambda *_: None)
                session.add(User(username="ann", balance={"no": "number"}))
        return caught.value

    direct, plain = await fail(True), await fail(False)

    assert type(direct) is type(plain)
    assert str(direct.orig) == str(plain.orig)
    assert (direct.statement, direct.params) == (plain.statement, plain.params)
    await check_nothing_left(world)


@on_postgresql
async def test_a_connection_that_broke_is_destroyed(world: World, proxy: Proxy) -> None:
    await connect(world)
    proxy.cut_before(INSERT)

    with pytest.raises(Exception) as caught:  # noqa: PT011 - each driver has its own
        async with world.session() as session:
            session.add(User(username="ann"))

    assert caught.value.connection_invalidated  # type: ignore[attr-defined]
    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    await check_nothing_left(world)


@on_sqlite
async def test_a_lock_that_is_held_is_waited_for(world: World, tmp_path: Any) -> None:
    await connect(world)
    before = awaited()
    path = world.db.server.url.database
    assert path is not None
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.3, lambda: other.execute("COMMIT"))
    release.start()

    ann = User(username="ann")
    async with world.session() as session:
        session.add(ann)
        await session.flush()
        key = ann.id
    release.join()
    other.close()

    assert awaited() == before + 1
    assert session.outcome is Outcome.COMMITTED
    assert world.seen("SELECT id, username FROM users") == [(key, "ann")]
    await check_nothing_left(world)


# ---------------------------------------------------------------- cancelled


@on_postgresql
@pytest.mark.parametrize("by_hand", [True, False])
async def test_a_cancelled_flush_commits_nothing(world: World, proxy: Proxy, by_hand: bool) -> None:
    await connect(world)
    held = proxy.hold(INSERT)
    sessions: list[Any] = []

    async def unit() -> None:
        async with world.session() as session:
            sessions.append(session)
            session.add(User(username="ann"))
            if by_hand:
                await session.flush()

    task = asyncio.create_task(unit())
    await happened(world, held.reached)
    task.cancel()
    await asyncio.sleep(0.05)
    held.release()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert task.cancelled()
    assert sessions[0].outcome is Outcome.NOT_COMMITTED
    await eventually(world, lambda: not world.usernames(), PATIENCE)
    assert world.usernames() == []
    await check_nothing_left(world)


@on_wires
async def test_cancelled_at_any_turn_it_ends_one_way_or_the_other(world: World) -> None:
    await connect(world)
    outcomes = set()

    for turns in range(12):
        await connect(world)  # a connection that was cancelled is not used again
        sessions: list[Any] = []

        async def unit(name: str, sessions: list[Any] = sessions) -> None:
            async with world.session() as session:
                sessions.append(session)
                session.add(User(username=name))

        task = asyncio.create_task(unit(f"ann{turns}"))
        for _ in range(turns):
            await asyncio.sleep(0 if turns % 2 else 0.0005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
            raise asyncio.CancelledError  # it was too late for this one
        if not sessions:
            continue
        outcome = sessions[0].outcome
        outcomes.add(outcome)
        there = f"ann{turns}" in world.usernames()
        assert there is (outcome is Outcome.COMMITTED)

    assert Outcome.UNKNOWN not in outcomes
    await check_nothing_left(world)
