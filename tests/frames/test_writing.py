"""Frames are written inside the session's own transaction, on every driver."""

from __future__ import annotations

import datetime as dt
import inspect
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Enum,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    Time,
    TypeDecorator,
    Uuid,
)

from hermetic import (
    AsyncSession,
    ConfigurationError,
    Database,
    DeadlineExceeded,
    InvalidOption,
    OnConflict,
    ReadOnlyScope,
    ScopeEnded,
    UnfitValue,
    UniqueViolation,
)
from hermetic.frames import incoming, read, write
from tests.behaviour.aftermath import on_servers
from tests.databases import FamilyUrl
from tests.models import User
from tests.worlds import World

USERS = pa.table({"id": [1, 2], "username": ["ann", "bob"], "balance": [10, None]}).set_column(
    2, "balance", pa.array([10, 20])
)


async def call(function: Callable[..., Any], session: Any, *args: Any, **more: Any) -> Any:
    """A function of frames, in the way of the session's world."""
    own = session if isinstance(session, AsyncSession) else session.sync_session
    found = function(own, *args, **more)
    return await found if inspect.isawaitable(found) else found


def names(world: World) -> list[str]:
    return [row[0] for row in world.seen("SELECT username FROM users ORDER BY id")]


# ---------------------------------------------------------------- in the transaction


async def test_what_was_written_is_committed_with_the_scope(world: World) -> None:
    async with world.session() as session:
        count = await call(write, session, USERS, User)
        before = names(world)
        seen = await call(read, session, User, "arrow")

    assert count == 2
    assert before == []
    assert sorted(seen["username"].to_pylist()) == ["ann", "bob"]
    assert names(world) == ["ann", "bob"]


async def test_it_is_rolled_back_with_the_scope(world: World) -> None:
    with pytest.raises(LookupError):
        async with world.session() as session:
            await call(write, session, USERS, "users")
            raise LookupError

    assert names(world) == []


async def test_pending_objects_are_written_first(world: World) -> None:
    async with world.session() as session:
        session.add(User(id=1, username="eve"))
        with pytest.raises(UniqueViolation):
            await call(write, session, USERS, User)
        session.rollback_only()


async def test_an_error_ends_the_transaction_as_that_of_any_statement(world: World) -> None:
    doubled = pa.table({"id": [1, 1], "username": ["ann", "bob"], "balance": [0, 0]})

    with pytest.raises(UniqueViolation) as raised:
        async with world.session() as session:
            await call(write, session, doubled, User)

    assert raised.value.scope is not None
    assert names(world) == []


async def test_nothing_is_left_of_what_fails_in_the_middle(world: World) -> None:
    frames = (
        pa.table({"username": [f"n{n}" for n in range(start, start + 10_000)]})
        for start in (0, 10_000, 5_000)
    )

    async with world.session() as session:
        await call(write, session, USERS, User)
        with pytest.raises(UniqueViolation):
            await call(write, session, frames, User)
        await call(write, session, pa.table({"username": ["cyd"]}), User)

    assert names(world) == ["ann", "bob", "cyd"]


async def test_a_savepoint_brings_back_what_was_before(world: World) -> None:
    doubled = pa.table({"id": [1, 3], "username": ["ann", "cyd"], "balance": [0, 0]})

    async with world.session() as session:
        await call(write, session, USERS, User)
        with pytest.raises(UniqueViolation):
            async with world.session(propagation="nested") as inner:
                await call(write, inner, doubled, User)

    assert names(world) == ["ann", "bob"]


async def test_loaded_objects_are_expired(world: World) -> None:
    world.do("INSERT INTO users (id, username, balance) VALUES (1, 'ann', 1)")

    async with world.session() as session:
        ann = await session.get(User, 1)
        await call(write, session, USERS, User, on_conflict="update")
        await session.refresh(ann)

    assert ann.balance == 10


