"""Many new objects at once: their keys, what goes wrong, and ``add_all``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import create_engine, event, exc, inspect, orm, select, text
from sqlalchemy.orm.exc import FlushError

import hermetic
from hermetic.fast import arrays
from hermetic.fast.counts import counts
from tests.backends import Backend
from tests.fast.writing import Base, Order, User, kept, same


def test_keys_come_back_in_the_order_of_the_objects(
    backend: Backend, fresh_url: Callable[[Backend], Any]
) -> None:
    if backend.is_async:
        pytest.skip("the sync session is what writes, in both worlds")
    engine = create_engine(fresh_url(backend))
    Base.metadata.create_all(engine)
    users = [User(name=f"user {n} \\ \" {{,}} 'ä", age=n if n % 3 else None) for n in range(2500)]
    before = counts.get("flush:fast", 0)
    with hermetic.Session(engine, expire_on_commit=False) as session:
        session.add_all(users)
        session.commit()
        rows = session.execute(select(User.id, User.name, User.age).order_by(User.id)).all()
    engine.dispose()

    assert counts["flush:fast"] == before + 1
    assert [(user.id, user.name, user.age) for user in users] == [tuple(row) for row in rows]


def test_a_row_in_the_middle_that_fails() -> None:
    def program(session: Any, log: list[Any]) -> None:
        users = [User(name=f"u{n % 1500}", age=n) for n in range(2000)]
        session.add_all(kept(session, *users[:3], *users[1498:1502]) and users)
        with pytest.raises(exc.IntegrityError) as caught:
            session.flush()
        log.append(str(caught.value))
        log.append([user.id for user in users])
        session.rollback()

    assert same(program)


@pytest.mark.parametrize(
    "table",
    ["id INT PRIMARY KEY", "id INTEGER PRIMARY KEY ON CONFLICT IGNORE"],
    ids=["a key that is not the row's number", "a usual one"],
)
def test_a_table_that_is_not_what_it_is_said_to_be(table: str) -> None:
    outcomes: list[Any] = []
    for class_ in (orm.Session, hermetic.Session):
        engine = create_engine("sqlite://")
        with engine.begin() as connection:
            connection.execute(text(f"CREATE TABLE orders ({table}, user_id INT, item TEXT)"))
        orders = [Order(item="a"), Order(item="b")]
        with class_(engine) as session:
            session.add_all(orders)
            try:
                session.flush()
                outcomes.append([order.id for order in orders])
            except FlushError as error:
                outcomes.append(type(error).__name__)
        engine.dispose()

    assert outcomes[0] == outcomes[1]


def test_rows_that_the_table_ignores_are_missed() -> None:
    messages = []
    for class_ in (orm.Session, hermetic.Session):
        engine = create_engine("sqlite://")
        with engine.begin() as connection:
            columns = "id INTEGER PRIMARY KEY, user_id INT, item TEXT UNIQUE ON CONFLICT IGNORE"
            connection.execute(text(f"CREATE TABLE orders ({columns})"))
        with class_(engine) as session:
            session.add_all([Order(item="a"), Order(item="a")])
            with pytest.raises(FlushError) as caught:
                session.flush()
            messages.append(str(caught.value))
        engine.dispose()

    assert messages[0] == messages[1]


@pytest.mark.parametrize("value", [2**31, True, "x", 1.0], ids=repr)
def test_a_value_that_is_not_the_columns_is_no_literal(value: Any) -> None:
    assert arrays._literal([1, value], arrays.INTEGER, 2**31 - 1) is None


def test_add_all_takes_what_add_takes() -> None:
    def program(session: Any, log: list[Any]) -> None:
        first, second = kept(session, User(name="a"), User(name="b"))
        third = kept(session, User(name="c", orders=[Order(item="x")]))
        session.add_all(iter([first, second, first, third, Order(item="y", user=second)]))
        log.append([len(session.new), first in session, third.orders[0] in session])
        log.append(inspect(first).insert_order)
        session.commit()
        other = type(session)(session.bind)
        with pytest.raises(exc.InvalidRequestError):
            other.add_all([first])
        other.close()
        with pytest.raises(orm.exc.UnmappedInstanceError):
            session.add_all([User(name="d"), object()])
        log.append(len(session.new))

    assert same(program)


def test_add_all_tells_who_listens() -> None:
    seen: list[Any] = []
    with hermetic.Session() as session:
        event.listen(session, "after_attach", lambda _, instance: seen.append(instance.name))
        session.add_all([User(name="a"), User(name="b")])

    assert seen == ["a", "b"]
