"""Row 15: raw queries through the session, and one call that says who holds what."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, StatementError

from hermetic import Database, sessionmaker
from tests.dropin.ground import Ground
from tests.dropin.threads import PATIENCE, wait_for
from tests.models import User

INSERT = "INSERT INTO users (username, balance) VALUES (:username, :balance)"
PEOPLE = [
    {"username": "ann", "balance": 1},
    {"username": "bob", "balance": 2},
    {"username": "cid", "balance": 3},
]


@pytest.fixture(params=["sessionmaker", "Database"])
def session(request: pytest.FixtureRequest, engine: Engine, db: Database) -> Iterator[Any]:
    """An open session with three users, of a factory and of a scope."""
    factory = db.session() if request.param == "Database" else sessionmaker(bind=engine)()
    with factory as made:
        made.execute(INSERT, PEOPLE)
        yield made


# Raw queries


def test_a_string_is_executed(session: Any) -> None:
    rows = session.execute("SELECT username, balance FROM users ORDER BY id").fetchall()

    assert [tuple(row) for row in rows] == [("ann", 1), ("bob", 2), ("cid", 3)]


def test_a_string_takes_parameters(session: Any) -> None:
    row = session.execute(
        "SELECT balance FROM users WHERE username = :username", {"username": "bob"}
    ).one()

    assert row.balance == 2


def test_a_parameter_is_never_part_of_the_sql(session: Any) -> None:
    evil = "x'; DELETE FROM users; --"

    found = session.execute("SELECT * FROM users WHERE username = :u", {"u": evil}).all()

    assert found == []
    assert session.scalar("SELECT count(*) FROM users") == 3


def test_text_is_executed(session: Any) -> None:
    names = session.execute(text("SELECT username FROM users WHERE balance > :b"), {"b": 1})

    assert sorted(names.scalars()) == ["bob", "cid"]


def test_a_scalar_is_one_value(session: Any) -> None:
    assert session.scalar("SELECT sum(balance) FROM users") == 6
    assert session.execute("SELECT max(balance) FROM users").scalar() == 3
    assert session.scalar("SELECT username FROM users WHERE 1 = 0") is None


def test_scalars_are_a_column(session: Any) -> None:
    names = session.scalars("SELECT username FROM users ORDER BY id").all()

    assert names == ["ann", "bob", "cid"]


def test_rows_come_in_every_shape(session: Any) -> None:
    statement = "SELECT username, balance FROM users ORDER BY id"

    assert session.execute(statement).first().username == "ann"
    assert session.execute(statement).mappings().all()[1] == {"username": "bob", "balance": 2}
    assert [balance for _, balance in session.execute(statement)] == [1, 2, 3]
    assert list(session.execute(statement).keys()) == ["username", "balance"]


def test_changes_tell_how_many_rows_they_met(session: Any) -> None:
    updated = session.execute("UPDATE users SET balance = 0 WHERE balance > :b", {"b": 1})
    deleted = session.execute("DELETE FROM users WHERE username = 'ann'")

    assert (updated.rowcount, deleted.rowcount) == (2, 1)


def test_a_list_of_parameters_executes_many(session: Any) -> None:
    session.execute(INSERT, [{"username": f"user {n}", "balance": n} for n in range(100)])

    assert session.scalar("SELECT count(*) FROM users") == 103


def test_raw_and_mapped_work_in_one_transaction(session: Any) -> None:
    session.add(User(username="dan", balance=4))

    # the pending object is flushed first only for SQLAlchemy's own statements
    session.flush()

    assert session.scalar("SELECT balance FROM users WHERE username = 'dan'") == 4


def test_a_cast_and_a_quoted_colon_are_left_alone(session: Any, ground: Ground) -> None:
    if ground.family == "postgresql":
        assert session.scalar("SELECT '42'::integer") == 42
    assert session.scalar("SELECT 'a\\:b'") == "a:b"


def test_a_missing_parameter_is_an_error_of_its_own(session: Any) -> None:
    with pytest.raises(StatementError, match="username"):
        session.execute("SELECT * FROM users WHERE username = :username", {"name": "ann"})


def test_a_table_is_made_used_and_dropped(engine: Engine) -> None:
    session = sessionmaker(bind=engine)()

    session.execute("CREATE TABLE notes (body VARCHAR(20))")
    session.execute("INSERT INTO notes VALUES (:body)", {"body": "hello"})
    session.commit()
    found = session.scalars("SELECT body FROM notes").all()
    session.rollback()
    session.execute("DROP TABLE notes")
    session.commit()
    session.close()

    assert found == ["hello"]


def test_a_wrong_statement_is_the_databases_error_with_the_statement(db: Database) -> None:
    with pytest.raises(DBAPIError) as raised, db.session() as session:
        session.execute("SELECT no_such_column FROM users")

    assert raised.value.statement == "SELECT no_such_column FROM users"


async def test_it_is_the_same_under_asyncio(ground: Ground) -> None:
    db = Database(ground.bare_url)
    async with db.session() as session:
        await session.execute(INSERT, PEOPLE)
        total = await session.scalar("SELECT sum(balance) FROM users")
        names = (await session.scalars("SELECT username FROM users ORDER BY id")).all()
        stream = await session.stream("SELECT balance FROM users ORDER BY id")
        balances = [row.balance async for row in stream]
    await db.aclose()

    assert total == 6
    assert names == ["ann", "bob", "cid"]
    assert balances == [1, 2, 3]


# The live list


def test_the_list_names_scope_owner_line_and_connection(db: Database) -> None:
    def bookkeeping() -> None:
        with db.session(name="books") as session:
            session.execute("SELECT 41")
            snapshots.append(db.snapshot())

    snapshots: list[Any] = []
    thread = threading.Thread(target=bookkeeping, name="the accountant")
    thread.start()
    thread.join(PATIENCE)

    (snapshot,) = snapshots
    (scope,) = snapshot.scopes
    (connection,) = snapshot.connections
    assert scope.name == "books"
    assert "'the accountant'" in scope.owner
    assert __file__ in scope.opened_at
    assert "bookkeeping" in scope.opened_at
    assert scope.last_statement == "SELECT 41"
    assert scope.connection == connection.number
    assert connection.scope == scope.number
    assert "'the accountant'" in connection.holder
    assert connection.state == "in transaction"


def test_the_list_is_empty_when_nobody_holds_anything(db: Database) -> None:
    with db.session() as session:
        session.execute("SELECT 1")

    snapshot = db.snapshot()

    assert snapshot.scopes == ()
    assert [(c.state, c.holder, c.scope) for c in snapshot.connections] == [("idle", None, None)]


def test_the_list_has_every_thread_that_is_at_work(db: Database) -> None:
    ready, leave = threading.Barrier(4, timeout=PATIENCE), threading.Event()

    def work() -> None:
        with db.session(readonly=True) as session:
            session.execute("SELECT 1")
            ready.wait()
            wait_for(leave)

    names = ["ann", "bob", "cid"]
    threads = [threading.Thread(target=work, name=name, daemon=True) for name in names]
    for thread in threads:
        thread.start()
    ready.wait()
    snapshot = db.snapshot()
    leave.set()
    for thread in threads:
        thread.join(PATIENCE)

    assert sorted(scope.owner for scope in snapshot.scopes) == [
        f"thread {name!r}" for name in names
    ]
    held = {connection.number for connection in snapshot.connections if connection.scope}
    assert held == {scope.connection for scope in snapshot.scopes}
    assert len(held) == 3


async def test_the_list_has_every_task_that_is_at_work(ground: Ground) -> None:
    db = Database(ground.bare_url)
    ready, leave = asyncio.Barrier(3), asyncio.Event()

    async def work() -> None:
        async with db.session(readonly=True) as session:
            await session.execute("SELECT 1")
            await ready.wait()
            await leave.wait()

    tasks = [asyncio.create_task(work(), name=name) for name in ("ann", "bob")]
    await ready.wait()
    snapshot = db.snapshot()
    leave.set()
    await asyncio.gather(*tasks)
    await db.aclose()

    assert sorted(scope.owner.partition(" of ")[0] for scope in snapshot.scopes) == [
        "task 'ann'",
        "task 'bob'",
    ]
    assert {connection.world for connection in snapshot.connections} == {"asyncio"}


def test_the_list_has_the_sessions_of_factories_too(engine: Engine, db: Database) -> None:
    session = sessionmaker(bind=engine)()
    session.execute("SELECT 1")

    during = db.snapshot().sessions
    session.close()

    (info,) = during
    assert "'MainThread'" in info.owner
    assert __file__ in info.opened_at
    assert info.state == "in transaction"
    assert db.snapshot().sessions == ()


def test_the_list_says_which_factory_session_holds_a_connection_of_the_database(
    db: Database,
) -> None:
    session = sessionmaker(bind=db.engine)()
    session.execute("SELECT 41")

    snapshot = db.snapshot()
    session.close()

    (connection,) = snapshot.connections
    assert connection.state == "in transaction"
    assert connection.holder is not None
    assert "'MainThread'" in connection.holder
    assert connection.last_statement == "SELECT 41"
    assert db.snapshot().connections[0].holder is None
