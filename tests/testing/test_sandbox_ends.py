"""What keeps a sandbox from undoing everything is told with its line, and spoils nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from hermetic import Database, InvalidOption, RolledBack, ScopeControls
from hermetic.testing import (
    SandboxEnded,
    SandboxError,
    SandboxLeak,
    SandboxWarning,
    sandbox,
)
from tests.backends import BACKENDS
from tests.models import User
from tests.testing.boxes import add, boxed, count, names, send
from tests.worlds import World

HERE = "test_sandbox_ends.py"
_HAVING_LEVELS = [each for each in BACKENDS if each.family != "sqlite"]


def line_of(needle: str, function: Any) -> int:
    """The line of a function's source that a message should name."""
    source = function.__code__
    lines = Path(source.co_filename).read_text(encoding="utf-8").splitlines()
    found = [n for n, line in enumerate(lines, 1) if needle in line and n > source.co_firstlineno]
    return found[0]


async def test_a_raw_commit_is_told_with_its_line(world: World) -> None:
    with pytest.raises(SandboxEnded, match="'COMMIT'") as caught:
        async with boxed(world):
            await add(world, "ann")
            async with world.session(propagation="not_supported") as session:
                await session.execute(text("COMMIT"))  # here
    line = line_of("# here", test_a_raw_commit_is_told_with_its_line)
    # where a session of threads has its face, that is the caller
    assert (f"{HERE}:{line}" if world.is_async else "worlds.py:") in caught.value.at
    assert caught.value.statement == "COMMIT"
    # it is the error itself, and told once
    assert len(caught.value.__notes__) == 1, "its page, and no more"
    world.do("DELETE FROM users")
    async with boxed(world):
        assert await names(world) == []


async def test_an_end_that_was_swallowed_is_told_at_the_end(world: World) -> None:
    with pytest.raises(SandboxEnded, match="'COMMIT'"):
        async with boxed(world):
            for _ in range(2):
                with pytest.raises(SandboxEnded):
                    await send(world, "COMMIT", propagation="not_supported")
            with pytest.raises(SandboxEnded):
                await add(world, "ann")
    assert world.usernames() == []


async def test_transaction_control_in_a_scope_is_refused_as_ever(world: World) -> None:
    async with boxed(world):
        with pytest.raises(ScopeControls):
            await send(world, "COMMIT")
        await add(world, "ann")
    assert world.usernames() == []


async def test_ddl_that_commits_by_itself_is_told_of(world: World) -> None:
    create = "CREATE TABLE made_inside (id INTEGER)"
    if world.backend.family != "mariadb":
        async with boxed(world):
            await send(world, create)
            await send(world, "SELECT * FROM made_inside")
        with pytest.raises(Exception, match="made_inside"):
            world.seen("SELECT * FROM made_inside")
        return
    with pytest.raises(SandboxEnded, match="CREATE TABLE made_inside"):
        async with boxed(world):
            await send(world, create, propagation="not_supported")


async def test_a_scope_that_was_left_open_is_told_with_its_line(world: World) -> None:
    with pytest.raises(SandboxLeak) as caught:
        async with boxed(world, name="my test"):
            unit = world.session(name="left open")
            session = await unit.__aenter__()
            session.add(User(username="ann"))
            await session.flush()
            inner = world.session(propagation="nested")
            await inner.__aenter__()
    (left,) = caught.value.scopes
    assert "left open" in left
    assert "'my test'" in str(caught.value)
    assert world.db.snapshot().scopes == ()
    with pytest.raises(Exception, match=r"ended|closed"):
        await session.execute(text("SELECT 1"))
    with pytest.raises(ScopeControls):
        await unit.__aexit__(None, None, None)
    async with boxed(world):
        assert await names(world) == []


async def test_a_connection_that_was_not_given_back_is_told_with_its_line(world: World) -> None:
    held: list[Any] = []
    with pytest.raises(SandboxLeak) as caught:
        async with boxed(world):
            if world.is_async:
                held.append(await world.db.async_engine.connect())
            else:
                held.append(world.db.engine.connect())
    (left,) = caught.value.connections
    assert HERE in left
    async with boxed(world):
        await add(world, "ann")
        assert await count(world) == 1
        if world.is_async:
            await held[0].close()
        else:
            held[0].close()
        assert await count(world) == 1


async def test_a_failing_block_keeps_its_error(world: World) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        async with boxed(world):
            await world.session().__aenter__()
            raise ZeroDivisionError
    assert "left open" in caught.value.__notes__[0]


