"""What is inside a sandbox sees what is committed there, and nothing of it stays."""

from __future__ import annotations

import asyncio
import threading
from contextlib import nullcontext
from typing import Any

import pytest
from sqlalchemy import text

from hermetic import Outcome, ReadOnlyScope, RolledBack, UniqueViolation
from hermetic.testing import OutsideSandbox, SandboxWarning, outside
from tests.backends import ASYNC_BACKENDS
from tests.models import User
from tests.testing.boxes import add, boxed, count, names, send
from tests.worlds import World

INSERT = "INSERT INTO users (username, balance) VALUES ('{}', 0)"


class Failed(Exception):
    pass


async def test_what_is_committed_inside_is_seen_inside_and_gone_afterwards(world: World) -> None:
    world.do("INSERT INTO users (id, username, balance) VALUES (1000, 'there', 0)")
    async with boxed(world):
        session = await add(world, "ann")
        await add(world, "bob")
        assert session.outcome is Outcome.COMMITTED
        assert await names(world) == ["ann", "bob", "there"]
        assert await names(world, readonly=True) == ["ann", "bob", "there"]
        assert world.usernames() == ["there"]
    assert world.usernames() == ["there"]
    assert await names(world) == ["there"]


async def test_a_scope_that_fails_is_rolled_back_alone(world: World) -> None:
    async with boxed(world):
        await add(world, "ann")
        with pytest.raises(Failed):
            async with world.session() as session:
                session.add(User(username="gone"))
                await session.flush()
                raise Failed
        assert session.outcome is Outcome.NOT_COMMITTED
        with pytest.raises(UniqueViolation):
            await add(world, "bob", "ann")
        await add(world, "cid")
        assert await names(world) == ["ann", "cid"]


async def test_nested_scopes_are_savepoints_inside(world: World) -> None:
    async with boxed(world):
        async with world.session() as session:
            session.add(User(username="outer"))
            async with world.session(propagation="nested") as inner:
                inner.add(User(username="kept"))
            with pytest.raises(Failed):
                async with world.session(propagation="nested") as inner:
                    inner.add(User(username="undone"))
                    await inner.flush()
                    raise Failed
            await session.flush()
        assert await names(world) == ["kept", "outer"]
    assert world.usernames() == []


async def test_an_independent_scope_inside_has_an_outcome_of_its_own(world: World) -> None:
    async with boxed(world):
        async with world.session() as outer:
            outer.add(User(username="outer"))
            await outer.flush()
            inner = await add(world, "inner", propagation="requires_new")
            assert inner.outcome is Outcome.COMMITTED
            with pytest.raises(UniqueViolation):
                await add(world, "inner", propagation="requires_new")
            async with world.session(propagation="nested") as nested:
                nested.add(User(username="nested"))
                await nested.flush()
                await add(world, "deep", propagation="requires_new")
        assert await names(world) == ["deep", "inner", "nested", "outer"]


async def test_what_was_committed_inside_of_what_fails_is_told_of(world: World) -> None:
    with pytest.warns(SandboxWarning, match="had committed inside"):
        async with boxed(world):
            with pytest.raises(Failed):
                async with world.session() as outer:
                    outer.add(User(username="outer"))
                    await outer.flush()
                    await add(world, "log", propagation="requires_new")
                    raise Failed
            assert await names(world) == []


async def test_after_a_failed_statement_an_independent_scope_goes_on(world: World) -> None:
    """PostgreSQL has aborted the outer one by then, which has nothing to lose any more."""
    aborts = world.backend.family == "postgresql"
    with nullcontext() if aborts else pytest.warns(SandboxWarning):
        async with boxed(world):
            await add(world, "ann")
            with pytest.raises(UniqueViolation):
                async with world.session() as session:
                    try:
                        await session.execute(text(INSERT.format("ann")))
                    except UniqueViolation:
                        await add(world, "log", propagation="requires_new")
                        raise
            assert await names(world) == (["ann", "log"] if aborts else ["ann"])


async def test_writes_of_an_outer_scope_go_with_an_inner_one_that_fails(world: World) -> None:
    async with boxed(world):
        with pytest.raises(RolledBack, match="sent while"):
            async with world.session() as outer:
                await outer.execute(text("SELECT 1"))
                with pytest.raises(Failed):
                    async with world.session(propagation="requires_new") as inner:
                        inner.add(User(username="inner"))
                        await inner.flush()
                        outer.add(User(username="outer"))
                        await outer.flush()
                        raise Failed
        assert await names(world) == []


async def test_reads_and_writes_of_an_outer_scope_while_an_inner_one_commits(world: World) -> None:
    async with boxed(world):
        async with world.session() as outer:
            await outer.execute(text("SELECT 1"))
            async with world.session(propagation="requires_new") as inner:
                inner.add(User(username="inner"))
                await inner.flush()
                outer.add(User(username="outer"))
                await outer.flush()
        assert await names(world) == ["inner", "outer"]