async def test_an_object_that_was_loaded_forgets_its_values(world: World) -> None:
    world.do("INSERT INTO users (id, username, balance) VALUES (3, 'cyd', 1)")

    async with world.session() as session:
        cyd = await session.get(User, 3)
        await call(write, session, USERS, "users")
        forgotten = "balance" not in cyd.__dict__

    assert forgotten


async def test_a_read_only_scope_refuses_before_anything_is_sent(world: World) -> None:
    with pytest.raises(ReadOnlyScope):
        async with world.session(readonly=True) as session:
            await call(write, session, USERS, User)

    assert names(world) == []


async def test_an_ended_scope_refuses(world: World) -> None:
    async with world.session() as session:
        pass

    with pytest.raises(ScopeEnded):
        await call(write, session, USERS, User)


async def test_it_counts_as_a_statement(world: World) -> None:
    async with world.session() as session:
        await call(write, session, USERS, User)

        assert session.scope.statements >= 1


@on_servers
async def test_the_deadline_is_kept_while_frames_are_made(world: World) -> None:
    import time

    def slow() -> Iterator[Any]:
        end = time.monotonic() + 20
        number = 0
        while time.monotonic() < end:
            number += 1
            time.sleep(0.01)
            yield pa.table({"id": [number], "username": [f"n{number}"], "balance": [0]})

    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        async with world.session(timeout=0.3) as session:
            await call(write, session, slow(), User)

    assert time.monotonic() - began < 15
    assert names(world) == []


async def test_who_makes_frames_may_use_the_session_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming, "_ROWS", 2)

    async with world.session() as session:

        def frames(sync_session: Any) -> Iterator[Any]:
            for number in range(3):
                found = sync_session.scalar("SELECT count(*) FROM users")
                yield pa.table({"username": [f"a{number}", f"b{found}-{number}"]})

        async def awaited() -> AsyncIterator[Any]:
            for number in range(3):
                found = await session.scalar("SELECT count(*) FROM users")
                yield pa.table({"username": [f"a{number}", f"b{found}-{number}"]})

        given = awaited() if world.is_async else frames(session.sync_session)
        assert await call(write, session, given, User) == 6

    assert names(world) == ["a0", "b0-0", "a1", "b2-1", "a2", "b4-2"]


@pytest.mark.parametrize("whole", [False, True])
async def test_how_far_it_has_come_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    monkeypatch.setattr(incoming, "_ROWS", 2)
    frame = pa.table({"username": [f"n{number}" for number in range(5)]})
    parts = [frame.slice(0, 2), frame.slice(2, 1), frame.slice(3, 2)]
    given = pa.Table.from_batches([b for part in parts for b in part.to_batches()])
    told: list[Any] = []

    async with world.session() as session:

        def tell(record: Any) -> None:
            told.append((record.done, record.total, record.finished))
            if world.is_async:
                return
            assert session.sync_session.scalar("SELECT count(*) FROM users") == record.done

        await call(write, session, given if whole else iter(parts), User, progress=tell)
        with pytest.raises(InvalidOption):
            await call(write, session, given, User, progress=7)

    total = 5 if whole else None
    assert told == [(2, total, False), (5, total, False), (5, total, True)]


# ---------------------------------------------------------------- columns


async def test_attributes_and_columns_meet_by_name(world: World) -> None:
    frame = pa.table({"balance": [1], "username": ["ann"]})

    async with world.session() as session:
        await call(write, session, frame, User)

    assert world.seen("SELECT username, balance FROM users") == [("ann", 1)]


async def test_defaults_of_python_are_given(world: World) -> None:
    async with world.session() as session:
        await call(write, session, pa.table({"username": ["ann", "bob"]}), User)

    assert world.seen("SELECT balance FROM users") == [(0,), (0,)]


