"""Which tables a statement reads and writes, by its form and by its text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    ColumnElement,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    Table,
    delete,
    exists,
    func,
    insert,
    literal_column,
    make_url,
    select,
    text,
    update,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import ClauseElement, Executable

from hermetic.cache.identity import database_of, reader_of
from hermetic.cache.packing import packed, unpacked
from hermetic.cache.raw_sql import reach_of_text
from hermetic.cache.tables import Following, Reach, reach_of
from hermetic.cache.values import Unkeyable, digest, parameters_key
from hermetic.cache.watch import Reaches
from hermetic.dialects.drivers import family_of
from hermetic.options import DatabaseOptions
from hermetic.touched import EVERYTHING

METADATA = MetaData()
PARENT = Table("parent", METADATA, Column("id", Integer, primary_key=True))
CHILD = Table(
    "child",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("parent_id", ForeignKey("parent.id", ondelete="CASCADE")),
)
GRANDCHILD = Table(
    "grandchild",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("child_id", ForeignKey("child.id", ondelete="SET NULL")),
    info={"cache_touches": ["audit"]},
)
VIEW = Table("overview", METADATA, Column("id", Integer), info={"cache_depends": [PARENT]})
LOG = Table("log", METADATA, Column("id", Integer), Column("parent_id", ForeignKey("parent.id")))

ALL = frozenset({EVERYTHING})


@pytest.mark.parametrize(
    ("statement", "reads", "writes"),
    [
        (select(PARENT), {"parent"}, set()),
        (select(CHILD.c.id).join(PARENT), {"parent", "child"}, set()),
        (select(PARENT).where(exists().where(CHILD.c.parent_id == PARENT.c.id)),
         {"parent", "child"}, set()),
        (select(select(CHILD.c.id).subquery()), {"child"}, set()),
        (select(select(CHILD.c.id).cte().c.id), {"child"}, set()),
        (select(func.count()).select_from(PARENT), {"parent"}, set()),
        (select(PARENT.alias().c.id), {"parent"}, set()),
        (insert(PARENT).values(id=1), {"parent"}, {"parent"}),
        (insert(LOG).from_select(["id"], select(PARENT.c.id)), {"log", "parent"}, {"log"}),
        (update(CHILD).values(id=1), {"child"}, {"child"}),
        (delete(PARENT), {"parent"}, {"parent"}),
        (select(delete(CHILD).returning(CHILD.c.id).cte().c.id), {"child"}, {"child"}),
    ],
)  # fmt: skip
def test_a_statement_in_sqlalchemys_form(
    statement: object, reads: set[str], writes: set[str]
) -> None:
    found = reach_of(statement, Following(()))

    assert (set(found.reads), set(found.writes), found.sure) == (reads, writes, True)


def test_text_inside_a_statement_may_be_anything() -> None:
    following = Following(())

    assert not reach_of(select(text("a FROM b")), following).sure
    assert not reach_of(select(PARENT).where(literal_column("x") == 1), following).sure
    assert not reach_of(select(func.now(), PARENT), following).certain


@pytest.mark.parametrize(
    ("sql", "dialect", "reads", "writes"),
    [
        ("SELECT * FROM a JOIN s.b ON a.id = b.id WHERE a.x = %(p)s", "postgresql", "ab", ""),
        ("WITH c AS (SELECT 1 FROM a) SELECT * FROM c", "sqlite", "ac", ""),
        ("INSERT INTO a (id) VALUES (?)", "sqlite", "a", "a"),
        ("INSERT INTO a SELECT * FROM b", "mysql", "ab", "a"),
        ("UPDATE a SET x = %s", "mysql", "a", "a"),
        ("WITH c AS (DELETE FROM a RETURNING *) SELECT * FROM c", "postgresql", "ac", "a"),
        ("SELECT 1; DELETE FROM a", "postgresql", "a", "a"),
        ('DELETE FROM "A"', "postgresql", "a", "a"),
        ("SET LOCAL x = 1", "postgresql", "", ""),
        ("SAVEPOINT one", "sqlite", "", ""),
    ],
)
def test_raw_sql(sql: str, dialect: str, reads: str, writes: str) -> None:
    found = reach_of_text(sql, dialect)

    assert (set(found.reads), set(found.writes)) == (set(reads), set(writes))


@pytest.mark.parametrize(
    "sql",
    [
        "TRUNCATE a", "CALL f()", "COPY a FROM STDIN", "SELECT * INTO b FROM a", "DO $$ $$",
        "COMMIT PREPARED 'x'", "EXPLAIN ANALYZE DELETE FROM a", "ALTER TABLE a ADD x int",
        "LOAD DATA INFILE 'x' INTO TABLE a", "REPLACE INTO a VALUES (1)", "nonsense (((",
        "SELECT FROM WHERE (",
    ],
)  # fmt: skip
def test_what_cannot_be_read_touches_everything(sql: str) -> None:
    found = reach_of_text(sql, "postgresql")

    assert (found.writes, found.sure) == (ALL, False)


def test_what_follows_a_write() -> None:
    following = Following([METADATA])

    deleted = following.written(frozenset({"parent"}), deletes=True)
    inserted = following.written(frozenset({"grandchild"}), deletes=False)

    assert deleted == {"parent", "child", "grandchild", "audit"}
    assert inserted == {"grandchild", "audit"}
    assert following.written(frozenset({"parent"}), deletes=False) == {"parent"}
    assert following.read(frozenset({"overview"})) == {"overview", "parent"}


def test_a_table_that_comes_later_is_followed_too() -> None:
    metadata = MetaData()
    following = Following([metadata])
    Table("first", metadata, Column("id", Integer, primary_key=True))
    assert following.written(frozenset({"first"}), deletes=True) == {"first"}

    Table("second", metadata, Column("id", ForeignKey("first.id", ondelete="CASCADE")))

    assert following.written(frozenset({"first"}), deletes=True) == {"first", "second"}


def test_keys_tell_values_and_their_types_apart() -> None:
    values = [1, True, 1.0, "1", b"1", -0.0, 0.0, None, (1,), [1]]

    assert len({digest({"a": value}) for value in values}) == len(values)
    assert len({parameters_key((value,)) for value in (1, True, 1.0)}) == 3
    with pytest.raises(Unkeyable):
        digest(object())


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("run",))


def test_nothing_but_values_comes_out_of_bytes() -> None:
    import pickle

    assert packed([Evil()]) is None
    with pytest.raises(pickle.UnpicklingError, match=r"builtins\.print"):
        unpacked(pickle.dumps(Evil()))


class Copied(Executable, ClauseElement):
    """A statement of somebody's own, which SQLAlchemy knows nothing of."""

    inherit_cache = False


