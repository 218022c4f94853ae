"""Random tables, written and read again, are what they were; and what the server shows of them."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hermetic import Database
from hermetic.frames import read, write
from tests.databases import FamilyUrl

_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
# not by Decimal's own functions, which round to 28 digits
_DECIMAL = st.integers(-(10**30) + 1, 10**30 - 1).map(lambda n: Decimal(f"{n}e-9"))

# the type, its Arrow type, values, and what the server shows of one
KINDS: list[tuple[str, Any, st.SearchStrategy[Any], Any]] = [
    ("smallint", pa.int16(), st.integers(-(2**15), 2**15 - 1), str),
    ("bigint", pa.int64(), st.integers(-(2**63), 2**63 - 1), str),
    ("numeric(30,9)", pa.decimal128(30, 9), _DECIMAL, "{:f}".format),
    ("numeric(9,0)", pa.decimal128(9, 0), st.integers(-(10**9) + 1, 10**9 - 1).map(Decimal), str),
    ("numeric(70,40)", pa.decimal256(70, 40), _DECIMAL, None),
    ("double precision", pa.float64(), st.floats(allow_nan=False), None),
    ("boolean", pa.bool_(), st.booleans(), {True: "true", False: "false"}.get),
    ("text", pa.string(), _TEXT, str),
    ("bytea", pa.binary(), st.binary(max_size=40), lambda value: f"\\x{value.hex()}"),
    ("date", pa.date32(), st.dates(), str),
    ("time", pa.time64("us"), st.times(), str),
    ("timestamptz", pa.timestamp("us", tz="UTC"),
     st.datetimes(timezones=st.just(dt.UTC)), None),
    ("uuid", pa.uuid(), st.uuids(), str),
    ("bigint[]", pa.list_(pa.int64()),
     st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=5), None),
    ("text[]", pa.list_(pa.string()), st.lists(st.none() | _TEXT, max_size=4), None),
]  # fmt: skip


@st.composite
def tables(draw: st.DrawFn) -> list[tuple[int, list[Any]]]:
    chosen = draw(st.lists(st.integers(0, len(KINDS) - 1), min_size=1, max_size=6))
    rows = draw(st.integers(0, 20))
    return [
        (at, draw(st.lists(st.none() | KINDS[at][2], min_size=rows, max_size=rows)))
        for at in chosen
    ]


@pytest.fixture
def db(family_url: FamilyUrl) -> Any:
    with Database(family_url("postgresql")) as made:
        yield made


@pytest.mark.postgresql
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(made=tables())
def test_a_random_table_is_what_it_was(db: Database, made: list[tuple[int, list[Any]]]) -> None:
    from hermetic.frames.rows import Column

    names = [f"c{number}" for number in range(len(made))]
    columns = ", ".join(f"c{number} {KINDS[at][0]}" for number, (at, _) in enumerate(made))
    arrays = [Column("", KINDS[at][1]).array(values, 0) for at, values in made]
    frame = pa.Table.from_arrays(arrays, names=names)

    with db.session() as session:
        session.execute(f"CREATE TABLE kept (n serial, {columns})")
        write(session, frame, "kept")
        listed = ", ".join(names)
        found = read(session, f"SELECT {listed} FROM kept ORDER BY n", "arrow")
        shown = session.execute(
            f"SELECT {', '.join(f'{name}::text' for name in names)} FROM kept ORDER BY n"
        ).all()
        session.rollback_only()

    assert found.schema == frame.schema
    for number, (at, values) in enumerate(made):
        assert found.column(number).to_pylist() == values
        show = KINDS[at][3]
        if show is not None:
            texts = [None if value is None else show(value) for value in values]
            assert [_trimmed(row[number], at) for row in shown] == [
                _trimmed(text, at) for text in texts
            ]


def _trimmed(text: str | None, at: int) -> str | None:
    """A time as the server shows it has no zeros at its end."""
    if text is None or KINDS[at][0] != "time" or "." not in text:
        return text
    return text.rstrip("0")
