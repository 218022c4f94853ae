"""SQLite keeps values of several types in one column."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hermetic import Database, UnfitValue
from hermetic.frames import read

pytestmark = pytest.mark.sqlite

MIXED = "SELECT 1 AS n, 7 AS v UNION ALL SELECT 2, 'seven' UNION ALL SELECT 3, NULL ORDER BY n"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with Database(f"sqlite:///{tmp_path}/app.db") as db:
        yield db


def test_a_column_of_several_types_is_one_of_objects_in_pandas(db: Database) -> None:
    with db.session() as session:
        frame = read(session, MIXED)

    assert frame["v"].tolist() == [7, "seven", None]
    assert frame["n"].tolist() == [1, 2, 3]
    assert frame["n"].dtype.kind == "i"


@pytest.mark.parametrize("as_", ["arrow", "polars"])
def test_where_a_column_has_one_type_the_first_other_value_is_named(db: Database, as_: str) -> None:
    with db.session() as session, pytest.raises(UnfitValue) as caught:
        read(session, MIXED, as_)  # type: ignore[call-overload]

    assert (caught.value.column, caught.value.row) == ("v", 1)