class Special(ColumnElement[int]):
    inherit_cache = True


@compiles(Copied)
def _copied(element: Copied, compiler: Any, **kwargs: Any) -> str:
    return "INSERT INTO parent SELECT id FROM log"


@compiles(Special)
def _special(element: Special, compiler: Any, **kwargs: Any) -> str:
    return "(SELECT count(*) FROM log)"


def reached(statement: Any, dialect: Any = None) -> Reach:
    reaches = Reaches(Following([METADATA]), family_of(make_url("sqlite://")), "sqlite")
    if isinstance(statement, str):
        return reaches.of(statement, None)
    compiled = statement.compile(dialect=dialect or sqlite.dialect())
    return reaches.of(str(compiled), compiled)


def test_elements_of_ones_own_are_read_by_their_text_or_not_at_all() -> None:
    assert reached(Copied()).writes == {"parent"}
    assert not reached(select(PARENT.c.id, Special())).sure
    assert reached(select(PARENT.c.id)).sure


def test_a_lock_anywhere_in_a_statement_is_seen() -> None:
    inner = select(CHILD.c.parent_id).with_for_update()

    assert reached(select(PARENT).where(PARENT.c.id.in_(inner))).locks
    assert reached("SELECT id FROM parent FOR NO KEY UPDATE").locks
    assert reached("SELECT id FROM parent LOCK IN SHARE MODE").locks
    assert reached("SELECT pg_try_advisory_xact_lock(1)").locks
    assert not reached(select(PARENT)).locks
    assert not reached("SELECT id FROM advisory_board").locks


def test_an_update_of_several_tables_writes_those_whose_columns_it_sets() -> None:
    statement = update(PARENT).where(PARENT.c.id == LOG.c.id).values({LOG.c.parent_id: 1})

    assert reach_of(statement, Following(())).writes == {"parent", "log"}


@pytest.mark.parametrize(
    ("sql", "dialect", "writes"),
    [
        ("DELETE FROM u USING a AS u JOIN b ON a.x = b.x", "mysql", {"u", "a", "b"}),
        ("UPDATE a JOIN b ON a.x = b.x SET b.y = 1", "mysql", {"a", "b"}),
        ("SET STATEMENT max_statement_time=5 FOR UPDATE a SET x = 1", "mysql", ALL),
        ("SET LOCAL x = 1; UPDATE a SET x = 1", "postgresql", ALL),
        ("/* a /* b */ SET */ UPDATE a SET x = 1", "postgresql", ALL),
    ],
)
def test_text_that_writes_in_an_unusual_form(sql: str, dialect: str, writes: set[str]) -> None:
    assert reach_of_text(sql, dialect).writes == writes


def test_what_shows_the_servers_state_depends_on_no_table() -> None:
    assert not reach_of_text("PRAGMA user_version", "sqlite").sure
    assert not reach_of_text("SHOW search_path", "postgresql").sure
    assert not reach_of_text("SELECT id FROM a WHERE id IN b", "sqlite").sure


def test_a_common_table_expression_does_not_hide_the_table_of_its_name() -> None:
    found = reach_of_text("WITH a AS (SELECT * FROM a) SELECT * FROM a", "sqlite")

    assert found.reads == {"a"}


