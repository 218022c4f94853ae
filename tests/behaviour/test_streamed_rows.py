"""Rows as plain objects, fetched as they are gone through."""

from __future__ import annotations

import contextlib
import tracemalloc
import warnings
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple

import pytest
from sqlalchemy import func, select, text

from hermetic import ConfigurationError, ScopeEnded, ScopeError
from tests.models import User
from tests.worlds import World


class Name(NamedTuple):
    id: int
    username: str


async def filled(world: World, rows: int) -> None:
    async with world.session() as session:
        await session.insert_many(User, ({"username": f"u{n}"} for n in range(rows)))


def streamed(session: Any, statement: Any, **more: Any) -> Any:
    return session.rows(statement, into=Name, stream=True, **more)


async def through(rows: Any) -> AsyncGenerator[Any]:
    """An iterator of either world."""
    if hasattr(rows, "__aiter__"):
        async for row in rows:
            yield row
    else:
        for row in rows:
            yield row


async def closed(rows: Any) -> None:
    if hasattr(rows, "aclose"):
        await rows.aclose()
    else:
        rows.close()


@pytest.mark.parametrize(
    "statement", [select(User), text("SELECT id, username FROM users ORDER BY id")]
)
async def test_all_rows_come_in_order(world: World, statement: Any) -> None:
    await filled(world, 250)
    if statement.is_select:
        statement = statement.order_by(User.id)
    async with world.session() as session:
        found = [row async for row in through(streamed(session, statement, batch=100))]
        assert [row.username for row in found] == [f"u{n}" for n in range(250)]
        assert all(type(row) is Name for row in found)


async def test_a_stream_that_is_left_early_leaves_the_scope_usable(world: World) -> None:
    await filled(world, 250)
    async with world.session() as session:
        rows = streamed(session, select(User), batch=10)
        async with contextlib.aclosing(through(rows)) as some:
            async for _ in some:
                break
        await closed(rows)
        session.add(User(username="afterwards"))
    assert "afterwards" in world.usernames()


async def test_other_statements_meanwhile(world: World) -> None:
    await filled(world, 50)
    async with world.session() as session:
        rows = streamed(session, select(User).order_by(User.id), batch=10)
        seen: list[int] = []

        async def go_through() -> None:
            async for row in through(rows):
                seen.append(row.id)
                if len(seen) == 5:
                    await session.execute(text("SELECT 1"))

        if world.backend.family == "mariadb":
            with warnings.catch_warnings(), pytest.raises(ScopeError, match="lost"):
                warnings.simplefilter("ignore")
                await go_through()
        else:
            await go_through()
            assert len(seen) == 50
        await closed(rows)


@pytest.mark.parametrize("begun", [True, False])
async def test_a_scope_that_fails_in_the_middle_of_a_stream_ends(world: World, begun: bool) -> None:
    await filled(world, 250)
    with pytest.raises(ZeroDivisionError):
        async with world.session() as session:
            session.add(User(username="never"))
            await session.flush()
            rows = streamed(session, select(User), batch=10)
            walk = through(rows)
            if begun:
                await anext(walk)
            raise ZeroDivisionError
    await closed(rows)
    async with world.session() as session:
        assert await session.scalar(select(func.count(User.id))) == 250
    assert world.db.snapshot().connections


async def test_a_stream_is_over_with_its_scope(world: World) -> None:
    await filled(world, 30)
    async with world.session() as session:
        rows = streamed(session, select(User), batch=10)
        walk = through(rows)
        for _ in range(30):
            await anext(walk)
    with pytest.raises(ScopeEnded):
        await anext(walk)


async def test_a_class_that_does_not_fit_is_refused_at_once(world: World) -> None:
    async with world.session() as session:
        with pytest.raises(ConfigurationError, match="no column for the field 'username'"):
            async for _ in through(streamed(session, select(User.id))):
                pass
        assert session.scope.statements == 0


async def test_memory_does_not_grow_with_the_rows(world: World) -> None:
    if world.backend.name not in ("sqlite", "psycopg", "pymysql"):
        pytest.skip("the same code fetches the rows")
    await filled(world, 4000)

    async def peak(limit: int) -> int:
        async with world.session() as session:
            tracemalloc.start()
            try:
                statement = select(User).where(User.id <= limit)
                async for _ in through(streamed(session, statement, batch=100)):
                    pass
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    await peak(400)
    few, many = await peak(400), await peak(4000)
    assert many < 1.5 * few
