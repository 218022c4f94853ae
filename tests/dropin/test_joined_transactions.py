"""Sessions inside a transaction of somebody else's, and over several databases at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from tests.dropin.conftest import Library
from tests.dropin.ground import Ground
from tests.models import User


@pytest.fixture
def connection(ground: Ground) -> Iterator[Connection]:
    """A connection of an application's, of an engine whose savepoints nest on SQLite too."""
    with ground.database().engine.connect() as connection:
        yield connection


def add(session: Any, username: str) -> None:
    session.add(User(username=username))
    session.flush()


def count(connection: Connection) -> int:
    answer: int = connection.execute(text("SELECT count(*) FROM users")).scalar_one()
    return answer


@pytest.mark.parametrize("mode", ["conditional_savepoint", "rollback_only", "create_savepoint"])
def test_a_commit_inside_is_undone_by_the_rollback_outside(
    ground: Ground, connection: Connection, library: Library, mode: str
) -> None:
    outer = connection.begin()

    with library.Session(bind=connection, join_transaction_mode=mode) as session:
        add(session, "ann")
        session.commit()
        add(session, "bob")
        session.commit()
    inside = count(connection)
    outer.rollback()

    assert inside == 2
    assert ground.usernames() == []


def test_create_savepoint_keeps_a_rollback_to_itself(
    ground: Ground, connection: Connection, library: Library
) -> None:
    outer = connection.begin()

    with library.Session(bind=connection, join_transaction_mode="create_savepoint") as session:
        add(session, "ann")
        session.commit()
        add(session, "bob")
        session.rollback()
        add(session, "cid")
        session.commit()
    outer.commit()

    assert ground.usernames() == ["ann", "cid"]


def test_rollback_only_takes_the_outer_transaction_along(
    ground: Ground, connection: Connection, library: Library
) -> None:
    outer = connection.begin()

    with library.Session(bind=connection, join_transaction_mode="rollback_only") as session:
        add(session, "ann")
        session.rollback()

    assert not outer.is_active
    assert not connection.in_transaction()
    assert ground.usernames() == []


def test_control_fully_commits_the_outer_transaction(
    ground: Ground, connection: Connection, library: Library
) -> None:
    outer = connection.begin()

    with library.Session(bind=connection, join_transaction_mode="control_fully") as session:
        add(session, "ann")
        session.commit()

    assert not outer.is_active
    assert ground.usernames() == ["ann"]


def test_conditional_savepoint_joins_a_savepoint_with_one(
    ground: Ground, connection: Connection, library: Library
) -> None:
    outer = connection.begin()
    nested = connection.begin_nested()

    with library.Session(bind=connection) as session:
        add(session, "ann")
        session.rollback()
        add(session, "bob")
        session.commit()
    nested.commit()
    outer.commit()

    assert ground.usernames() == ["bob"]


def test_the_recipe_of_a_test_suite_leaves_no_row(
    ground: Ground, connection: Connection, library: Library
) -> None:
    outer = connection.begin()
    factory = library.sessionmaker(connection, join_transaction_mode="create_savepoint")

    with factory.begin() as session:
        session.add(User(username="ann"))
    with factory() as session:
        found = session.query(User).count()
        with session.begin_nested():
            add(session, "bob")
    outer.rollback()

    assert found == 1
    assert ground.usernames() == []


def test_a_session_on_a_connection_prints_itself_without_secrets(
    ground: Ground, connection: Connection, library: Library
) -> None:
    with library.Session(bind=connection) as session:
        session.execute(text("SELECT 1"))
        printed = repr(session)

    assert "Session" in printed
    assert "p%40ss" not in printed


# Two-phase transactions


@pytest.fixture(params=["engines", "engines of Databases"])
def pair(request: pytest.FixtureRequest, ground: Ground) -> tuple[Engine, Engine]:
    if ground.family == "sqlite":
        pytest.skip("SQLite has no two-phase transactions")
    # makes the tables of the other database too
    main, other = ground.engine(), ground.engine(database="other")
    if request.param == "engines":
        return main, other
    return ground.database().engine, ground.database(url=ground.url_of("other")).engine


def insert_into_both(session: Any, other: Engine) -> None:
    session.add(User(username="ann"))
    session.flush()
    statement = text("INSERT INTO users (username, balance) VALUES ('ann', 0)")
    session.execute(statement, bind_arguments={"bind": other})


def test_both_databases_commit_as_one(
    ground: Ground, pair: tuple[Engine, Engine], library: Library
) -> None:
    main, other = pair

    with library.Session(main, twophase=True) as session:
        insert_into_both(session, other)
        session.commit()

    with other.connect() as connection:
        assert count(connection) == 1
    assert ground.usernames() == ["ann"]


def test_both_databases_roll_back_as_one(
    ground: Ground, pair: tuple[Engine, Engine], library: Library
) -> None:
    main, other = pair

    with library.Session(main, twophase=True) as session:
        insert_into_both(session, other)
        session.rollback()

    with other.connect() as connection:
        assert count(connection) == 0
    assert ground.usernames() == []


def test_a_prepared_transaction_can_still_be_rolled_back(
    ground: Ground, pair: tuple[Engine, Engine], library: Library
) -> None:
    main, other = pair

    with library.Session(main, twophase=True) as session:
        insert_into_both(session, other)
        session.prepare()
        session.rollback()

    with other.connect() as connection:
        assert count(connection) == 0
    assert ground.usernames() == []
