"""psycopg's cursors of ours against psycopg's own: the same in everything but the round trips."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from hermetic.dialects.psycopg_ahead import Cursor
from tests.databases import FamilyUrl

pytestmark = pytest.mark.postgresql

_INTRANS, _INERROR = TransactionStatus.INTRANS, TransactionStatus.INERROR


@pytest.fixture
def conn(family_url: FamilyUrl) -> Iterator[psycopg.Connection[Any]]:
    url = family_url("postgresql")
    with psycopg.connect(url, cursor_factory=Cursor) as made:
        made.execute("CREATE TABLE things (id int PRIMARY KEY, name text)")
        made.commit()
        yield made


@pytest.fixture
def plain(family_url: FamilyUrl) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(family_url("postgresql")) as made:
        yield made


@pytest.mark.parametrize(
    ("statement", "parameters"),
    [
        ("SELECT 1 AS one, %s AS two", ("x",)),
        ("SELECT 1 AS one", None),
        ("SELECT 1; SELECT 2", None),
        ("INSERT INTO things VALUES (%s, %s) RETURNING id, name", (1, "pen")),
        ("CREATE TABLE others (id int)", None),
        ("", None),
    ],
)
def test_the_first_statement_is_answered_as_ever(
    conn: psycopg.Connection[Any], plain: psycopg.Connection[Any], statement: str, parameters: Any
) -> None:
    told = []
    for each in (conn, plain):
        cursor = each.cursor()
        cursor.execute(statement, parameters)
        rows = cursor.fetchall() if cursor.description else None
        told.append((str(cursor.description), rows, cursor.rowcount, cursor.statusmessage))
        assert each.info.transaction_status == _INTRANS
        assert not each.pgconn.pipeline_status
        each.rollback()

    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("statement", "parameters"),
    [
        ("SELECT nothing FROM nowhere WHERE id = %s", (1,)),
        ("SELECT 1 / %s", (0,)),
        ("INSERT INTO things VALUES (NULL, %s)", ("x",)),
        ("SELECT 1 FROM", None),
        ("SELECT %s", (object(),)),
    ],
)
def test_the_first_statement_fails_as_ever(
    conn: psycopg.Connection[Any], plain: psycopg.Connection[Any], statement: str, parameters: Any
) -> None:
    told = []
    for each in (conn, plain):
        with pytest.raises(psycopg.Error) as caught:
            each.cursor().execute(statement, parameters)
        diag = caught.value.diag
        told.append((type(caught.value), str(caught.value), diag.sqlstate, diag.statement_position))
        assert not each.pgconn.pipeline_status
        each.rollback()
        assert each.execute("SELECT 1").fetchall() == [(1,)]
        each.rollback()

    assert told[0] == told[1]


@pytest.mark.parametrize(("threshold", "prepared"), [(5, 1), (None, 0)])
def test_statements_are_prepared_as_psycopg_is_told(
    conn: psycopg.Connection[Any], threshold: int | None, prepared: int
) -> None:
    conn.prepare_threshold = threshold
    cursor = conn.cursor()

    for number in range(8):
        cursor.execute("SELECT %s::int", (number,))
        assert cursor.fetchall() == [(number,)]
        conn.commit()

    count = conn.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
    assert count == (prepared,)


def test_an_error_of_a_prepared_statement_is_an_error(conn: psycopg.Connection[Any]) -> None:
    cursor = conn.cursor()
    for _ in range(8):
        cursor.execute("SELECT 1 / %s", (1,))
        conn.commit()

    with pytest.raises(psycopg.errors.DivisionByZero):
        cursor.execute("SELECT 1 / %s", (0,))

    assert conn.info.transaction_status == _INERROR
    conn.rollback()
    assert cursor.execute("SELECT 1 / %s", (1,)).fetchall() == [(1,)]


def test_a_copy_is_left_to_psycopg(conn: psycopg.Connection[Any]) -> None:
    with pytest.raises(psycopg.ProgrammingError, match="COPY cannot be used with this method"):
        conn.cursor().execute("COPY things TO STDOUT")

    assert not conn.pgconn.pipeline_status
    conn.close()


def test_many_rows_take_begin_along(conn: psycopg.Connection[Any]) -> None:
    cursor = conn.cursor()

    cursor.executemany("INSERT INTO things VALUES (%s, %s)", [(1, "pen"), (2, "ink")])

    assert conn.info.transaction_status == _INTRANS
    assert cursor.rowcount == 2
    conn.rollback()
    assert conn.execute("SELECT count(*) FROM things").fetchone() == (0,)


def test_many_rows_that_fail_are_rolled_back(conn: psycopg.Connection[Any]) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation):
        conn.cursor().executemany("INSERT INTO things VALUES (%s, %s)", [(1, "a"), (1, "b")])

    assert conn.info.transaction_status == _INERROR
    conn.rollback()
    assert conn.execute("SELECT count(*) FROM things").fetchone() == (0,)


def test_what_is_ahead_of_a_statement_goes_with_it(conn: psycopg.Connection[Any]) -> None:
    cursor = conn.cursor()

    for statement in ("SHOW work_mem", "SELECT current_setting('work_mem')"):
        cursor.ahead = (b"SET LOCAL work_mem = '7MB'",)  # type: ignore[attr-defined]
        assert cursor.execute(statement).fetchall() == [("7MB",)]
        conn.commit()

    cursor.execute("SHOW work_mem")
    assert cursor.fetchall() != [("7MB",)]


@pytest.mark.timing
def test_an_interrupt_leaves_no_pipeline_behind(conn: psycopg.Connection[Any]) -> None:
    interrupt = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    interrupt.start()

    with pytest.raises(KeyboardInterrupt):
        conn.cursor().execute("SELECT pg_sleep(%s)", (10,))

    interrupt.join()
    assert conn.closed or not conn.pgconn.pipeline_status
    if not conn.closed:
        conn.rollback()


# ---------------------------------------------------------------- what was read before


def ours(conn: psycopg.Connection[Any]) -> Cursor:
    cursor = conn.cursor()
    assert isinstance(cursor, Cursor)
    return cursor


_KEPT = "SELECT id, name FROM things WHERE id = %(id)s ORDER BY id"


def _read_and_executed(conn: psycopg.Connection[Any], cursors: Any, statement: str, of: Any) -> Any:
    """What ``read`` gives, and what ``execute`` and ``fetchall`` of another cursor."""
    told: list[Any] = []
    for cursor in cursors:
        try:
            if cursor is cursors[0]:
                rows = cursor.read(statement, of)
            else:
                rows = cursor.execute(statement, of).fetchall()
            told.append((rows, str(cursor.description), cursor.rowcount, cursor.statusmessage))
        except Exception as error:
            told.append((type(error), str(error)))
        if conn.info.transaction_status == _INERROR:
            conn.rollback()
    return told


@pytest.mark.parametrize("autocommit", [False, True])
def test_what_is_read_again_is_the_same(conn: psycopg.Connection[Any], autocommit: bool) -> None:
    conn.execute("INSERT INTO things VALUES (1, 'pen'), (2, NULL)")
    conn.commit()
    conn.autocommit = autocommit
    cursors = (ours(conn), ours(conn))
    of: dict[str, Any]
    for _ in range(8):
        for of in ({"id": 1}, {"id": 2}, {"id": 2**40}, {"id": None}, {"id": "x"}, {}, {"id": []}):
            shown, expected = _read_and_executed(conn, cursors, _KEPT, of)
            assert shown == expected
        for text in ("SELECT 1 / %(id)s", "SELECT count(*) FROM things WHERE id <> %(id)s"):
            shown, expected = _read_and_executed(conn, cursors, text, {"id": 0})
            assert shown == expected


def test_what_is_read_again_begins_as_ever(conn: psycopg.Connection[Any]) -> None:
    cursor = ours(conn)
    for _ in range(8):
        assert cursor.read(_KEPT, {"id": 1}) == []
        assert conn.info.transaction_status == _INTRANS
        assert cursor.read(_KEPT, {"id": 1}) == []
        conn.rollback()


def test_apart_begins_nothing(conn: psycopg.Connection[Any]) -> None:
    cursor = ours(conn)
    cursor.apart = True
    for _ in range(8):
        assert cursor.read(_KEPT, {"id": 1}) == []
        assert conn.info.transaction_status == TransactionStatus.IDLE


def test_what_is_read_again_after_its_table_has_changed(conn: psycopg.Connection[Any]) -> None:
    conn.autocommit = True
    cursors = (ours(conn), ours(conn))
    everything = "SELECT * FROM things WHERE id > %(id)s"
    for _ in range(8):
        _read_and_executed(conn, cursors, everything, {"id": 0})
    conn.execute("ALTER TABLE things ADD COLUMN more int")
    for _ in range(3):
        shown, expected = _read_and_executed(conn, cursors, everything, {"id": 0})
        assert shown == expected


def test_what_is_read_again_is_refused_as_ever(conn: psycopg.Connection[Any]) -> None:
    cursor, closed = ours(conn), ours(conn)
    for each in (cursor, closed):
        for _ in range(8):
            each.read(_KEPT, {"id": 1})
    closed.close()
    with pytest.raises(psycopg.InterfaceError, match="the cursor is closed"):
        closed.read(_KEPT, {"id": 1})
    conn.close()
    with pytest.raises(psycopg.OperationalError, match="the connection is closed"):
        cursor.read(_KEPT, {"id": 1})


def test_many_statements_are_not_all_remembered(conn: psycopg.Connection[Any]) -> None:
    cursor = ours(conn)
    for number in range(200):
        assert cursor.read(f"SELECT {number}, %s", (1,)) == [(number, 1)]

    assert len(cursor._known or ()) <= 50