def test_text_that_replaces_rows_deletes_them() -> None:
    assert reach_of_text("INSERT OR REPLACE INTO a VALUES (1)", "sqlite").deletes
    assert reached("INSERT OR REPLACE INTO parent VALUES (1)").writes > {"child"}


def test_text_that_deletes_from_a_table_nobody_has_told_of_touches_everything() -> None:
    assert reached("DELETE FROM unknown").writes == ALL
    assert reached("INSERT INTO unknown VALUES (1)").writes == {"unknown"}


def test_a_foreign_key_that_comes_later_is_followed_by_statements_seen_before() -> None:
    metadata = MetaData()
    first = Table("first", metadata, Column("id", Integer, primary_key=True))
    second = Table("second", metadata, Column("id", Integer))
    reaches = Reaches(Following([metadata]), family_of(make_url("sqlite://")), "sqlite")
    compiled = delete(first).compile()
    assert reaches.of(str(compiled), compiled).writes == {"first"}

    second.append_constraint(ForeignKeyConstraint(["id"], ["first.id"], ondelete="CASCADE"))

    assert reaches.of(str(compiled), compiled).writes == {"first", "second"}


def test_parameters_that_are_equal_to_python_alone_have_keys_of_their_own() -> None:
    noon = datetime(2020, 1, 1, 12, tzinfo=UTC)
    pairs: list[tuple[Any, Any]] = [
        (0.0, -0.0),
        (Decimal("1.0"), Decimal("1.00")),
        (noon, noon.astimezone(timezone(timedelta(hours=2)))),
        (1, True),
        (1, 1.0),
    ]

    for one, other in pairs:
        assert one == other
        assert parameters_key((one,)) != parameters_key((other,))
        assert digest(one) != digest(other)


def test_a_zone_of_somebodys_own_has_no_key() -> None:
    class Zone(tzinfo):
        def utcoffset(self, when: datetime | None) -> timedelta:
            return timedelta(0)

        def tzname(self, when: datetime | None) -> str:
            return "own"

        def dst(self, when: datetime | None) -> None:
            return None

    with pytest.raises(Unkeyable):
        parameters_key((datetime(2020, 1, 1, tzinfo=Zone()),))


def identity(url: str, **options: Any) -> tuple[str, str]:
    made, given = make_url(url), DatabaseOptions(**options)
    family = family_of(made)
    database = database_of(made, given, "", family, alone=False)
    return database, reader_of(made, given, family)


def test_a_database_is_known_by_where_it_is_however_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("PGHOST", "PGDATABASE", "PGUSER"):
        monkeypatch.delenv(name, raising=False)
    plain = identity("postgresql://ann:secret@one/app")

    for same in (
        identity("postgresql://ann:other@one:5432/app"),
        identity("postgresql:///?host=one&user=ann&dbname=app&password=secret"),
        identity("postgresql://ann@/", connect_args={"host": "one", "dbname": "app"}),
    ):
        assert same[0] == plain[0]
    assert identity("postgresql://ann:other@one/app")[1] == plain[1]
    for other in (
        identity("postgresql://ann@one/?dbname=other"),
        identity("postgresql://ann@/app?host=two"),
        identity("postgresql://ann@one/app", connect_args={"dbname": "other"}),
        identity("postgresql://ann@one:5433/app"),
    ):
        assert other[0] != plain[0]
    monkeypatch.setenv("PGHOST", "one")
    assert identity("postgresql://ann@/app")[0] == plain[0]
    monkeypatch.setenv("PGHOST", "two")
    assert identity("postgresql://ann@/app")[0] != plain[0]


def test_this_host_is_one_by_all_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGHOST", raising=False)
    names = ("localhost", "LOCALHOST", "127.0.0.1", "127.0.1.1", "[::1]", "")
    found = [identity(f"postgresql://ann@{name}/app") for name in names]
    found.append(identity("postgresql://ann@/app?host=/tmp"))

    # their commits empty each other, and none is shown what was read by another name
    assert len({database for database, _ in found}) == 1
    assert len({reader for _, reader in found}) == len(found)
    assert identity("postgresql://ann@one/app")[0] != found[0][0]
    assert identity("postgresql://ann@localhost:5433/app")[0] != found[0][0]


def test_who_reads_a_database_and_how_is_told_apart_and_not_from_its_writers() -> None:
    plain = identity("postgresql://ann@one/app")

    for other in (
        identity("postgresql://bob@one/app"),
        identity("postgresql://one/app?user=bob"),
        identity("postgresql://ann@one/app?options=-c%20search_path%3Dother"),
        identity("postgresql://ann@one/app", connect_args={"options": "-c search_path=other"}),
        identity("postgresql://ann@one/app", connect_args={"server_settings": {"a": "b"}}),
    ):
        assert other[0] == plain[0]
        assert other[1] != plain[1]
