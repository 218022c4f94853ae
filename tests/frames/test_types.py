"""What PostgreSQL keeps is in a frame as it is: every type, by every driver, in every form."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from hermetic import Database, UnfitValue
from hermetic.frames import read
from tests.databases import FamilyUrl

pytestmark = pytest.mark.postgresql

_UTC = dt.UTC

# the type, a value as SQL, its Arrow type, and itself
TYPES: list[tuple[str, str, Any, Any]] = [
    ("smallint", "-32768", pa.int16(), -32768),
    ("integer", "-2147483648", pa.int32(), -(2**31)),
    ("bigint", "9223372036854775807", pa.int64(), 2**63 - 1),
    ("oid", "4294967295", pa.uint32(), 2**32 - 1),
    ("real", "1.5", pa.float32(), 1.5),
    ("double precision", "'-Infinity'", pa.float64(), float("-inf")),
    ("numeric(10,2)", "-99999999.99", pa.decimal128(10, 2), Decimal("-99999999.99")),
    ("numeric(38,0)", "9" * 38, pa.decimal128(38, 0), Decimal("9" * 38)),
    ("numeric(39,1)", "-0.1", pa.decimal256(39, 1), Decimal("-0.1")),
    ("numeric(76,0)", "-" + "9" * 76, pa.decimal256(76, 0), Decimal("-" + "9" * 76)),
    ("numeric(80,0)", "9" * 80, pa.string(), "9" * 80),
    ("numeric", "12.50", pa.decimal128(38, 2), Decimal("12.50")),
    ("boolean", "true", pa.bool_(), True),
    ("text", "''", pa.string(), ""),
    ("varchar(30)", "'\u00e9\U0001f600'", pa.string(), "\u00e9\U0001f600"),
    ("char(3)", "'a'", pa.string(), "a  "),
    ("bytea", r"'\x00ff'", pa.binary(), b"\x00\xff"),
    ("date", "'0001-01-01'", pa.date32(), dt.date(1, 1, 1)),
    ("time", "'23:59:59.999999'", pa.time64("us"), dt.time(23, 59, 59, 999999)),
    ("timetz", "'10:00+02'", pa.string(), "10:00:00+02"),
    ("timestamp", "'1969-12-31 23:59:59.999999'", pa.timestamp("us"),
     dt.datetime.fromisoformat("1969-12-31 23:59:59.999999")),
    ("timestamptz", "'2020-06-01 12:00+05:30'", pa.timestamp("us", tz="UTC"),
     dt.datetime(2020, 6, 1, 6, 30, tzinfo=_UTC)),
    ("interval", "'1 mon -2 days 03:00:00.5'", pa.month_day_nano_interval(),
     pa.MonthDayNano([1, -2, 10_800_500_000_000])),
    ("uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", pa.uuid(),
     uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
    ("json", "'{\"a\":  1.0}'", pa.json_(), '{"a":  1.0}'),
    ("jsonb", "'[1, null]'", pa.json_(), "[1, null]"),
    ("integer[]", "'{1,NULL,-3}'", pa.list_(pa.int32()), [1, None, -3]),
    ("text[]", "'{}'", pa.list_(pa.string()), []),
    ("numeric(10,3)[]", "'{1.5}'", pa.list_(pa.decimal128(10, 3)), [Decimal("1.500")]),
    ("mood", "'ok'", pa.string(), "ok"),
    ("mood[]", "'{ok,sad}'", pa.list_(pa.string()), ["ok", "sad"]),
    ("inet", "'10.0.0.1/8'", pa.string(), "10.0.0.1/8"),
    ("int4range", "'[1,5)'", pa.string(), "[1,5)"),
]  # fmt: skip
# asyncpg does not tell how many digits a numeric has: it has as many as its values need, up to 76
_TOLD = {"psycopg": TYPES, "asyncpg": [each for each in TYPES if each[0] != "numeric(80,0)"]}


@pytest.fixture(params=["psycopg", "asyncpg"])
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(family_url: FamilyUrl) -> str:
    return family_url("postgresql")


def table_of(url: str, driver: str, *statements: str) -> Any:
    """What the last statement gives, by a driver, in one scope."""

    async def asked() -> Any:
        db = Database(url.replace("postgresql://", f"postgresql+{driver}://"))
        try:
            async with db.session() as session:
                for statement in statements[:-1]:
                    await session.execute(statement)
                return await read(session, statements[-1], "arrow")
        finally:
            await db.aclose()

    return asyncio.run(asked())


def test_every_type_is_read_as_it_is(url: str, driver: str) -> None:
    types = _TOLD[driver]
    values = ", ".join(f"({sql})::{name}" for name, sql, _, _ in types)
    nulls = ", ".join(f"NULL::{name}" for name, *_ in types)

    table = table_of(
        url, driver,
        "CREATE TYPE mood AS ENUM ('ok', 'sad')",
        f"SELECT {values} UNION ALL SELECT {nulls}",
    )  # fmt: skip

    table.validate(full=True)
    for (name, _, arrow, value), field, column in zip(
        types, table.schema, table.columns, strict=True
    ):
        if driver == "psycopg" or "numeric" not in name:
            assert (name, field.type) == (name, arrow)
        assert (name, column.to_pylist()) == (name, [value, None])


# many rows in one chunk and several


def test_many_rows_are_those_that_the_server_shows(url: str, driver: str) -> None:
    number = "(i * 7919 % 100003 - 50000)"
    found = table_of(
        url, driver,
        f"SELECT {number}::bigint AS a, {number} / 7.0 AS b, "
        f"CASE WHEN i % 3 > 0 THEN repeat('x', i % 50) END AS c, "
        f"(date '2000-01-01' + {number})::date AS d, ARRAY[i, NULL, -i] AS e "
        "FROM generate_series(1, 40000) AS s(i)",
    )  # fmt: skip
    shown = table_of(
        url, driver,
        f"SELECT {number}::text, ({number} / 7.0)::text, "
        f"CASE WHEN i % 3 > 0 THEN repeat('x', i % 50) END, "
        f"(date '2000-01-01' + {number})::date::text, i::text "
        "FROM generate_series(1, 40000) AS s(i)",
    )  # fmt: skip

    assert found.num_rows == 40_000
    assert [str(value) for value in found["a"].to_pylist()] == shown.column(0).to_pylist()
    assert found["b"].to_pylist() == [Decimal(text) for text in shown.column(1).to_pylist()]
    assert found["c"].to_pylist() == shown.column(2).to_pylist()
    assert [str(value) for value in found["d"].to_pylist()] == shown.column(3).to_pylist()
    assert [value[2] for value in found["e"].to_pylist()] == [-n for n in range(1, 40_001)]


@pytest.mark.parametrize(
    "bad",
    [
        "'infinity'::date",
        "'-infinity'::timestamptz",
        "'NaN'::numeric(5,2)",
        "'24:00'::time",
        "'{{1},{2}}'::int[]",
        "'[0:1]={1,2}'::int[]",
        "'{infinity}'::date[]",
        "1e-90::numeric",
        "'3000000 hours'::interval",
    ],
)
def test_a_value_that_does_not_fit_is_named_by_column_and_row(
    url: str, driver: str, bad: str
) -> None:
    found = f"CASE WHEN i = 30007 THEN {bad} END AS x"
    statement = f"SELECT i, {found} FROM generate_series(1, 40000) i"

    with pytest.raises(UnfitValue) as raised:
        table_of(url, driver, statement)

    assert (raised.value.column, raised.value.row) == ("x", 30_006)


def test_after_a_value_that_does_not_fit_the_scope_goes_on(url: str) -> None:
    with Database(url) as db, db.session() as session:
        with pytest.raises(UnfitValue):
            read(session, "SELECT 'infinity'::date AS x FROM generate_series(1, 100000)", "arrow")

        assert session.scalar("SELECT 1") == 1


# forms


def test_pandas_has_types_that_are_exact(url: str) -> None:
    with Database(url) as db, db.session() as session:
        frame = read(
            session,
            "SELECT 9007199254740993 AS big, 1.50::numeric(9,2) AS price, true AS yes, 'a' AS t, "
            "timestamptz '2020-01-01 00:00Z' AS at, interval '1 day 2 seconds' AS lasts, "
            "'[1]'::jsonb AS j, gen_random_uuid() AS u, date '2020-01-02' AS d UNION ALL "
            "SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL",
        )

    first = frame.iloc[0].to_dict()
    assert first["big"] == 2**53 + 1
    assert frame["big"].dtype == "Int64"
    assert first["price"] == Decimal("1.50")
    assert first["yes"] is True
    assert str(frame["at"].dtype) == "datetime64[us, UTC]"
    assert first["lasts"] == dt.timedelta(days=1, seconds=2)
    assert first["j"] == [1]
    assert isinstance(first["u"], uuid.UUID)
    assert first["d"] == dt.date(2020, 1, 2)
    assert frame.iloc[1].isna().all()


def test_polars_has_its_own_types(url: str) -> None:
    import polars as pl

    with Database(url) as db, db.session() as session:
        frame = read(
            session,
            "SELECT 1::int AS a, 1.50::numeric(9,2) AS b, '[1]'::jsonb AS c, 1 / 3.0 AS d, "
            "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid AS e, interval '36 hours' AS f",
            "polars",
        )

    assert frame.schema == {
        "a": pl.Int32,
        "b": pl.Decimal(9, 2),
        "c": pl.String,
        "d": pl.Decimal(38, 20),
        "e": pl.String,
        "f": pl.Duration("us"),
    }
    assert frame.row(0)[4] == "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
    assert frame.row(0)[5] == dt.timedelta(hours=36)


@pytest.mark.parametrize("form", ["pandas", "polars"])
def test_months_are_of_no_length(url: str, form: Any) -> None:
    with Database(url) as db, db.session() as session, pytest.raises(UnfitValue) as raised:
        read(session, "SELECT interval '1 month' AS x", form)

    assert (raised.value.column, raised.value.row) == ("x", 0)


@pytest.mark.parametrize(
    "statement",
    [
        "SHOW server_version",
        "SELECT 1 AS a; -- one",
        "SELECT 1 AS a -- one",
        "/* one */ SELECT 1 AS a, 1 AS a",
        "WITH w AS (SELECT 1 AS a) SELECT * FROM w",
        "(SELECT 1 AS a) UNION (SELECT 1)",
        "VALUES (1)",
        "EXPLAIN SELECT 1",
        "SELECT '%' AS a, 50 % 7 AS b, '10.0.0.1'::inet AS c",
        "WITH w AS (DELETE FROM pg_temp.t RETURNING i) SELECT i FROM w",
        "INSERT INTO pg_temp.t VALUES (2) RETURNING i, inet '10.0.0.1' AS a",
    ],
)
def test_whatever_gives_rows_is_read(url: str, driver: str, statement: str) -> None:
    made = "CREATE TEMPORARY TABLE t ON COMMIT DROP AS SELECT 1 AS i"

    table = table_of(url, driver, made, statement)

    assert table.num_rows >= 1
