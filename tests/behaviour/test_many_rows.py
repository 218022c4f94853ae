"""Many rows written at once: right, whole or not at all, and the scope goes on."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, func, insert, select, text
from sqlalchemy.orm import Session

from hermetic import (
    CheckViolation,
    ConfigurationError,
    FaultError,
    ForeignKeyViolation,
    InvalidData,
    InvalidOption,
    InvalidRow,
    NotNullViolation,
    OnConflict,
    Progress,
    ReadOnlyScope,
    ScopeControls,
    UniqueViolation,
)
from tests.behaviour.manyrows import (
    METADATA,
    Animal,
    Colour,
    Counted,
    Dog,
    Label,
    LabelData,
    LabelStruct,
    Maker,
    Pair,
    Thing,
    Worker,
    create,
    thing,
)
from tests.worlds import World


@pytest.fixture(autouse=True)
def tables(world: World) -> None:
    create(world.observer)


def labels(world: World) -> list[str]:
    return [row[0] for row in world.seen("SELECT name FROM things ORDER BY id")]


def count(world: World, table: str = "things") -> int:
    found: int = world.seen(f"SELECT count(*) FROM {table}")[0][0]
    return found


# ---------------------------------------------------------------- what is written


async def test_rows_are_those_that_sqlalchemy_would_write(world: World) -> None:
    rows = [thing(number) for number in range(230)]
    columns = [column for column in Thing.__table__.c if column.name not in ("id", "token")]
    with Session(world.observer) as plain:
        plain.execute(insert(Thing), rows)
        expected = plain.execute(select(*columns).order_by(Thing.id)).all()
        plain.execute(text("DELETE FROM things"))
        plain.commit()
    async with world.session() as session:
        assert await session.insert_many(Thing, rows) == 230
    with Session(world.observer) as plain:
        found = plain.execute(select(*columns).order_by(Thing.id)).all()
        tokens = plain.scalars(select(func.count(Thing.token.distinct()))).one()
    assert found == expected
    assert tokens == 230  # a default is made for each row


async def test_rows_of_every_kind(world: World) -> None:
    kinds: list[Any] = [dict, Label, LabelData, LabelStruct, Thing]
    rows = [
        kind(label=f"{number}{kind.__name__}", size=number) for kind in kinds for number in range(3)
    ]
    rows += [kind(label=f"mixed {n}", size=3) for n, kind in enumerate(kinds)]
    async with world.session() as session:
        await session.insert_many(Thing, rows)
        assert not session.sync_session.new
    assert world.seen("SELECT name, size FROM things ORDER BY id") == [
        *((f"{number}{kind.__name__}", number) for kind in kinds for number in range(3)),
        *((f"mixed {number}", 3) for number in range(5)),
    ]


async def test_an_absent_key_is_the_default_and_none_is_null(world: World) -> None:
    rows: list[dict[str, Any]] = [
        {"label": "a"},
        {"label": "b", "size": 3, "ready": True},
        {"size": 4, "label": "c", "lower": None},
        {"label": "d", "weight": None},
    ]
    async with world.session() as session:
        await session.insert_many(Thing, rows)
    found = world.seen("SELECT name, size, ready, lower FROM things ORDER BY id")
    assert [(a, b, bool(c), d) for a, b, c, d in found] == [
        ("a", 7, False, "by the server"),
        ("b", 3, True, "by the server"),
        ("c", 4, False, None),
        ("d", 7, False, "by the server"),
    ]


async def test_a_generator_is_taken_batch_by_batch(world: World) -> None:
    told: list[Progress] = []
    given: list[int] = []

    def rows() -> Iterator[dict[str, Any]]:
        for number in range(25):
            given.append(number)
            yield {"label": f"t{number}"}

    def tell(record: Progress) -> None:
        told.append(record)
        assert len(given) <= record.done + 10

    async with world.session() as session:
        assert await session.insert_many(Thing, rows(), batch=10, progress=tell) == 25
    assert [each.done for each in told] == [10, 20, 25, 25]
    assert count(world) == 25


async def test_rows_that_come_one_by_one_are_awaited(world: World) -> None:
    if not world.is_async:
        pytest.skip("threads await nothing")

    async def rows() -> AsyncIterator[Label]:
        for number in range(25):
            yield Label(f"t{number}", number)

    async with world.session() as session:
        assert await session.insert_many(Thing, rows(), batch=10) == 25
    assert count(world) == 25


async def test_no_rows_send_nothing(world: World) -> None:
    async with world.session() as session:
        assert await session.insert_many(Thing, []) == 0
        assert await session.insert_many(Thing, [], returning=True) == []
        assert await session.update_many(Thing, []) == 0
        assert await session.delete_many(Thing, []) == 0
        assert session.scope.statements == 0


async def test_pending_objects_are_flushed_first(world: World) -> None:
    async with world.session() as session:
        session.add(Maker(id=3))
        await session.insert_many(Thing, [{"label": "a", "maker_id": 3}])
    assert world.seen("SELECT maker_id FROM things") == [(3,)]


async def test_a_discriminator_and_a_first_version_are_set(world: World) -> None:
    async with world.session() as session:
        await session.insert_many(Dog, [{"name": "rex"}])
        await session.insert_many(Animal, [{"name": "cat"}])
        await session.insert_many(Counted, [{"name": "a"}])
        assert (await session.scalars(select(Dog.name))).all() == ["rex"]
    assert world.seen("SELECT version FROM counted") == [(1,)]
    assert world.seen("SELECT kind FROM animals ORDER BY id") == [("dog",), ("animal",)]


# ---------------------------------------------------------------- keys


async def test_keys_come_back_in_the_order_of_the_rows(world: World) -> None:
    rows = 230
    async with world.session() as session:
        given = [{"label": f"t{number}", "size": number} for number in range(rows)]
        keys = await session.insert_many(Thing, given, returning=True, batch=100)
        found = (await session.execute(select(Thing.id, Thing.size).order_by(Thing.size))).all()
    assert keys == [row.id for row in found]
    assert len(keys) == rows


async def test_objects_get_their_keys(world: World) -> None:
    things = [Thing(label=f"t{number}") for number in range(3)]
    async with world.session() as session:
        keys = await session.insert_many(Thing, things, returning=True)
    assert [each.id for each in things] == keys
    assert world.seen("SELECT id, name FROM things ORDER BY id") == [
        (each.id, each.label) for each in things
    ]


async def test_columns_come_back(world: World) -> None:
    async with world.session() as session:
        found = await session.insert_many(
            Thing, [{"label": "a"}, {"label": "b", "size": 2}], returning=["label", Thing.size]
        )
    assert found == [("a", 7), ("b", 2)]


async def test_keys_that_were_given_come_back(world: World) -> None:
    async with world.session() as session:
        rows = [{"a": number, "b": -number, "note": "x"} for number in range(120)]
        found = await session.insert_many(Pair, rows, returning=True)
    assert found == [(-number, number) for number in range(120)]


# ---------------------------------------------------------------- conflicts


async def test_rows_in_conflict_are_ignored_or_update(world: World) -> None:
    async with world.session() as session:
        await session.insert_many(Thing, [{"id": 1, "label": "a"}, {"id": 2, "label": "b"}])
        loaded = await session.get(Thing, 2)
        await session.insert_many(
            Thing, [{"id": 1, "label": "a", "size": 9}, {"id": 3, "label": "c"}],
            on_conflict="ignore",
        )  # fmt: skip
        await session.insert_many(
            Thing, [{"id": 2, "label": "b", "size": 5}, {"id": 4, "label": "d"}],
            on_conflict=OnConflict(update=["size"]),
        )  # fmt: skip
        await session.refresh(loaded)
        assert loaded.size == 5
    assert world.seen("SELECT id, size FROM things ORDER BY id") == [(1, 7), (2, 5), (3, 7), (4, 7)]


async def test_objects_that_were_updated_are_loaded_again(world: World) -> None:
    async with world.session() as session:
        await session.insert_many(Thing, [{"id": 1, "label": "a", "size": 1}])
        loaded = await session.get(Thing, 1)
        await session.insert_many(Thing, [{"id": 1, "label": "a", "size": 2}], on_conflict="update")
        found = await session.scalars(select(Thing))
        assert [each.size for each in found] == [2]
        assert loaded.size == 2


async def test_keys_of_rows_in_conflict_are_not_guessed(world: World) -> None:
    async with world.session() as session:
        given = await session.insert_many(
            Thing, [{"id": 5, "label": "a"}], on_conflict="update", returning=True
        )
        assert given == [5]
        with pytest.raises(ConfigurationError, match="in conflict"):
            await session.insert_many(
                Thing, [{"label": "a"}], on_conflict=OnConflict(key="label"), returning=True
            )
    assert labels(world) == ["a"]


# ---------------------------------------------------------------- update, delete


async def test_rows_are_updated_by_their_keys(world: World) -> None:
    rows = 700
    async with world.session() as session:
        given = [{"id": number, "label": f"t{number}"} for number in range(1, rows + 1)]
        await session.insert_many(Thing, given)
        loaded = await session.get(Thing, 2)
        changes = [thing(n, id=n, label=f"new {n}", price=None) for n in range(1, rows)]
        matched = await session.update_many(Thing, [*changes, {"id": rows + 9, "label": "nobody"}])
        assert matched == rows - 1
        await session.refresh(loaded)
        assert loaded.label == "new 2"
    with Session(world.observer) as plain:
        found = plain.scalars(select(Thing).order_by(Thing.id)).all()
    for number, row in enumerate(found[:-1], 1):
        expected = thing(number, label=f"new {number}", price=None, touched="touched")
        assert {name: getattr(row, name) for name in expected if name != "label"} == {
            name: value.lower() if name == "shouted" else value
            for name, value in expected.items()
            if name != "label"
        }
        assert row.label == f"new {number}"
    assert (found[-1].label, found[-1].touched) == (f"t{rows}", None)


async def test_rows_with_different_changes(world: World) -> None:
    async with world.session() as session:
        await session.insert_many(
            Thing, [{"id": n, "label": f"t{n}", "size": n} for n in (1, 2, 3)]
        )
        await session.update_many(
            Thing,
            [
                {"id": 1, "size": 50},
                {"id": 2, "label": "two"},
                {"id": 1, "size": 51},
                {"id": 3, "size": 53},
                {"id": 3, "size": 54},
            ],
        )
    assert world.seen("SELECT name, size FROM things ORDER BY id") == [
        ("t1", 51), ("two", 2), ("t3", 54),
    ]  # fmt: skip


async def test_rows_are_found_by_another_key(world: World) -> None:
    async with world.session() as session:
        await session.insert_many(Thing, [{"label": "a"}, {"label": "b"}, {"label": "c"}])
        assert await session.update_many(Thing, [{"label": "b", "size": 1}], key="label") == 1
        assert await session.delete_many(Thing, ["a", "nobody"], key="label") == 1
    assert world.seen("SELECT name, size FROM things ORDER BY id") == [("b", 1), ("c", 7)]


async def test_rows_are_deleted_by_their_keys(world: World) -> None:
    async with world.session() as session:
        await session.insert_many(Thing, [{"id": n, "label": f"t{n}"} for n in range(1, 301)])
        first = await session.get(Thing, 1)
        assert await session.delete_many(Thing, (n for n in range(1, 299))) == 298
        assert first not in session.sync_session
        last = await session.get(Thing, 300)
        assert await session.delete_many(Thing, [last, {"id": 299, "label": "?"}]) == 2
        assert await session.get(Thing, 300) is None
    assert count(world) == 0


async def test_keys_of_several_columns(world: World) -> None:
    async with world.session() as session:
        await session.insert_many(Pair, [{"a": n % 3, "b": n} for n in range(9)])
        assert await session.update_many(Pair, [{"a": 1, "b": 1, "note": "x"}]) == 1
        # a key is in the order of the primary key
        assert await session.delete_many(Pair, [(0, 0), (2, 2), (2, 1)]) == 2
    assert count(world, "pairs") == 7
    assert world.seen("SELECT a, b FROM pairs WHERE note = 'x'") == [(1, 1)]


async def test_a_class_that_shares_its_table_reaches_its_own_rows_alone(world: World) -> None:
    async with world.session() as session:
        keys = await session.insert_many(Animal, [{"name": "cat"}], returning=True)
        assert await session.update_many(Dog, [{"id": keys[0], "name": "rex"}]) == 0
        assert await session.delete_many(Dog, keys) == 0
    assert world.seen("SELECT name FROM animals") == [("cat",)]


# ---------------------------------------------------------------- refusals of the database

REFUSED: dict[str, tuple[Any, type[FaultError]]] = {
    "unique": ({"label": "there"}, UniqueViolation),
    "not null": ({"label": None}, NotNullViolation),
    "foreign": ({"label": "x", "maker_id": 99}, ForeignKeyViolation),
    "check": ({"label": "x", "size": 5000}, CheckViolation),
    "too long": ({"label": "x" * 21}, InvalidData),
    "wrong type": ({"label": "x", "size": "many"}, InvalidData),
}


async def test_a_refused_row_is_named_and_nothing_is_written(world: World) -> None:
    async with world.session() as session:
        session.add(Thing(label="there"))
        await session.flush()
        for what, (wrong, error) in REFUSED.items():
            if world.backend.family == "sqlite" and what in ("too long", "wrong type", "foreign"):
                continue  # SQLite takes it, and does not look at foreign keys
            for place in (0, 6, 129):
                rows = [{"label": f"t{n}", "size": 1, "maker_id": None} for n in range(130)]
                rows[place] |= {"label": "x", **wrong}
                with pytest.raises(error) as caught:
                    await session.insert_many(Thing, rows, batch=50 if place == 6 else 500)
                assert await session.scalar(select(func.count(Thing.id))) == 1
                check_named(world, caught.value, what, place)
        session.add(Thing(label="afterwards"))
    assert labels(world) == ["there", "afterwards"]


def check_named(world: World, error: FaultError, what: str, place: int) -> None:
    if error.row is not None:
        assert error.row == place
        assert f"row {place} of insert_many(Thing)" in str(error)
    else:
        # of a check and of a value PostgreSQL does not say more where it is no COPY
        assert world.backend.family == "postgresql"
        assert what in ("check", "too long", "wrong type")
        assert "one of the rows" in str(error)
    assert "CONTEXT:  COPY" not in str(error)


async def test_a_row_that_meets_another_of_the_same_call(world: World) -> None:
    rows = [{"label": f"t{number}"} for number in range(130)]
    rows[127] = {"label": "t5"}
    async with world.session() as session:
        with pytest.raises(UniqueViolation) as caught:
            await session.insert_many(Thing, rows, batch=60)
        assert caught.value.row == 127
        # where the keys are asked for, the rows may go by another way
        with pytest.raises(UniqueViolation) as caught:
            await session.insert_many(Thing, rows, batch=60, returning=True)
        assert caught.value.row == 127
    assert count(world) == 0


@pytest.mark.parametrize("method", ["update_many", "delete_many"])
async def test_a_refused_change_is_named_and_nothing_is_changed(world: World, method: str) -> None:
    async with world.session() as session:
        await session.insert_many(Maker, [{"id": n} for n in range(1, 10)])
        await session.insert_many(Thing, [{"id": n, "label": f"t{n}"} for n in range(1, 10)])
        await session.update_many(Thing, [{"id": 1, "maker_id": 4}])
    async with world.session() as session:
        caught: pytest.ExceptionInfo[Any]
        if method == "update_many":
            with pytest.raises(UniqueViolation) as caught:
                changes = [{"id": n, "label": "t1" if n == 5 else f"u{n}"} for n in range(2, 9)]
                await session.update_many(Thing, changes)
        elif world.backend.family == "sqlite":
            pytest.skip("SQLite does not look at foreign keys")
        else:
            with pytest.raises(ForeignKeyViolation) as caught:
                await session.delete_many(Maker, range(1, 10))
        assert caught.value.row == 3
    assert labels(world) == [f"t{n}" for n in range(1, 10)]
    assert count(world, "makers") == 9


async def test_an_error_of_the_iterable_leaves_nothing(world: World) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield from ({"label": f"t{number}"} for number in range(25))
        raise KeyError("no more")

    async with world.session() as session:
        with pytest.raises(KeyError):
            await session.insert_many(Thing, rows(), batch=10)
        session.add(Thing(label="afterwards"))
    assert labels(world) == ["afterwards"]


async def test_a_session_out_of_a_scope_writes_and_rolls_back(world: World) -> None:
    async with world.session() as session:
        await session.insert_many(Thing, [{"label": "kept"}])
    with pytest.raises(ZeroDivisionError):
        async with world.session() as session:
            await session.insert_many(Thing, [{"label": f"t{n}"} for n in range(200)])
            raise ZeroDivisionError
    assert labels(world) == ["kept"]


# ---------------------------------------------------------------- bad input


WRONG: list[tuple[list[Any], str | None, int]] = [
    ([{"label": "a"}, {"lable": "b"}], "lable", 1),
    ([{"label": "a"}, {"label": "b", "colr": 1}], "colr", 1),
    ([{"size": 1}], "label", 0),
    ([{"label": "a"}] * 3 + [{"size": 3}], "label", 3),
    ([{"label": "a"}, 7], None, 1),
    ([("a", 1)], None, 0),
    ([{"label": "a", "colour": 7}], "colour", 0),
    ([Thing(label="a", maker=Maker(id=1))], "maker", 0),
]


async def test_a_wrong_row_is_refused_with_its_position(world: World) -> None:
    async with world.session() as session:
        for rows, field, row in WRONG:
            with pytest.raises(InvalidRow) as caught:
                await session.insert_many(Thing, rows)
            assert (caught.value.row, caught.value.field) == (row, field)
    assert count(world) == 0


async def test_what_cannot_be_written_is_refused(world: World) -> None:
    async with world.session() as session:
        with pytest.raises(ConfigurationError, match="several tables"):
            await session.insert_many(Worker, [{"id": 1}])
        with pytest.raises(ConfigurationError, match="neither"):
            await session.insert_many(Label, [{"label": "a"}])
        with pytest.raises(ConfigurationError, match="version_id_col"):
            await session.update_many(Counted, [{"id": 1, "name": "b"}])
        with pytest.raises(InvalidRow, match="nothing but its key"):
            await session.update_many(Thing, [{"id": 1}])
        with pytest.raises(InvalidRow, match="no 'id'"):
            await session.update_many(Thing, [{"label": "a"}])
        with pytest.raises(InvalidOption, match="batch=0"):
            await session.insert_many(Thing, [{"label": "a"}], batch=0)
        with pytest.raises(InvalidOption, match="colr"):
            await session.insert_many(Thing, [{"label": "a"}], returning=["colr"])
        with pytest.raises(InvalidOption, match="colr"):
            await session.update_many(Thing, [{"label": "a"}], key="colr")
        assert session.scope.statements == 0


async def test_a_read_only_scope_writes_none(world: World) -> None:
    async with world.session(readonly=True) as session:
        for call in (session.insert_many, session.update_many, session.delete_many):
            with pytest.raises(ReadOnlyScope, match="rows of Thing"):
                await call(Thing, [{"id": 1, "label": "a"}])
        assert session.scope.statements == 0


async def test_a_scope_without_a_transaction_writes_none(world: World) -> None:
    async with world.session(propagation="not_supported") as session:
        with pytest.raises(ScopeControls, match="no transaction"):
            await session.insert_many(Thing, [{"label": "a"}])


# ---------------------------------------------------------------- whatever else listens


async def test_an_engine_that_is_listened_to_shows_every_statement(world: World) -> None:
    from sqlalchemy import event

    seen: list[str] = []

    def note(conn: Connection, cursor: Any, statement: str, *more: Any) -> None:
        seen.append(statement)

    engine = world.db.async_engine.sync_engine if world.is_async else world.db.engine
    event.listen(engine, "before_cursor_execute", note)
    async with world.session() as session:
        await session.insert_many(Thing, [{"label": f"t{n}"} for n in range(300)])
    assert any(each.startswith("INSERT INTO things") for each in seen)
    assert count(world) == 300


async def test_memory_does_not_grow_with_the_rows(world: World) -> None:
    if world.backend.name not in ("sqlite", "psycopg", "pymysql"):
        pytest.skip("the same code reads the rows")

    def rows(number: int) -> Iterator[dict[str, Any]]:
        for each in range(number):
            yield {"label": f"t{each}", "size": 1}

    async def peak(number: int) -> int:
        async with world.session() as session:
            tracemalloc.start()
            try:
                await session.insert_many(Thing, rows(number), batch=200)
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
                await session.execute(text("DELETE FROM things"))

    await peak(400)
    few, many = await peak(800), await peak(8000)
    assert many < 1.5 * few


# ---------------------------------------------------------------- rows at random

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "size": st.integers(-(2**31), 999),
    "colour": st.none() | st.sampled_from(Colour),
    "shouted": st.none()
    | st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=20),
    "ready": st.booleans(),
    "weight": st.none() | st.floats(-1e9, 1e9, width=32),
    "more": st.dictionaries(st.sampled_from("ab"), st.none() | st.integers(-9, 9)),
    "raw": st.none() | st.binary(max_size=9),
    "lower": st.none() | st.sampled_from(["x", "\\N", "NULL", "", "\t", "%s"]),
}


@st.composite
def random_rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    shapes = st.lists(st.sets(st.sampled_from(sorted(VALUES))), min_size=1, max_size=3)
    chosen = draw(shapes)
    rows = draw(st.lists(st.sampled_from(range(len(chosen))), min_size=1, max_size=8))
    return [
        {"label": f"t{number}", **{name: draw(VALUES[name]) for name in sorted(chosen[shape])}}
        for number, shape in enumerate(rows)
    ]


async def test_random_rows_are_those_that_sqlalchemy_would_write(world: World) -> None:
    """Of several shapes at once, each row as if it had been inserted by itself."""
    if world.backend.name not in ("sqlite", "psycopg", "asyncpg", "pymysql"):
        pytest.skip("the same way of sending")
    columns = [column for column in Thing.__table__.c if column.name not in ("id", "token")]
    query = select(*columns).order_by(Thing.label)
    examples: list[list[dict[str, Any]]] = []

    @settings(max_examples=6, deadline=None, database=None, derandomize=True)
    @given(random_rows())
    def collect(rows: list[dict[str, Any]]) -> None:
        examples.append(rows)

    collect()
    for rows in examples:
        with Session(world.observer) as plain:
            plain.execute(text("DELETE FROM things"))
            for row in rows:
                # Core's, for which None is NULL
                named = {"name" if name == "label" else name: row[name] for name in row}
                plain.execute(insert(METADATA.tables["things"]), named)
            expected = plain.execute(query).all()
            plain.rollback()
        # enough of them for a COPY
        for repeated in (1, 30):
            many = [
                {**row, "label": f"{row['label']}-{each}"}
                for each in range(repeated)
                for row in rows
            ]
            async with world.session() as session:
                await session.execute(text("DELETE FROM things"))
                await session.insert_many(Thing, many)
            with Session(world.observer) as plain:
                found = plain.execute(query.where(Thing.label.endswith("-0"))).all()
            assert [row[1:] for row in found] == [row[1:] for row in expected]
