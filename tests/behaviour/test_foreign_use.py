"""The session of another thread or task, or of a scope that is over: refused in every use."""

from __future__ import annotations

from typing import Any

import pytest

from hermetic import ForeignOwner, Outcome, ScopeEnded
from tests.behaviour.aftermath import check_nothing_left, lent
from tests.behaviour.watching import elsewhere, plain_session
from tests.models import User
from tests.worlds import World

USES = {
    "execute": lambda s: s.execute("SELECT 1"),
    "scalar": lambda s: s.scalar("SELECT 1"),
    "get": lambda s: s.get(User, 71),
    "flush": lambda s: s.flush(),
    "refresh": lambda s: s.run_sync(lambda p: p.refresh(next(iter(p.identity_map.values())))),
    "merge": lambda s: s.merge(User(username="bob")),
    "merge_all": lambda s: s.run_sync(lambda p: p.merge_all([User(username="bob")])),
    "delete_all": lambda s: s.run_sync(lambda p: p.delete_all([User(username="bob")])),
    "connection": lambda s: s.connection(),
    "query": lambda s: s.run_sync(lambda p: p.query(User).all()),
    "lazy load": lambda s: s.run_sync(lambda p: p.info["user"].orders),
    "bulk": lambda s: s.run_sync(lambda p: p.bulk_save_objects([User(username="bob")])),
}
USES_AT_ONCE = {
    "add": lambda s: s.add(User(username="bob")),
    "add_all": lambda s: s.add_all([User(username="bob")]),
    "expunge_all": lambda s: s.expunge_all(),
    "expire_all": lambda s: s.expire_all(),
    "rollback_only": lambda s: s.rollback_only(),
    "on_commit": lambda s: s.on_commit(lambda: None),
    "lend": lambda s: s.lend(),
}


@pytest.mark.parametrize("use", [*USES, *USES_AT_ONCE])
async def test_a_child_may_not_use_its_parents_session(world: World, use: str) -> None:
    world.do("INSERT INTO users (id, username, balance) VALUES (71, 'ann', 7)")

    async with world.session() as parent:
        plain_session(parent).info["user"] = await parent.get(User, 71)
        parent.add(User(username="pending"))

        async def use_it() -> None:
            if use in USES:
                await USES[use](parent)
            else:
                USES_AT_ONCE[use](parent)

        error = await elsewhere(world, use_it)
        pending = [user.username for user in plain_session(parent).new]

    assert isinstance(error, ForeignOwner), repr(error)
    assert pending == ["pending"]
    assert world.usernames() == ["ann", "pending"]
    await check_nothing_left(world)


async def test_a_foreign_savepoint_is_refused(world: World) -> None:
    async with world.session() as parent:
        await parent.execute("SELECT 1")

        async def use_it() -> None:
            async with parent.begin_nested():
                pass

        error = await elsewhere(world, use_it)
        parent.add(User(username="ann"))

    assert isinstance(error, ForeignOwner)
    assert world.usernames() == ["ann"]


@pytest.mark.parametrize("control", ["commit", "rollback", "close", "reset"])
async def test_a_foreign_end_is_refused(world: World, control: str) -> None:
    async with world.session() as parent:
        parent.add(User(username="ann"))
        await parent.flush()

        async def use_it() -> None:
            await getattr(parent, control)()

        error = await elsewhere(world, use_it)

    assert error is not None
    assert parent.outcome is Outcome.COMMITTED
    assert world.usernames() == ["ann"]


# ---------------------------------------------------------------- after the end


async def test_a_child_that_outlives_the_scope_cannot_use_it(world: World) -> None:
    ended = world.signal()
    kept: list[Any] = []

    async def outlive() -> None:
        await ended.wait()
        await kept[0].execute("SELECT 1")

    async def parent() -> None:
        async with world.session() as session:
            kept.append(session)
            await session.execute("SELECT 1")
        ended.set()

    error, parents = await world.together(outlive, parent)

    assert parents is None
    assert isinstance(error, ScopeEnded)
    assert lent(world.db) == []


# A session that is over has no objects any more; theirs is test_loaded_objects.py.
USES_AFTERWARDS = sorted({*USES, *USES_AT_ONCE} - {"lazy load", "refresh", "flush"})


@pytest.mark.parametrize("use", USES_AFTERWARDS)
async def test_a_session_used_after_its_scope_says_that_it_is_over(world: World, use: str) -> None:
    world.do("INSERT INTO users (id, username, balance) VALUES (71, 'ann', 7)")
    async with world.session(name="over") as session:
        user = await session.get(User, 71)

    with pytest.raises(ScopeEnded, match="over") as caught:
        if use in USES:
            await USES[use](session)
        else:
            USES_AT_ONCE[use](session)

    assert "committed" in str(caught.value)
    assert user.username == "ann"
    assert lent(world.db) == []
