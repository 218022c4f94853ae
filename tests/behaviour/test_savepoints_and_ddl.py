"""Savepoints and DDL, and whatever comes first in a transaction of SQLite."""

from __future__ import annotations

import pytest

from hermetic import Outcome, ScopeControls
from tests.behaviour.aftermath import check_nothing_left, on_mariadb, on_postgresql, on_sqlite
from tests.behaviour.watching import Boom, Sent
from tests.models import User
from tests.worlds import World


def tables(world: World) -> set[str]:
    return {row[0] for row in world.seen("SELECT name FROM sqlite_master WHERE type = 'table'")}


@on_sqlite
@pytest.mark.parametrize(
    "first",
    [
        "SELECT 1",
        "CREATE TABLE things (id INTEGER PRIMARY KEY)",
        "INSERT INTO users (username, balance) VALUES ('first', 0)",
        "PRAGMA user_version",
    ],
)
async def test_a_savepoint_after_any_first_statement_is_inside_the_transaction(
    world: World, first: str
) -> None:
    with pytest.raises(Boom):
        async with world.session() as session:
            await session.execute(first)
            async with session.begin_nested():
                await session.execute("CREATE TABLE inner_things (id INTEGER PRIMARY KEY)")
            raise Boom

    assert tables(world) == {"users", "orders"}
    assert world.usernames() == []


@on_sqlite
async def test_ddl_in_a_savepoint_is_undone_with_it(world: World) -> None:
    async with world.session() as session:
        await session.execute("CREATE TABLE kept (id INTEGER PRIMARY KEY)")
        with pytest.raises(Boom):
            async with world.session(propagation="nested") as inner:
                await inner.execute("CREATE TABLE dropped (id INTEGER PRIMARY KEY)")
                raise Boom

    assert tables(world) == {"users", "orders", "kept"}


@on_mariadb
async def test_ddl_that_would_commit_is_refused_before_it_is_sent(world: World) -> None:
    sent = Sent(world)

    with pytest.raises(ScopeControls, match="CREATE TABLE"):
        async with world.session() as session:
            session.add(User(username="before"))
            async with world.session(propagation="nested") as inner:
                await inner.execute("CREATE TABLE things (id INTEGER PRIMARY KEY)")

    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    assert "COMMIT" not in sent.statements
    await check_nothing_left(world)


@on_mariadb
async def test_ddl_runs_in_a_scope_without_a_transaction(world: World) -> None:
    async with world.session(propagation="not_supported") as session:
        await session.execute("CREATE TABLE things (id INTEGER PRIMARY KEY)")

    assert world.seen("SELECT count(*) FROM things") == [(0,)]


@on_postgresql
async def test_ddl_of_postgresql_is_undone_with_its_savepoint(world: World) -> None:
    async with world.session() as session:
        await session.execute("CREATE TABLE kept (id INTEGER PRIMARY KEY)")
        with pytest.raises(Boom):
            async with world.session(propagation="nested") as inner:
                await inner.execute("CREATE TABLE dropped (id INTEGER PRIMARY KEY)")
                raise Boom

    assert world.seen("SELECT to_regclass('kept') IS NULL, to_regclass('dropped') IS NULL") == [
        (False, True)
    ]
