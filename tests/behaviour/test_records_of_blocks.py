"""``db.record()`` and ``db.assert_statements()``: what a block sent, for tests."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from hermetic import Outcome
from tests.behaviour.aftermath import check_nothing_left, on
from tests.models import User
from tests.worlds import World

one_of_each_world = on(lambda backend: backend.name in ("psycopg", "asyncpg", "pymysql", "sqlite"))


async def test_a_record_has_the_scopes_and_statements_of_its_block(world: World) -> None:
    async with world.session(name="before") as session:
        await session.execute("SELECT 1")

    with world.db.record() as record:
        async with world.session(name="one") as session:
            await session.execute("SELECT 2")
        async with world.session(name="two") as session:
            session.add(User(username="ann"))
    async with world.session(name="after") as session:
        await session.execute("SELECT 3")

    assert [scope.name for scope in record.scopes] == ["one", "two"]
    assert [scope.outcome for scope in record.scopes] == [Outcome.COMMITTED] * 2
    assert [step.statement.split()[0] for step in record.statements] == ["SELECT", "INSERT"]
    record.assert_statements(exactly=2)
    await check_nothing_left(world)


@one_of_each_world
async def test_too_many_statements_are_listed(world: World) -> None:
    with pytest.raises(AssertionError) as raised, world.db.assert_statements(max=2):
        async with world.session(name="page") as session:
            for _ in range(3):
                await session.execute("SELECT   1")
            await session.scalars(select(User))

    said = str(raised.value).splitlines()
    assert said[0] == "4 statements, where at most 2 were expected:"
    assert "'page'" in said[1]
    assert said[2].strip() == "3 x SELECT 1"
    assert said[3].strip().startswith("1 x SELECT users.id")


@one_of_each_world
async def test_as_many_as_were_expected_pass(world: World) -> None:
    with world.db.assert_statements(min=1, max=2, exactly=2):
        async with world.session() as session:
            await session.execute("SELECT 1")
            await session.execute("SELECT 2")
    with pytest.raises(AssertionError, match="at least 1"), world.db.assert_statements(min=1):
        async with world.session():
            pass


@one_of_each_world
async def test_an_error_of_the_block_is_not_hidden_by_the_count(world: World) -> None:
    with pytest.raises(ZeroDivisionError), world.db.assert_statements(max=0):
        async with world.session() as session:
            await session.execute("SELECT 1")
            raise ZeroDivisionError


@one_of_each_world
async def test_of_a_scope_that_was_open_before_only_the_rest_is_recorded(world: World) -> None:
    async with world.session(name="outer") as session:
        await session.execute("SELECT 1")
        with world.db.record() as record:
            await session.execute("SELECT 2")
            inside = record.statements
        await session.execute("SELECT 3")

    assert [step.statement for step in inside] == ["SELECT 2"]
    assert [step.statement for step in record.statements] == ["SELECT 2"]
    assert record.scopes[0].outcome is None


@one_of_each_world
async def test_records_inside_each_other_each_have_their_own(world: World) -> None:
    async def read(text: str) -> Any:
        async with world.session() as session:
            await session.execute(text)

    with world.db.record() as outer:
        await read("SELECT 1")
        with world.db.record() as inner:
            await read("SELECT 2")
        await read("SELECT 3")

    assert [step.statement for step in inner.statements] == ["SELECT 2"]
    assert len(outer.statements) == 3


@one_of_each_world
async def test_after_the_block_nothing_is_written_down_any_more(world: World) -> None:
    with world.db.record():
        pass
    async with world.session() as session:
        await session.execute("SELECT 1")

    assert world.db.registry.watch is None
