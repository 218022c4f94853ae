"""Rows whose values go to the server by columns: what comes of them is the same."""

from __future__ import annotations

import math
from typing import Any

import pytest

from hermetic import FaultError, InvalidRow, UniqueViolation
from tests.behaviour.manyrows import LabelData, LabelStruct, Pair, Thing, create
from tests.models import User
from tests.worlds import World

# what an array's literal has to quote, and what would be something else without quotes
ODD = [
    "",
    "NULL",
    "null",
    '"',
    "\\",
    '\\"',
    "{}",
    "{a,b}",
    "a,b",
    " ",
    "é\u2028",
    "%s",
    "\t\n",
    "'",
]


@pytest.fixture(autouse=True)
def tables(world: World) -> None:
    create(world.observer)


async def with_things(world: World, count: int) -> None:
    async with world.session() as session:
        rows = [{"label": f"thing {key}", "size": 1} for key in range(1, count + 1)]
        await session.insert_many(Thing, rows)


async def test_strings_of_every_kind_are_what_was_given(world: World) -> None:
    await with_things(world, len(ODD))

    async with world.session() as session:
        changes = [{"id": key, "touched": odd} for key, odd in enumerate(ODD, 1)]
        await session.update_many(Thing, changes)

    found = world.seen("SELECT touched FROM things ORDER BY id")
    assert [touched for (touched,) in found] == ODD


async def test_numbers_of_every_kind_are_what_was_given(world: World) -> None:
    weights = [0.0, -1.5, 1e300, 5e-324, 0.1, None, 1 / 3, 123456789.125]
    sizes = [0, -(2**31) + 1, 1, 2, 3, 4, 999, -7]
    await with_things(world, len(weights))

    async with world.session() as session:
        rows = [
            {"id": key, "weight": weight, "size": size, "ready": bool(key % 2)}
            for key, (weight, size) in enumerate(zip(weights, sizes, strict=True), 1)
        ]
        # a value of another type, as SQLAlchemy takes it
        rows[0]["weight"] = 0
        await session.update_many(Thing, rows)

    found = world.seen("SELECT weight, size, ready FROM things ORDER BY id")
    assert [(weight, size) for weight, size, _ in found] == list(zip(weights, sizes, strict=True))
    assert [bool(ready) for _, _, ready in found] == [bool(key % 2) for key in range(1, 9)]


async def test_what_is_no_number_of_the_server_is_refused(world: World) -> None:
    if world.backend.family == "sqlite":
        pytest.skip("SQLite takes any number")
    await with_things(world, 2)

    async with world.session() as session:
        with pytest.raises(FaultError):
            await session.update_many(Thing, [{"id": 1, "size": 5}, {"id": 2, "size": 2**31}])
        assert await session.delete_many(Thing, [1]) == 1

    assert world.seen("SELECT id, size FROM things") == [(2, 1)]


async def test_a_refused_row_behind_several_with_one_key_has_its_own_position(
    world: World,
) -> None:
    async with world.session() as session:
        rows = [{"id": key, "username": f"user {key}"} for key in (1, 2, 3)]
        await session.insert_many(User, rows)

    async with world.session() as session:
        changes = [
            {"id": 1, "username": "new"},
            {"id": 1, "username": "newer"},
            {"id": 2, "username": "user 3"},
        ]
        with pytest.raises(UniqueViolation) as caught:
            await session.update_many(User, changes)

    assert caught.value.row == 2
    assert world.usernames() == ["user 1", "user 2", "user 3"]


async def test_keys_come_back_of_rows_with_and_without_one(world: World) -> None:
    async with world.session() as session:
        rows: list[Any] = [{"id": None, "label": f"a {number}"} for number in range(3)]
        rows += [{"id": 900, "label": "b"}, {"id": None, "label": "c"}, {"label": "d", "size": 9}]
        keys = await session.insert_many(Thing, rows, returning=True)

    found = dict(world.seen("SELECT id, name FROM things"))
    assert [found[key] for key in keys] == ["a 0", "a 1", "a 2", "b", "c", "d"]
    assert keys[3] == 900


async def test_records_are_taken_apart_like_dicts(world: World) -> None:
    await with_things(world, 4)

    async with world.session() as session:
        one = Thing(label="of the class")
        rows = [LabelData(5, "data"), LabelStruct("struct", 6), one, {"label": "dict", "size": 8}]
        keys = await session.insert_many(Thing, rows, returning=True)
        assert one.id == keys[2]
        changes = [LabelData(11, "data 1", 1), LabelData(12, "data 2", 2)]
        assert await session.update_many(Thing, changes) == 2
        assert await session.delete_many(Thing, [LabelData(0, "", 3), {"id": 4}]) == 2

    found = world.seen("SELECT name, size FROM things ORDER BY id")
    assert found[:2] == [("data 1", 11), ("data 2", 12)]
    assert found[2:] == [("data", 5), ("struct", 6), ("of the class", 7), ("dict", 8)]


async def test_rows_that_lack_a_field_are_still_told(world: World) -> None:
    await with_things(world, 3)

    async with world.session() as session:
        with pytest.raises(InvalidRow) as caught:
            await session.update_many(Thing, [{"id": 1, "size": 2}, {"size": 3, "label": "x"}])
        assert caught.value.row == 1


async def test_keys_of_two_columns_are_found_and_given_once(world: World) -> None:
    async with world.session() as session:
        await session.insert_many(Pair, [{"a": n, "b": -n, "note": "x"} for n in range(300)])

    async with world.session() as session:
        changes = [{"a": n, "b": -n, "note": f"n {n}"} for n in range(300)]
        changes += [{"a": 7, "b": -7, "note": "last"}]
        assert await session.update_many(Pair, changes, batch=301) >= 300
        assert await session.delete_many(Pair, [(-n, n) for n in range(100, 300)]) == 200

    found = dict(world.seen("SELECT a, note FROM pairs"))
    assert found == {n: f"n {n}" for n in range(100)} | {7: "last"}


async def test_a_generator_that_raises_in_a_later_batch_leaves_nothing(world: World) -> None:
    await with_things(world, 60)

    def changes() -> Any:
        for key in range(1, 61):
            if key == 50:
                raise RuntimeError("no more")
            yield key

    async with world.session() as session:
        with pytest.raises(RuntimeError, match="no more"):
            await session.delete_many(Thing, changes(), batch=20)
        assert await session.delete_many(Thing, [60]) == 1

    assert world.seen("SELECT count(*) FROM things") == [(59,)]


async def test_infinities_are_kept_where_the_server_has_them(world: World) -> None:
    if world.backend.family != "postgresql":
        pytest.skip("no infinite numbers")
    await with_things(world, 3)

    async with world.session() as session:
        values = [math.inf, -math.inf, math.nan]
        rows = [{"id": key, "weight": value} for key, value in enumerate(values, 1)]
        await session.update_many(Thing, rows)

    found = [weight for (weight,) in world.seen("SELECT weight FROM things ORDER BY id")]
    assert found[:2] == [math.inf, -math.inf]
    assert math.isnan(found[2])
