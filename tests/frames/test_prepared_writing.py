"""Many rows go into MariaDB by a statement that the server has prepared, and are the same there."""

from __future__ import annotations

import datetime as dt
import random
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from hermetic import Database, OnConflict, UnfitValue, UniqueViolation
from hermetic.frames import read, write
from tests.databases import FamilyUrl
from tests.servers import MariaDBServer

pytestmark = pytest.mark.mariadb

# one batch, and a rest that is not worth a statement of its own
_ROWS = 8192 + 2500
_EPOCH = dt.datetime.fromisoformat("1970-01-01")
# the type, Arrow's, and a value made of a number
_TYPES: list[tuple[str, Any, Any]] = [
    ("tinyint", pa.int8(), lambda n: n % 256 - 128),
    ("smallint unsigned", pa.uint16(), lambda n: n % 65536),
    ("int", pa.int32(), lambda n: 2**31 - 1 - n),
    ("bigint unsigned", pa.uint64(), lambda n: 2**64 - 1 - n),
    ("boolean", pa.int8(), lambda n: n % 2),
    ("float", pa.float32(), lambda n: n / 4),
    ("double", pa.float64(), lambda n: (n - 5000) / 7 * 1e-300),
    ("decimal(30,4)", pa.decimal128(30, 4), lambda n: Decimal(n) ** 6 / 16 * -1),
    ("varchar(300)", pa.string(), lambda n: "'\\\u00e9\U0001f600%s?"[: n % 8] * (n % 37)),
    ("longtext", pa.string(), lambda n: "y" * {0: 250, 1: 251, 2: 65_536}.get(n % 997, n % 9)),
    ("varbinary(9)", pa.binary(), lambda n: bytes([n % 256, 0, 39, 92])[: n % 5]),
    ("date", pa.date32(), lambda n: dt.date(1900, 1, 1) + dt.timedelta(n)),
    ("datetime(6)", pa.timestamp("us"), lambda n: _EPOCH + dt.timedelta(microseconds=n)),
    ("time(6)", pa.duration("us"), lambda n: dt.timedelta(hours=n % 24, microseconds=n)),
    ("char(36)", pa.string(), lambda n: str(uuid.UUID(int=n))),
]


def _frame(rows: int) -> Any:
    """Rows of every type; of each column some are NULL, of the last all of the first batch."""
    chance = random.Random(rows)
    columns: dict[str, Any] = {"id": pa.array(range(rows), pa.int32())}
    for number, (_, arrow, made) in enumerate(_TYPES):
        missing = number % 3
        values = [None if missing and not chance.randrange(missing * 4) else made(n)
                  for n in range(rows)]  # fmt: skip
        columns[f"c{number}"] = pa.array(values, arrow)
    columns["late"] = pa.array([None if n < 8192 else n for n in range(rows)], pa.int64())
    return pa.table(columns)


@pytest.fixture
def db(family_url: FamilyUrl) -> Iterator[Database]:
    with Database(family_url("mariadb")) as made:
        with made.engine.begin() as connection:
            listed = ", ".join(f"c{number} {name}" for number, (name, *_) in enumerate(_TYPES))
            connection.exec_driver_sql(
                f"CREATE TABLE kept (id int PRIMARY KEY, {listed}, late bigint)"
            )
            connection.exec_driver_sql("CREATE TABLE few (id int PRIMARY KEY, `a?b` varchar(9))")
        yield made


def _status(session: Any, name: str) -> int:
    return int(session.execute(f"SHOW SESSION STATUS LIKE '{name}'").one()[1])


def test_every_type_is_what_it_was(db: Database) -> None:
    frame = _frame(_ROWS)
    with db.session() as session:
        assert write(session, frame, "kept") == _ROWS
        executed, left = _status(session, "Com_stmt_execute"), _status(session, "Com_stmt_close")
        found = read(session, "SELECT * FROM kept ORDER BY id", "arrow")

    # the server has prepared one statement, for 128 rows of so many columns, and has forgotten it
    assert (executed, left) == (8192 // 128 + 2500 // 128, 1)
    for name in frame.column_names:
        same = found[name].combine_chunks().cast(frame[name].type)
        assert same.equals(frame[name].combine_chunks()), name


@pytest.mark.parametrize("offset", [1, 7, 4099])
def test_a_part_of_a_frame_is_that_part(db: Database, offset: int) -> None:
    """Arrow's slices begin in the middle of their bits and offsets."""
    frame = _frame(9000).slice(offset, 3000)
    with db.session() as session:
        write(session, frame, "kept")
        found = read(session, "SELECT * FROM kept ORDER BY id", "arrow")

    assert _status_of_nulls(found) == _status_of_nulls(frame)
    assert found["c9"].to_pylist() == frame["c9"].to_pylist()


def _status_of_nulls(table: Any) -> list[int]:
    return [column.null_count for column in table.columns]


@pytest.mark.parametrize("bad", [0, 4000, 8191])
def test_a_row_that_is_refused_undoes_all_of_them(db: Database, bad: int) -> None:
    frame = pa.table({"id": range(8192)})
    doubled = pa.table({"id": [*range(8191), bad]})
    with db.session() as session:
        session.execute("INSERT INTO few (id) VALUES (9000)")
        if bad < 8191:
            with pytest.raises(UniqueViolation):
                write(session, doubled, "few")
            assert session.scalar("SELECT count(*) FROM few") == 1
        write(session, frame, "few")
        assert session.scalar("SELECT count(*) FROM few") == 8193
        assert _status(session, "Com_stmt_prepare") == _status(session, "Com_stmt_close")


def test_rows_in_conflict_are_updated(db: Database) -> None:
    old = pa.table({"id": range(4096), "a?b": ["old"] * 4096})
    new = old.set_column(1, "a?b", pa.array([f"n{n}" for n in range(4096)]))
    with db.session() as session:
        write(session, old, "few")
        write(session, new, "few", on_conflict=OnConflict(update=["a?b"]))
        found = session.execute("SELECT min(`a?b`), count(DISTINCT `a?b`) FROM few").one()
        executed = _status(session, "Com_stmt_execute")

    assert tuple(found) == ("n0", 4096)
    assert executed == 16


def test_a_float_that_is_no_number_is_named(db: Database) -> None:
    with db.session() as session:
        values = [0.0] * 3000
        values[2999] = float("nan")
        with pytest.raises(UnfitValue) as raised:
            write(session, pa.table({"id": range(3000), "c6": values}), "kept")
        values[100] = float("inf")
        with pytest.raises(UnfitValue) as of_prepared:
            write(session, pa.table({"id": range(3000), "c6": values}), "kept")

    assert (raised.value.column, raised.value.row) == ("c6", 2999)
    assert (of_prepared.value.column, of_prepared.value.row) == ("c6", 100)


def test_a_server_that_prepares_nothing_is_sent_text() -> None:
    with MariaDBServer() as server:
        server.create_database("text")
        with Database(server.url("text")) as db:
            with db.engine.begin() as connection:
                connection.exec_driver_sql("SET GLOBAL max_prepared_stmt_count = 0")
                connection.exec_driver_sql("CREATE TABLE few (id int PRIMARY KEY)")
            with db.session() as session:
                assert write(session, pa.table({"id": range(5000)}), "few") == 5000
                assert _status(session, "Com_stmt_execute") == 0
                assert session.scalar("SELECT sum(id) FROM few") == sum(range(5000))
