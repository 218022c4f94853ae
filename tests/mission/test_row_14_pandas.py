"""Row 14: pandas.read_sql_table(name, session.bind) inside a scope, and what reads better."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pandas
import pytest
from sqlalchemy import Engine

from hermetic import Database, scoped_session, sessionmaker
from hermetic.frames import read
from tests.dropin.ground import Ground
from tests.models import User


@pytest.fixture
def session_scope(engine: Engine) -> Any:
    Session = scoped_session(sessionmaker(bind=engine))  # noqa: N806 - as the articles write it

    @contextmanager
    def scope() -> Iterator[Any]:
        session = Session()
        try:
            yield session
            session.commit()
        except:
            session.rollback()
            raise
        finally:
            session.close()

    with scope() as session:
        session.add_all([User(username="ann", balance=1), User(username="bob", balance=2)])
    yield scope
    Session.remove()


def test_the_articles_line_works_as_written(session_scope: Any) -> None:
    with session_scope() as session:
        frame = pandas.read_sql_table("users", session.bind)

    assert list(frame["username"]) == ["ann", "bob"]
    assert list(frame["balance"]) == [1, 2]


def test_the_articles_line_works_beside_statements_of_the_session(session_scope: Any) -> None:
    with session_scope() as session:
        before = session.query(User).count()
        frame = pandas.read_sql_table("users", session.bind)

    assert before == len(frame) == 2


def test_the_articles_line_reads_outside_the_transaction(session_scope: Any) -> None:
    with session_scope() as session:
        session.add(User(username="cid"))
        session.flush()
        outside = pandas.read_sql_table("users", session.bind)
        inside = read(session, "users")

    assert len(outside) == 2
    assert len(inside) == 3


def test_a_query_works_as_written_too(session_scope: Any) -> None:
    with session_scope() as session:
        frame = pandas.read_sql_query(session.query(User).statement, session.bind)

    assert sorted(frame["username"]) == ["ann", "bob"]


# In a scope of a Database. pandas' types want to be told that a bind is there: hence Any


@pytest.fixture
def db(ground: Ground) -> Database:
    db = ground.database()
    with db.session() as session:
        session.add_all([User(username="ann", balance=1), User(username="bob", balance=2)])
    return db


def test_the_articles_line_works_in_a_new_scope(db: Any) -> None:
    with db.session() as session:
        frame = pandas.read_sql_table("users", session.bind)

    assert list(frame["username"]) == ["ann", "bob"]


def test_the_articles_line_works_in_a_scope_that_has_read(db: Any) -> None:
    with db.session() as session:
        session.query(User).all()
        frame = pandas.read_sql_table("users", session.bind)

    assert list(frame["username"]) == ["ann", "bob"]


def test_the_articles_line_works_in_a_scope_that_has_written(db: Any) -> None:
    with db.session() as session:
        session.add(User(username="cid"))
        session.flush()
        frame = pandas.read_sql_table("users", session.bind)

    assert len(frame) == 2


def test_the_articles_line_works_in_a_read_only_scope(db: Any) -> None:
    with db.session(readonly=True) as session:
        session.query(User).all()
        frame = pandas.read_sql_table("users", session.bind)

    assert len(frame) == 2


def test_our_line_reads_inside_the_scopes_transaction(ground: Ground, db: Database) -> None:
    with db.session() as session:
        session.add(User(username="cid", balance=3))
        frame = read(session, "users")
        seen_by_others = len(ground.usernames())

    assert sorted(frame["username"]) == ["ann", "bob", "cid"]
    assert seen_by_others == 2


def test_our_line_leaves_the_end_of_the_scope_to_the_scope(ground: Ground, db: Database) -> None:
    with db.session() as session:
        session.add(User(username="cid"))
        read(session, "users")
        session.rollback_only()

    assert ground.usernames() == ["ann", "bob"]


def test_our_line_takes_no_second_connection(ground: Ground, db: Database) -> None:
    with db.session() as session:
        session.execute("SELECT 1")
        read(session, "users")
        during = ground.connections()

    assert during == 1


async def test_our_line_is_awaited_under_asyncio(ground: Ground) -> None:
    db = Database(ground.bare_url)

    async with db.session() as session:
        session.add(User(username="ann"))
        frame = await read(session, "users")
    await db.aclose()

    assert list(frame["username"]) == ["ann"]
    assert ground.usernames() == ["ann"]
