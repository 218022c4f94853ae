"""What the text of a statement tells of what it leaves on its connection."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    cast,
    delete,
    func,
    insert,
    literal,
    select,
    update,
    values,
)
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.schema import CreateIndex, CreateTable, Index

from hermetic.dialects.harmless import MYSQL, POSTGRESQL
from hermetic.dialects.residue import hides, leaves

LEAVES = [
    "SET x = 1",
    "  -- a comment\nSET SESSION x = 1",
    "/* a */ set role other",
    "RESET ALL",
    "LISTEN somewhere",
    "PREPARE p AS SELECT 1",
    "USE other",
    "LOAD 'lib'",
    "HANDLER t OPEN",
    "LOCK TABLES t WRITE, u READ",
    "FLUSH TABLES WITH READ LOCK",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "CREATE TEMP TABLE t (id int)",
    "CREATE OR REPLACE TEMPORARY TABLE t (id int)",
    "SELECT 1 INTO TEMP t",
    "SELECT * FROM t WHERE pg_try_advisory_lock(1)",
    "SELECT set_config('a', 'b', false)",
    "SELECT set_config('a', %(b)s, %(c)s)",
    "SELECT set_config('a', 'b', true), set_config('c', 'd', false)",
    "SELECT @x := 1",
    "SELECT 1 INTO @x",
    "SELECT setseed(0.5)",
    "ATTACH 'x' AS y",
    "PRAGMA foreign_keys = OFF",
]
LEAVES_NOTHING = [
    "SELECT 1",
    "SET LOCAL search_path TO x",
    "SET CONSTRAINTS ALL DEFERRED",
    "PREPARE TRANSACTION 'x'",
    "LOCK TABLE t IN SHARE MODE",
    "SELECT set_config('a', 'b', true)",
    "SELECT set_config('a', %(b)s, true)",
    "SELECT set_config('a', $1::varchar, TRUE), set_config('c', $2, true)",
    "SELECT pg_advisory_xact_lock(1)",
    "DECLARE c CURSOR FOR SELECT 1",
    "UPDATE t SET x = 1",
    "INSERT INTO settings (name) VALUES ('SET x')",
]
HIDES = [
    "DO $$ BEGIN END $$",
    "CALL p()",
    "EXECUTE p",
    "EXPLAIN ANALYZE EXECUTE p",
    "IF 1 THEN SELECT 1; END IF",
    "SELECT 1; SELECT 2",
    "/*!50000 SET @x = 1 */",
    "SELECT mine()",
    "SELECT public.count(1)",
    'SELECT "public"."mine" (1)',
    'SELECT "Mine"(1)',
    'SELECT "row"(1)',
    "SELECT * FROM t WHERE x = mine (1)",
    "INSERT INTO t (a) VALUES (mine(1))",
    "CREATE VIEW v AS SELECT mine()",
    "SELECT * FROM t JOIN mine(1) AS m (a, b) ON true",
]
_TABLE = Table(
    "user", MetaData(schema="app"), Column("id", Integer, primary_key=True), Column("a", String(9))
)
_ROWS = values(Column("x", Integer), Column("y", Integer), name="v").data([(1, 2)])
_TREE = select(_TABLE.c.id).cte("tree", recursive=True)
HARMLESS = [
    select(_TABLE).where(_TABLE.c.id.in_([1, 2]), _TABLE.c.a.like("x%")),
    select(func.count(), func.max(_TABLE.c.id), func.coalesce(_TABLE.c.a, "x")),
    select(func.row_number().over(partition_by=_TABLE.c.a, order_by=_TABLE.c.id)),
    select(cast(_TABLE.c.id, Numeric(10, 2)), func.now(), func.lower(literal("a"))),
    select(_ROWS),
    select(_TREE.union_all(select(_TABLE.c.id + 1))),
    insert(_TABLE).values(a="x"),
    insert(_TABLE).values([{"a": "x"}, {"a": "y"}]),
    update(_TABLE).where(_TABLE.c.id == 1).values(a=func.concat("a", "b")),
    delete(_TABLE).where(select(1).exists()),
    CreateTable(_TABLE),
    CreateIndex(Index("i", _TABLE.c.a)),
]
HARMLESS_TEXT = [
    "INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = excluded.a",
    "INSERT INTO t (a) VALUES (1) ON DUPLICATE KEY UPDATE a = VALUES(a)",
    "SELECT 1;",
    "SELECT pg_catalog.count(*) FROM t",
    "SELECT pg_get_viewdef(1), ST_Distance(a, b) FROM t",
    "WITH a (x) AS (SELECT 1) SELECT * FROM a",
    "SELECT * FROM t WHERE a = ANY (ARRAY[1]) AND NOT (b OR c)",
    "INSERT INTO t (a, b) SELECT p0::VARCHAR, p1 FROM (VALUES (%(a)s, 1)) AS imp_sen(p0, p1, n)",
    "CREATE TABLE t (id int REFERENCES u (id), CHECK (id > 0))",
]


@pytest.mark.parametrize("statement", LEAVES)
def test_these_leave_something(statement: str) -> None:
    assert leaves(statement)


@pytest.mark.parametrize("statement", LEAVES_NOTHING)
def test_these_leave_nothing(statement: str) -> None:
    assert not leaves(statement)


@pytest.mark.parametrize("statement", HIDES)
def test_these_run_code_that_is_not_shown(statement: str) -> None:
    assert hides(statement, POSTGRESQL)
    assert hides(statement, MYSQL)


@pytest.mark.parametrize("statement", HARMLESS_TEXT)
def test_these_show_all_that_they_do(statement: str) -> None:
    assert not hides(statement, POSTGRESQL)


@pytest.mark.parametrize("number", range(len(HARMLESS)))
def test_ordinary_statements_of_sqlalchemy_cost_no_connection(number: int) -> None:
    kinds: list[tuple[Any, frozenset[str]]] = [(postgresql, POSTGRESQL), (mysql, MYSQL)]
    for kind, functions in kinds:
        statement = str(HARMLESS[number].compile(dialect=kind.dialect()))
        assert not leaves(statement), statement
        assert not hides(statement, functions), statement
