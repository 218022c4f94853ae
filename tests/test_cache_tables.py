"""Which tables a statement reads and writes, by its form and by its text."""

from __future__ import annotations

import pytest
from sqlalchemy import (
    Column,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    delete,
    exists,
    func,
    insert,
    literal_column,
    select,
    text,
    update,
)

from hermetic.cache.raw_sql import reach_of_text
from hermetic.cache.tables import Following, reach_of
from hermetic.cache.values import Unkeyable, digest, packed, parameters_key, unpacked
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
        ("WITH c AS (SELECT 1 FROM a) SELECT * FROM c", "sqlite", "a", ""),
        ("INSERT INTO a (id) VALUES (?)", "sqlite", "a", "a"),
        ("INSERT INTO a SELECT * FROM b", "mysql", "ab", "a"),
        ("UPDATE a SET x = %s", "mysql", "a", "a"),
        ("WITH c AS (DELETE FROM a RETURNING *) SELECT * FROM c", "postgresql", "a", "a"),
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
