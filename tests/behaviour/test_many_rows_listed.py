"""Many rows as lists in one statement: what a statement for each would have done."""

from __future__ import annotations

import pytest

from hermetic import FaultError, UniqueViolation
from tests.backends import BACKENDS
from tests.behaviour.manyrows import Thing, create
from tests.models import User
from tests.worlds import World


def on(*names: str) -> pytest.MarkDecorator:
    """Cases on these backends alone."""
    chosen = [pytest.param(each, id=each.name) for each in BACKENDS if each.name in names]
    return pytest.mark.parametrize("backend", chosen, indirect=True)


async def with_users(world: World, *names: str) -> None:
    async with world.session() as session:
        rows = [{"id": key, "username": name} for key, name in enumerate(names, 1)]
        await session.insert_many(User, rows)


@on("sqlite", "aiosqlite")
async def test_unique_values_that_move_on_are_taken_in_their_order(world: World) -> None:
    await with_users(world, "a", "b", "c")

    async with world.session() as session:
        moved = [{"id": 3, "username": "d"}, {"id": 2, "username": "c"}, {"id": 1, "username": "b"}]
        assert await session.update_many(User, moved) == 3

    assert world.usernames() == ["b", "c", "d"]


@on("sqlite", "aiosqlite")
async def test_of_a_refused_list_nothing_stays(world: World) -> None:
    await with_users(world, *(f"user {number}" for number in range(600)))
    before = world.usernames()

    async with world.session() as session:
        changes = [{"id": key, "username": f"new {key}"} for key in range(1, 601)]
        changes[500]["username"] = "new 7"
        with pytest.raises(UniqueViolation) as caught:
            await session.update_many(User, changes)
        assert caught.value.row == 500
        assert await session.update_many(User, [{"id": 1, "balance": 5}]) == 1

    assert world.usernames() == before


@on("sqlite", "aiosqlite")
async def test_the_last_of_several_changes_of_a_row_counts(world: World) -> None:
    await with_users(world, "a", "b")

    async with world.session() as session:
        changes = [{"id": 1, "balance": each} for each in (1, 2, 3)]
        await session.update_many(User, [*changes, {"id": 2, "balance": 9}])

    assert world.seen("SELECT balance FROM users ORDER BY id") == [(3,), (9,)]


@on("sqlite", "aiosqlite")
async def test_keys_that_are_no_numbers_of_the_database(world: World) -> None:
    await with_users(world, "a", "b", "c")

    async with world.session() as session:
        assert await session.delete_many(User, [True, 2.0]) == 2
    async with world.session() as session:
        with pytest.raises((FaultError, OverflowError)):
            await session.delete_many(User, [3, 2**70])

    assert world.usernames() == ["c"]


@on("pymysql", "mysqldb")
async def test_keys_of_several_lists_come_back_in_the_order_of_the_rows(world: World) -> None:
    create(world.observer)
    names = [f"{number * 7919 % 2100}" for number in range(2100)]

    async with world.session() as session:
        keys = await session.insert_many(Thing, [{"label": each} for each in names], returning=True)

    found = dict(world.seen("SELECT id, name FROM things"))
    assert [found[key] for key in keys] == names