@pytest.mark.parametrize(
    ("frame", "named"),
    [
        (pa.table({"username": ["ann"], "colour": ["red"], "size": [1]}), "colour, size"),
        (pa.table({"balance": [1]}), "username"),
    ],
)
async def test_columns_that_do_not_meet_are_named(world: World, frame: Any, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        async with world.session() as session:
            await call(write, session, frame, User)


async def test_a_value_that_does_not_fit_is_named_by_column_and_row(world: World) -> None:
    frame = pa.table({"username": [f"n{n}" for n in range(20_000)],
                      "balance": pa.array([0.0] * 15_000 + [0.5] * 5_000)})  # fmt: skip

    async with world.session() as session:
        with pytest.raises(UnfitValue) as raised:
            await call(write, session, frame, User)
        after = await session.scalar("SELECT count(*) FROM users")

    assert (raised.value.column, raised.value.row, raised.value.value) == ("balance", 15_000, 0.5)
    assert after == 0


# ---------------------------------------------------------------- conflicts


@pytest.mark.parametrize(
    ("on_conflict", "balances"),
    [
        ("ignore", [1, 20]),
        ("update", [10, 20]),
        (OnConflict(key=["id"], update=["username"]), [1, 20]),
    ],
)
async def test_rows_in_conflict(world: World, on_conflict: Any, balances: list[int]) -> None:
    world.do("INSERT INTO users (id, username, balance) VALUES (1, 'ann', 1)")

    async with world.session() as session:
        await call(write, session, USERS, User, on_conflict=on_conflict)

    assert [row[0] for row in world.seen("SELECT balance FROM users ORDER BY id")] == balances


# ---------------------------------------------------------------- tables


async def test_replace_keeps_the_table_and_deletes_its_rows(world: World) -> None:
    world.do("INSERT INTO users (id, username, balance) VALUES (3, 'cyd', 1)")

    async with world.session() as session:
        await call(write, session, USERS, User, if_exists="replace")

    assert names(world) == ["ann", "bob"]


async def test_a_table_that_is_there_fails_where_that_was_asked_for(world: World) -> None:
    with pytest.raises(ConfigurationError, match="already"):
        async with world.session() as session:
            await call(write, session, USERS, "users", if_exists="fail")


async def test_a_table_that_is_not_there_is_made_where_that_is_no_commit(world: World) -> None:
    async def block() -> None:
        async with world.session() as session:
            await call(write, session, USERS, "people")
            raise LookupError

    family = world.backend.family
    with pytest.raises(ConfigurationError if family == "mariadb" else LookupError):
        await block()
    if family != "mariadb":
        async with world.session() as session:
            await call(write, session, USERS, "people")
        assert len(world.seen("SELECT * FROM people")) == 2
    else:
        assert names(world) == []


# ---------------------------------------------------------------- kinds of frames

_PANDAS = pd.DataFrame({"id": [1, 2], "username": ["ann", "bob"], "balance": [10, 20]})
FRAMES: list[Any] = [
    pytest.param(lambda: USERS, id="table"),
    pytest.param(lambda: USERS.slice(0).to_batches()[0], id="record batch"),
    pytest.param(lambda: pa.RecordBatchReader.from_batches(USERS.schema, USERS.to_batches(1)),
                 id="reader"),
    pytest.param(lambda: _PANDAS, id="pandas"),
    pytest.param(lambda: _PANDAS.set_index("id"), id="pandas with an index"),
    pytest.param(lambda: _PANDAS.convert_dtypes(dtype_backend="pyarrow"), id="pandas of Arrow"),
    pytest.param(lambda: pl.DataFrame(_PANDAS), id="polars"),
    pytest.param(lambda: [USERS.slice(0, 1), pl.DataFrame(USERS.slice(1))], id="several"),
    pytest.param(lambda: iter(USERS.to_batches(1)), id="iterator"),
]  # fmt: skip


@pytest.mark.sqlite
@pytest.mark.parametrize("frame", FRAMES)
def test_every_kind_of_frame_is_written(family_url: FamilyUrl, frame: Any) -> None:
    with Database(family_url("sqlite")) as db:
        User.metadata.create_all(db.engine)
        with db.session() as session:
            count = write(session, frame(), User)
            found = session.execute("SELECT id, username, balance FROM users ORDER BY id").all()

    assert count == 2
    assert found == [(1, "ann", 10), (2, "bob", 20)]


@pytest.mark.sqlite
@pytest.mark.parametrize("frame", [None, "users", {"id": [1]}, 7, object()])
def test_what_is_no_frame_is_refused(family_url: FamilyUrl, frame: Any) -> None:
    with (
        Database(family_url("sqlite")) as db,
        db.session() as session,
        pytest.raises(ConfigurationError, match="no frame"),
    ):
        write(session, frame, User)


# ---------------------------------------------------------------- types


class Reversed(TypeDecorator[str]):
    """An application's own type."""

    impl = String(20)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        return None if value is None else value[::-1]

    def process_result_value(self, value: Any, dialect: Any) -> str | None:
        return None if value is None else value[::-1]


THINGS = Table(
    "things",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("big", BigInteger),
    Column("price", Numeric(12, 2)),
    Column("ratio", Double),
    Column("yes", Boolean),
    Column("name", String(50)),
    Column("story", Text),
    Column("raw", LargeBinary(100)),
    Column("day", Date),
    Column("moment", DateTime),
    Column("hour", Time),
    Column("key", Uuid),
    Column("doc", JSON),
    Column("mood", Enum("ok", "sad", name="mood")),
    Column("own", Reversed),
)
ROWS: dict[str, list[Any]] = {
    "id": [1, 2, 3],
    "big": [2**63 - 1, -(2**63), None],
    "price": [Decimal("-9999999999.99"), Decimal("0.10"), None],
    "ratio": [1.5, -2.25e300, None],
    "yes": [True, False, None],
    "name": ["", "\u00e9\U0001f600'\"\\%", None],
    "story": ["a\nb\t", "x" * 10_000, None],
    "raw": [b"", b"\x00\xff'\\", None],
    "day": [dt.date(1970, 1, 1), dt.date(9999, 12, 31), None],
    "moment": [dt.datetime.fromisoformat("1999-12-31T23:59:59"),
               dt.datetime.fromisoformat("2020-01-01T00:00:00"), None],
    "hour": [dt.time(0, 0), dt.time(23, 59, 59), None],
    "key": [uuid.UUID(int=0), uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"), None],
    "doc": ['{"a": [1, null]}', '"text"', None],
    "mood": ["ok", "sad", None],
    "own": ["abc", "", None],
}  # fmt: skip
ARROW = pa.schema(
    [
        ("id", pa.int64()), ("big", pa.int64()), ("price", pa.decimal128(12, 2)),
        ("ratio", pa.float64()), ("yes", pa.bool_()), ("name", pa.string()),
        ("story", pa.string()), ("raw", pa.binary()), ("day", pa.date32()),
        ("moment", pa.timestamp("us")), ("hour", pa.time64("us")), ("key", pa.uuid()),
        ("doc", pa.json_()), ("mood", pa.string()), ("own", pa.string()),
    ]
)  # fmt: skip


def things() -> Any:
    from hermetic.frames.rows import Column as Made

    arrays = [Made(f.name, f.type).array(ROWS[f.name], 0) for f in ARROW]
    return pa.Table.from_arrays(arrays, schema=ARROW)


async def test_every_type_comes_back_as_it_was(world: World) -> None:
    THINGS.create(world.observer)
    given = things()

    async with world.session() as session:
        await call(write, session, given, THINGS)
        table = await call(read, session, THINGS, "arrow")
        frame = await call(read, session, THINGS, "polars")
        pandas = await call(read, session, THINGS)
        await call(write, session, frame, THINGS, if_exists="replace")
        by_polars = await call(read, session, THINGS, "arrow")
        await call(write, session, pandas, THINGS, if_exists="replace")
        by_pandas = await call(read, session, THINGS, "arrow")

    for found in (table, by_polars, by_pandas):
        for name, values in ROWS.items():
            assert (name, found[name].to_pylist()) == (name, values)
