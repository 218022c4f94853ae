"""What MariaDB keeps is in a frame as it is: PyMySQL's packets, and the rows of asyncmy."""

from __future__ import annotations

import asyncio
import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import MetaData, Table
from sqlalchemy.exc import NoSuchTableError

from hermetic import Database, InvalidStatement, UnfitValue, UniqueViolation
from hermetic.frames import read, write
from tests.databases import FamilyUrl

pytestmark = pytest.mark.mariadb

# the type, a value as SQL, its Arrow type, and itself
TYPES: list[tuple[str, str, Any, Any]] = [
    ("tinyint", "-128", pa.int8(), -128),
    ("smallint unsigned", "65535", pa.uint16(), 65535),
    ("mediumint", "-8388608", pa.int32(), -8388608),
    ("int unsigned", "4294967295", pa.uint32(), 2**32 - 1),
    ("bigint", "-9223372036854775808", pa.int64(), -(2**63)),
    ("bigint unsigned", "18446744073709551615", pa.uint64(), 2**64 - 1),
    ("decimal(10,2)", "-99999999.99", pa.decimal128(10, 2), Decimal("-99999999.99")),
    ("decimal(65,30)", "1.5", pa.decimal256(65, 30), Decimal("1.5")),
    ("double", "-1.5e300", pa.float64(), -1.5e300),
    ("varchar(50)", "''", pa.string(), ""),
    ("longtext", "'\u00e9\U0001f600'", pa.string(), "\u00e9\U0001f600"),
    ("varbinary(9)", "x'00ff'", pa.binary(), b"\x00\xff"),
    ("longblob", "x''", pa.binary(), b""),
    ("date", "'9999-12-31'", pa.date32(), dt.date(9999, 12, 31)),
    ("datetime(6)", "'1000-01-01 00:00:00.000001'", pa.timestamp("us"),
     dt.datetime.fromisoformat("1000-01-01 00:00:00.000001")),
    ("time(6)", "'-838:59:59.000001'", pa.duration("us"),
     -dt.timedelta(hours=838, minutes=59, seconds=59, microseconds=1)),
    ("year", "1999", pa.uint16(), 1999),
    ("enum('a','b')", "'b'", pa.string(), "b"),
]  # fmt: skip


@pytest.fixture(params=["pymysql", "asyncmy"])
def url(request: pytest.FixtureRequest, family_url: FamilyUrl) -> str:
    made = family_url("mariadb")
    scheme, _, rest = made.partition("://")
    return f"{scheme.partition('+')[0]}+{request.param}://{rest}"


def tables_of(url: str, *statements: str) -> Any:
    """What the last statement gives, in one scope."""

    async def awaited() -> Any:
        async with Database(url) as db, db.session() as session:
            for statement in statements[:-1]:
                await session.execute(statement)
            return await read(session, statements[-1], "arrow")

    if "asyncmy" in url:
        return asyncio.run(awaited())
    with Database(url) as db, db.session() as session:
        for statement in statements[:-1]:
            session.execute(statement)
        return read(session, statements[-1], "arrow")


def test_every_type_is_read_as_it_is(url: str) -> None:
    with Database(url.replace("asyncmy", "pymysql")) as db, db.engine.begin() as connection:
        columns = ", ".join(f"c{n} {name}" for n, (name, *_) in enumerate(TYPES))
        connection.exec_driver_sql(f"CREATE TABLE kept ({columns})")
    values = ", ".join(sql for _, sql, _, _ in TYPES)
    nulls = ", ".join("NULL" for _ in TYPES)

    table = tables_of(url, f"INSERT INTO kept VALUES ({values}), ({nulls})", "SELECT * FROM kept")

    for (name, _, arrow, value), field, column in zip(
        TYPES, table.schema, table.columns, strict=True
    ):
        assert (name, field.type) == (name, arrow)
        assert (name, column.to_pylist()) == (name, [value, None])


@pytest.mark.parametrize("rows", [0, 1, 16_384, 16_385, 40_000])
def test_many_rows_come_whole(family_url: FamilyUrl, rows: int) -> None:
    statement = (
        "SELECT seq AS i, repeat('x', mod(seq, 300)) AS t, if(mod(seq, 3), seq, NULL) AS n "
        f"FROM seq_1_to_{max(rows, 1)} WHERE seq <= {rows}"
    )

    table = tables_of(family_url("mariadb"), statement)

    numbers = range(1, rows + 1)
    assert table["i"].to_pylist() == list(numbers)
    assert table["t"].to_pylist() == ["x" * (n % 300) for n in numbers]
    assert table["n"].to_pylist() == [n if n % 3 else None for n in numbers]


def test_a_date_that_is_none_is_named(family_url: FamilyUrl) -> None:
    with Database(family_url("mariadb")) as db, db.session() as session:
        session.execute("CREATE TEMPORARY TABLE zeros (d date)")
        session.execute("SET STATEMENT sql_mode = '' FOR INSERT INTO zeros VALUES ('0000-00-00')")
        with pytest.raises(UnfitValue) as raised:
            read(session, "SELECT d FROM zeros", "arrow")
        after = session.scalar("SELECT 1")

    assert (raised.value.column, raised.value.row, after) == ("d", 0, 1)


def test_an_error_in_the_middle_of_rows_is_that_of_the_database(family_url: FamilyUrl) -> None:
    with Database(family_url("mariadb")) as db, db.session() as session:
        with pytest.raises(InvalidStatement):
            read(
                session,
                "SELECT seq, if(seq = 30000, (SELECT 1 UNION SELECT 2), 1) FROM seq_1_to_40000",
                "arrow",
            )
        assert session.scalar("SELECT 1") == 1


def test_a_big_unsigned_number_is_written_as_it_is(family_url: FamilyUrl) -> None:
    with Database(family_url("mariadb")) as db:
        with db.engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE big (n bigint unsigned)")
        with db.session() as session:
            write(session, pa.table({"n": pa.array([2**64 - 1], pa.uint64())}), "big")
            found = session.scalar("SELECT n FROM big")
            with pytest.raises(UnfitValue):
                write(session, pa.table({"n": [-1]}), "big")

    assert found == 2**64 - 1


def test_errors_are_still_told_where_a_table_was_looked_up(family_url: FamilyUrl) -> None:
    """SQLAlchemy's reflection would turn it off, on the connection of the scope."""
    with Database(family_url("mariadb")) as db:
        with db.engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE keyed (n int PRIMARY KEY)")
        with db.session() as session:
            found = Table("keyed", MetaData(), autoload_with=session.connection())
            with pytest.raises(UniqueViolation):
                session.execute(found.insert(), [{"n": 1}, {"n": 1}])
            with pytest.raises(NoSuchTableError):
                Table("no_such", MetaData(), autoload_with=session.connection())
            write(session, pa.table({"n": [2]}), "keyed")