async def test_a_scope_that_goes_back_takes_along_what_is_open_inside(world: World) -> None:
    async with boxed(world):
        outer_unit = world.session(name="outer")
        outer = await outer_unit.__aenter__()
        await outer.execute(text("SELECT 1"))
        inner_unit = world.session(name="inner", propagation="requires_new")
        inner = await inner_unit.__aenter__()
        inner.add(User(username="inner"))
        await inner.flush()
        await outer_unit.__aexit__(ZeroDivisionError, ZeroDivisionError(), None)
        with pytest.raises(RolledBack, match="rolled back while"):
            await inner_unit.__aexit__(None, None, None)
        assert await names(world) == []


async def test_a_scope_that_commits_before_what_is_open_inside(world: World) -> None:
    async with boxed(world):
        outer_unit = world.session(name="outer")
        outer = await outer_unit.__aenter__()
        outer.add(User(username="outer"))
        await outer.flush()
        inner_unit = world.session(name="inner", propagation="requires_new")
        inner = await inner_unit.__aenter__()
        inner.add(User(username="inner"))
        await inner.flush()
        await outer_unit.__aexit__(None, None, None)
        await inner_unit.__aexit__(ZeroDivisionError, ZeroDivisionError(), None)
        assert await names(world) == ["outer"]


async def test_what_such_a_scope_has_lost_is_told(world: World) -> None:
    with pytest.warns(SandboxWarning, match="'outer'.* had committed while .*'inner'"):
        async with boxed(world):
            outer_unit = world.session(name="outer")
            outer = await outer_unit.__aenter__()
            await outer.execute(text("SELECT 1"))
            inner_unit = world.session(name="inner", propagation="requires_new")
            inner = await inner_unit.__aenter__()
            inner.add(User(username="inner"))
            await inner.flush()
            outer.add(User(username="outer"))
            await outer_unit.__aexit__(None, None, None)
            await inner_unit.__aexit__(ZeroDivisionError, ZeroDivisionError(), None)
            assert await names(world) == []


async def test_what_had_committed_since_a_savepoint_is_told(world: World) -> None:
    with pytest.warns(SandboxWarning, match="savepoint") as caught:
        async with boxed(world):
            async with world.session(name="outer") as session:
                await session.execute(text("SELECT 1"))
                await add(world, "ann", name="before", propagation="requires_new")
                with pytest.raises(ZeroDivisionError):
                    async with session.begin_nested():
                        await session.execute(text("SELECT 1"))
                        await add(world, "bob", name="since", propagation="requires_new")
                        raise ZeroDivisionError
            assert await names(world) == ["ann"]
    (told,) = [str(each.message) for each in caught]
    assert "'since'" in told
    assert "'before'" not in told


@pytest.mark.parametrize("backend", _HAVING_LEVELS, indirect=True, ids=lambda each: each.name)
async def test_a_level_that_the_sandbox_has_not_is_told_of(world: World) -> None:
    with pytest.warns(SandboxWarning, match="SERIALIZABLE"):
        async with boxed(world):
            await add(world, "ann", isolation="SERIALIZABLE")
            assert await names(world) == ["ann"]
    async with boxed(world, isolation="SERIALIZABLE"):
        await add(world, "ann", isolation="SERIALIZABLE")


async def test_it_is_opened_once_at_a_time(world: World) -> None:
    async with boxed(world) as box:
        entered = box.__aenter__ if world.is_async else None
        with pytest.raises(SandboxError, match="open already"):
            if entered is None:
                box.__enter__()
            else:
                await entered()


async def test_sandboxes_side_by_side_see_their_own(world: World) -> None:
    together = world.backend.family != "sqlite"  # which has one writer at a time
    here, there = world.signal(), world.signal()

    async def party(name: str, mine: Any, other: Any) -> list[str]:
        async with boxed(world, name=name):
            await add(world, name)
            mine.set()
            if together:
                await other.wait()
            await add(world, f"{name}-2")
            return await names(world)

    found = await world.together(
        lambda: party("ann", here, there), lambda: party("bob", there, here)
    )
    assert found == [["ann", "ann-2"], ["bob", "bob-2"]]
    assert world.usernames() == []


def test_what_a_sandbox_cannot_be_is_refused_at_once() -> None:
    with Database("sqlite://") as db:
        with pytest.raises(InvalidOption):
            sandbox(db, isolation="READ COMMITTED")
        with pytest.raises(InvalidOption):
            sandbox(db, isolation="NONE")
        with pytest.raises(InvalidOption):
            sandbox(db, wait=-1.0)


def test_a_database_in_memory() -> None:
    with Database("sqlite://") as db:
        with db.session(propagation="not_supported") as session:
            session.execute("CREATE TABLE n (i INTEGER)")
        with sandbox(db):
            with db.session() as session:
                session.execute("INSERT INTO n VALUES (1)")
            with db.session(readonly=True) as session:
                assert session.scalar("SELECT count(*) FROM n") == 1
        with db.session(readonly=True) as session:
            assert session.scalar("SELECT count(*) FROM n") == 0
