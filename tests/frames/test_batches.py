"""Frames are read batch by batch, on every driver."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pyarrow as pa
import pytest

from hermetic import AsyncSession, Database, InvalidData, InvalidOption, ScopeEnded, UnfitValue
from hermetic.frames import batches, libpq, read, streaming
from hermetic.frames.ways import fetching_of
from tests.backends import BACKENDS
from tests.databases import FamilyUrl
from tests.models import User
from tests.worlds import World


def frames_of(session: Any, *args: Any, **more: Any) -> Any:
    """The batches in the way of the session's world, for ``async for``."""
    if isinstance(session, AsyncSession):
        return batches(session, *args, **more)
    return _AsAsync(batches(session.sync_session, *args, **more))


class _AsAsync:
    def __init__(self, frames: Any) -> None:
        self._frames = frames

    def __aiter__(self) -> _AsAsync:
        return self

    async def __anext__(self) -> Any:
        try:
            return next(self._frames)
        except StopIteration:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        self._frames.close()


def add_users(world: World, count: int) -> None:
    rows = ", ".join(f"({n}, 'n{n}', {n * 7})" for n in range(1, count + 1))
    world.do(f"INSERT INTO users (id, username, balance) VALUES {rows}")


@pytest.mark.parametrize("form", ["arrow", "pandas", "polars"])
async def test_every_row_comes_once_in_its_order(world: World, form: str) -> None:
    add_users(world, 250)

    async with world.session() as session:
        statement = "SELECT id, username FROM users ORDER BY id"
        frames = [frame async for frame in frames_of(session, statement, form, size=100)]

    assert [len(frame) for frame in frames] == [100, 100, 50]
    assert [next(iter(frame["id"])) for frame in frames][1:] == (
        [pa.scalar(n, frames[0]["id"].type) for n in (101, 201)] if form == "arrow" else [101, 201]
    )


async def test_uncommitted_rows_come_too(world: World) -> None:
    async with world.session() as session:
        session.add(User(id=1, username="ann"))
        frames = [frame async for frame in frames_of(session, User, "arrow")]

    assert [frame["username"].to_pylist() for frame in frames] == [["ann"]]


TYPES = """
SELECT n AS id, CASE WHEN n % 3 = 0 THEN NULL WHEN n % 3 = 1 THEN '' ELSE 'ä ' || n END AS words,
  n::bigint * 4000000000 AS big, n::smallint AS small, n % 2 = 0 AS even, n / 4.0::float8 AS score,
  (n * 1.25)::numeric(12, 2) AS amount, DATE '1999-12-31' + n AS day,
  TIMESTAMP '1969-12-31 23:59:59.5' + n * INTERVAL '1 day' AS moment,
  TIMESTAMPTZ '2000-01-01 00:00+02' AS zoned, decode(lpad(to_hex(n), 4, '0'), 'hex') AS bytes,
  ('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid AS uuid, ARRAY[n, NULL, 2] AS list
FROM generate_series(1, 250) AS n
"""


@pytest.mark.parametrize(
    "backend",
    [
        pytest.param(each, id=each.name, marks=pytest.mark.postgresql)
        for each in BACKENDS
        if each.name.startswith("psycopg")
    ],
    indirect=True,
)
async def test_a_cursor_of_psycopgs_is_fetched_in_binary(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Any] = []

    def seen(*given: Any) -> Any:
        taken.append(fetching_of(*given))
        return taken[-1]

    monkeypatch.setattr(streaming, "fetching_of", seen)
    async with world.session() as session:
        frames = [frame async for frame in frames_of(session, TYPES, "arrow", size=100)]
        failing = "SELECT 1 / (150 - n) AS one FROM generate_series(1, 250) AS n"
        with pytest.raises(InvalidData):
            assert [frame async for frame in frames_of(session, failing, "arrow", size=100)]
        session.rollback_only()
    async with world.session() as session:
        whole = (
            await read(session, TYPES, "arrow")
            if isinstance(session, AsyncSession)
            else read(session.sync_session, TYPES, "arrow")
        )

    assert [frame.num_rows for frame in frames] == [100, 100, 50]
    found = pa.concat_tables(frames)
    assert found.to_pylist() == whole.to_pylist()
    assert [kind for kind in taken if kind is None] == ([] if libpq.of_rows() else [None] * 2)


async def test_what_is_left_is_given_up(world: World) -> None:
    add_users(world, 250)

    async with world.session() as session:
        frames = frames_of(session, User, "arrow", size=10)
        await anext(frames)
        await frames.aclose()
        count = await session.scalar("SELECT count(*) FROM users")

    assert count == 250


async def test_after_the_scope_there_is_nothing_to_read(world: World) -> None:
    add_users(world, 30)

    async with world.session() as session:
        frames = frames_of(session, User, "arrow", size=10)
        await anext(frames)
        if world.backend.family != "sqlite":
            # the driver's cursor on the server wants to be closed in its transaction
            await frames.aclose()

    if world.backend.family != "sqlite":
        with pytest.raises(StopAsyncIteration):
            await anext(frames)
        return
    with pytest.raises(ScopeEnded):
        await anext(frames)


@pytest.mark.sqlite
def test_the_first_batch_says_of_what_type_a_column_is(family_url: FamilyUrl) -> None:
    statement = (
        "WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 20) "
        "SELECT CASE WHEN i = 15 THEN 'x' ELSE i END AS x FROM s"
    )
    with Database(family_url("sqlite")) as db, db.session() as session:
        frames = batches(session, statement, "arrow", size=10)
        next(frames)
        with pytest.raises(UnfitValue) as raised:
            next(frames)

    assert (raised.value.column, raised.value.row) == ("x", 14)


@pytest.mark.sqlite
def test_no_row_at_a_time_is_refused(family_url: FamilyUrl) -> None:
    with (
        Database(family_url("sqlite")) as db,
        db.session() as session,
        pytest.raises(InvalidOption, match="size"),
    ):
        next(batches(session, "SELECT 1 AS a", size=0))


@pytest.mark.sqlite
def test_memory_does_not_grow_with_the_rows(family_url: FamilyUrl) -> None:
    def peak(rows: int) -> int:
        statement = (
            "WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < :n) "
            "SELECT i, 'name' || i AS name FROM s"
        )
        tracemalloc.start()
        try:
            with db.session() as session:
                for frame in batches(session, statement, "arrow", size=1000, params={"n": rows}):
                    del frame
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    with Database(family_url("sqlite")) as db:
        peak(2000)
        few, many = peak(5_000), peak(50_000)

    assert many < 1.5 * few
