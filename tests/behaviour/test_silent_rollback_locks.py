"""A transaction that lost its fight for a lock is never committed in silence."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert, text

from hermetic import Deadlock, LockTimeout, RolledBack
from tests.behaviour.aftermath import check_nothing_left, on_mariadb, on_servers
from tests.behaviour.conflicts import CONFLICTS, conflict_class
from tests.models import User
from tests.proxy import Proxy
from tests.worlds import PATIENCE, Face, World


@on_servers
async def test_a_swallowed_deadlock_commits_nothing_and_lets_nothing_follow(
    world: World, proxy: Proxy
) -> None:
    world.do("INSERT INTO users (username, balance) VALUES ('ann', 0), ('bob', 0)")
    # or who came first would give up before the other is there
    world.database(lock_timeout=PATIENCE)
    mine, yours = world.signal(), world.signal()

    async def party(first: str, second: str, done: Any, other: Any) -> str:
        async with world.session() as session:
            await session.execute(f"UPDATE users SET balance = 1 WHERE username = '{first}'")
            done.set()
            await other.wait()
            try:
                await session.execute(f"UPDATE users SET balance = 1 WHERE username = '{second}'")
            except Deadlock:
                with pytest.raises(RolledBack, match="not sent") as refused:
                    await session.execute(
                        "INSERT INTO users (username, balance) VALUES ('late', 0)"
                    )
                assert isinstance(refused.value.__cause__, Deadlock)
                return "swallowed"
        return "won"

    ends = await world.together(
        lambda: party("ann", "bob", mine, yours), lambda: party("bob", "ann", yours, mine)
    )

    assert sorted(str(type(end)) for end in ends) == sorted([str(RolledBack), str(str)])
    (lost,) = [end for end in ends if isinstance(end, RolledBack)]
    assert isinstance(lost.__cause__, Deadlock)
    assert b"late" not in proxy.sent
    assert world.usernames() == ["ann", "bob"]
    assert world.seen("SELECT balance FROM users") == [(1,), (1,)]
    await check_nothing_left(world)


@on_mariadb
async def test_a_deadlock_inside_a_nested_scope_is_not_hidden_by_a_missing_savepoint(
    world: World, proxy: Proxy
) -> None:
    world.do("INSERT INTO users (username, balance) VALUES ('ann', 0), ('bob', 0)")
    # or who came first would give up before the other is there
    world.database(lock_timeout=PATIENCE)
    mine, yours = world.signal(), world.signal()

    async def party(first: str, second: str, done: Any, other: Any) -> str:
        async with world.session() as session:
            await session.execute(f"UPDATE users SET balance = 1 WHERE username = '{first}'")
            done.set()
            await other.wait()
            try:
                async with world.session(propagation="nested"):
                    await session.execute(
                        f"UPDATE users SET balance = 1 WHERE username = '{second}'"
                    )
            except Deadlock:
                with pytest.raises(RolledBack, match="not sent"):
                    await session.execute(
                        "INSERT INTO users (username, balance) VALUES ('late', 0)"
                    )
                return "swallowed"
        return "won"

    ends = await world.together(
        lambda: party("ann", "bob", mine, yours), lambda: party("bob", "ann", yours, mine)
    )

    (lost,) = [end for end in ends if end != "won"]
    assert isinstance(lost, RolledBack)
    assert isinstance(lost.__cause__, Deadlock)
    assert b"ROLLBACK TO" not in proxy.sent
    assert b"late" not in proxy.sent
    assert world.usernames() == ["ann", "bob"]
    await check_nothing_left(world)


@on_servers
async def test_a_swallowed_lock_timeout_dooms_the_scope(world: World) -> None:
    world.do("INSERT INTO users (username, balance) VALUES ('ann', 0)")
    db = world.database(lock_timeout=1)

    with world.observer.begin() as holder:
        holder.execute(text("UPDATE users SET balance = 7 WHERE username = 'ann'"))
        with pytest.raises(RolledBack) as caught:
            async with world.session(db) as session:
                session.add(User(username="bob"))
                await session.flush()
                with pytest.raises(LockTimeout) as swallowed:
                    await session.execute("UPDATE users SET balance = 1 WHERE username = 'ann'")
                with pytest.raises(RolledBack, match="not sent"):
                    await session.execute("SELECT 1")

    assert caught.value.__cause__ is swallowed.value
    assert world.seen("SELECT username, balance FROM users") == [("ann", 7)]
    await check_nothing_left(world)


@on_servers
async def test_a_plain_connection_refuses_to_commit_after_a_swallowed_conflict(
    world: World,
) -> None:
    db = world.db
    connection: Any = (
        await db.async_engine.connect() if world.is_async else Face(db.engine.connect())
    )
    try:
        await connection.execute(insert(User).values(username="ann", balance=0))
        with pytest.raises(conflict_class(world)) as swallowed:
            await connection.execute(text(CONFLICTS[world.backend.family]))
        with pytest.raises(RolledBack) as caught:
            await connection.commit()
        await connection.rollback()
        await connection.execute(insert(User).values(username="bob", balance=0))
        await connection.commit()
    finally:
        await connection.close()

    assert caught.value.__cause__ is swallowed.value
    assert world.usernames() == ["bob"]
    await check_nothing_left(world)