async def test_a_read_only_scope_is_refused_a_write(world: World) -> None:
    async with boxed(world):
        async with world.session(readonly=True) as reader:
            await reader.execute(text("SELECT 1"))
            # an independent one may write, and the reader may not afterwards either
            await add(world, "ann", propagation="requires_new")
            with pytest.raises(ReadOnlyScope):
                await reader.execute(text("INSERT INTO users (username, balance) VALUES ('x', 0)"))
        with pytest.raises(ReadOnlyScope):
            await send(
                world, "INSERT INTO users (username, balance) VALUES ('x', 0)", readonly=True
            )
        await add(world, "bob")
        assert await names(world) == ["ann", "bob"]


async def test_a_unit_is_run_again_from_its_savepoint(world: World) -> None:
    from hermetic import RetryRequested

    runs = 0
    async with boxed(world):

        @world.unit(retry=3)
        async def work(session: Any) -> None:
            nonlocal runs
            runs += 1
            session.add(User(username=f"run-{runs}"))
            await session.flush()
            if runs < 3:
                raise RetryRequested("once more")

        await work()
        assert runs == 3
        assert await names(world) == ["run-3"]


async def test_hooks_run_where_they_would(world: World) -> None:
    heard: list[str] = []
    async with boxed(world):
        async with world.session() as session:
            session.add(User(username="ann"))
            session.before_commit(lambda: heard.append("before"))
            session.on_commit(lambda: heard.append("committed"))
            session.on_rollback(lambda: heard.append("rolled back"))
        assert heard == ["before", "committed"]
        with pytest.raises(Failed):
            async with world.session() as session:
                session.on_rollback(lambda: heard.append("rolled back"))
                await session.execute(text("SELECT 1"))
                raise Failed
    assert heard == ["before", "committed", "rolled back"]


async def test_a_scope_without_a_transaction_keeps_what_succeeded(world: World) -> None:
    async with boxed(world):
        with pytest.raises(Failed):
            async with world.session(propagation="not_supported") as session:
                await session.execute(text(INSERT.format("first")))
                with pytest.raises(UniqueViolation):
                    await session.execute(text(INSERT.format("first")))
                await session.execute(text(INSERT.format("second")))
                raise Failed
        assert await names(world) == ["first", "second"]
    assert world.usernames() == []


async def test_the_engine_is_inside_too(world: World) -> None:
    async with boxed(world):
        await add(world, "ann")
        insert = text("INSERT INTO users (username, balance) VALUES ('bob', 0)")
        if world.is_async:
            async with world.db.async_engine.begin() as connection:
                await connection.execute(insert)
        else:
            with world.db.engine.begin() as connection:
                connection.execute(insert)
        assert await names(world) == ["ann", "bob"]
    assert world.usernames() == []


async def test_one_after_the_other_on_one_connection(world: World) -> None:
    for number in range(4):
        async with boxed(world):
            assert await count(world) == 0
            await add(world, f"user-{number}")
    connections = [each for each in world.db.snapshot().connections if each.role == "sandbox"]
    assert len({each.number for each in connections}) == 1


async def test_deadlines_hold(world: World) -> None:
    from hermetic import DeadlineExceeded

    slow = {
        "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
        "SELECT count(*) FROM n",
        "postgresql": "SELECT pg_sleep(30)",
        "mariadb": "SELECT SLEEP(30)",
    }[world.backend.family]
    async with boxed(world):
        await add(world, "ann", timeout=30.0)
        with pytest.raises(DeadlineExceeded):
            await send(world, slow, timeout=0.2)
        # neither the limit nor the failure is left to those that follow
        await add(world, "bob")
        assert await names(world) == ["ann", "bob"]


async def test_outside_of_a_sandbox_a_scope_is_refused_or_meant(world: World) -> None:
    async def stranger() -> str:
        try:
            await add(world, "stranger")
        except OutsideSandbox as error:
            return str(error)
        return "let in"

    async with boxed(world, name="mine"):
        with outside():
            if world.backend.family != "sqlite":  # which has one writer at a time
                await add(world, "stays")
        if not world.is_async:
            (said,) = await world.together(stranger)
            assert "'mine'" in said
            assert "let_in" in said
    assert world.usernames() == ([] if world.backend.family == "sqlite" else ["stays"])


async def test_threads_and_tasks_that_are_let_in(world: World) -> None:
    async with boxed(world) as box:
        await add(world, "ann")
        if world.is_async:
            await asyncio.gather(*(add(world, f"task-{number}") for number in range(5)))
            assert await count(world) == 6
            return

        def work(number: int) -> None:
            with world.db.session() as session:
                session.add(User(username=f"thread-{number}"))

        def by_hand() -> None:
            with box.enter():
                work(9)

        threads = [threading.Thread(target=box.let_in(work), args=(n,)) for n in range(5)]
        threads.append(threading.Thread(target=by_hand))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert await count(world) == 7
    assert world.usernames() == []


@pytest.mark.parametrize("backend", ASYNC_BACKENDS, indirect=True, ids=lambda each: each.name)
async def test_tasks_started_inside_a_scope_are_inside_it(world: World) -> None:
    async with boxed(world):
        async with world.session() as session:
            session.add(User(username="outer"))
            await session.flush()
            await asyncio.gather(
                *(add(world, f"task-{n}", propagation="requires_new") for n in range(4))
            )
        assert await count(world) == 5
