"""``on_conflict``: what is meant by it, on every database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Engine,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    create_engine,
    select,
)
from sqlalchemy.dialects import oracle, sqlite

from hermetic import ConfigurationError, InvalidOption, OnConflict
from hermetic.conflicts import conflict_of, insert_into
from tests.databases import FamilyUrl

METADATA = MetaData()
BOOKS = Table(
    "books",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("shelf", String(10)),
    Column("place", Integer),
    Column("title", String(50)),
    UniqueConstraint("shelf", "place", name="one_at_a_place"),
)
INDEXED = Table(
    "indexed", MetaData(), Column("id", Integer, primary_key=True), Column("a", Integer)
)
Index("some_a", INDEXED.c.a, unique=True, sqlite_where=INDEXED.c.a > 0)


@pytest.fixture
def engine(family: str, family_url: FamilyUrl) -> Iterator[Engine]:
    url = family_url(family)
    made = create_engine(url.replace("mysql://", "mysql+pymysql://", 1))
    METADATA.create_all(made)
    yield made
    METADATA.drop_all(made)
    made.dispose()


def written(engine: Engine, on_conflict: Any, *rows: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The table's rows, after these were inserted into one with a book in it."""
    there = {"id": 1, "shelf": "A", "place": 1, "title": "Emma"}
    given = [BOOKS.c[name] for name in rows[0]]
    with engine.begin() as connection:
        connection.execute(BOOKS.insert(), there)
        conflict = conflict_of(on_conflict, BOOKS)
        connection.execute(insert_into(BOOKS, engine.dialect, conflict, given), list(rows))
        found = connection.execute(select(*BOOKS.c[1:]).order_by(BOOKS.c.shelf, BOOKS.c.place))
        return [tuple(row) for row in found]


EMMA = ("A", 1, "Emma")


def test_rows_that_are_there_are_ignored(engine: Engine) -> None:
    found = written(
        engine,
        "ignore",
        {"shelf": "A", "place": 1, "title": "Persuasion"},
        {"shelf": "A", "place": 2, "title": "Lady Susan"},
    )
    assert found == [EMMA, ("A", 2, "Lady Susan")]


def test_a_row_is_updated_by_its_primary_key(engine: Engine) -> None:
    found = written(engine, "update", {"id": 1, "title": "Persuasion"}, {"id": 2, "title": "Emma"})
    assert sorted(found, key=str) == [("A", 1, "Persuasion"), (None, None, "Emma")]


@pytest.mark.parametrize("key", ["one_at_a_place", ["shelf", "place"]])
def test_a_row_is_updated_by_another_key(engine: Engine, key: Any) -> None:
    row = {"shelf": "A", "place": 1, "title": "Persuasion"}
    assert written(engine, OnConflict(key=key), row) == [("A", 1, "Persuasion")]


def test_only_what_is_named_is_updated(engine: Engine) -> None:
    row = {"id": 1, "shelf": "B", "place": 7, "title": "Persuasion"}
    assert written(engine, OnConflict(update=["place"]), row) == [("A", 7, "Emma")]


def test_rows_of_nothing_but_their_key_update_nothing(engine: Engine) -> None:
    assert written(engine, "update", {"id": 1}) == [EMMA]


def test_a_partial_index_is_said_with_its_condition() -> None:
    conflict = conflict_of(OnConflict(key="some_a", update=["id"]), INDEXED)
    statement = insert_into(INDEXED, sqlite.dialect(), conflict, [INDEXED.c.id, INDEXED.c.a])
    assert "ON CONFLICT (a) WHERE a > 0 DO UPDATE" in str(
        statement.compile(
            dialect=sqlite.dialect(),
            compile_kwargs={"literal_binds": True},
        )
    )


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ("replace", "'replace'"),
        (7, "7"),
        (OnConflict(key="isbn"), "'isbn'"),
        (OnConflict(key=["shelf", "isbn"]), "'isbn'"),
        (OnConflict(key=[]), "no column"),
        (OnConflict(update=["isbn"]), "'isbn'"),
        (OnConflict(update="none"), "'none'"),
        (OnConflict(update=[]), "'ignore'"),
    ],
)
def test_what_cannot_be_meant_is_refused(wrong: Any, names: str) -> None:
    with pytest.raises(InvalidOption, match=names):
        conflict_of(wrong, BOOKS)


def test_rows_without_their_key_are_refused() -> None:
    conflict = conflict_of("update", BOOKS)
    with pytest.raises(ConfigurationError, match="no value for id"):
        insert_into(BOOKS, sqlite.dialect(), conflict, [BOOKS.c.title])


def test_a_database_that_nothing_is_known_of_is_refused() -> None:
    conflict = conflict_of("ignore", BOOKS)
    with pytest.raises(ConfigurationError, match="oracle"):
        insert_into(BOOKS, oracle.dialect(), conflict, [BOOKS.c.title])  # type: ignore[no-untyped-call]
