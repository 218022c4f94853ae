"""Row 5: query().all(), iteration, filter_by().first(), add, delete, commit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import MultipleResultsFound, NoResultFound

from hermetic import Database, sessionmaker
from tests.dropin.ground import Ground
from tests.models import Order, User


@pytest.fixture
def session(engine: Engine) -> Iterator[Any]:
    """A session with three committed users."""
    made = sessionmaker(bind=engine)()
    made.add_all([User(username="ann", balance=1), User(username="bob", balance=2)])
    made.add(User(username="cid", balance=3))
    made.commit()
    yield made
    made.close()


def test_all_gives_every_row(session: Any) -> None:
    users = session.query(User).order_by(User.username).all()

    assert [user.username for user in users] == ["ann", "bob", "cid"]


def test_a_query_is_iterated(session: Any) -> None:
    names = set()
    for user in session.query(User):
        names.add(user.username)

    assert names == {"ann", "bob", "cid"}


def test_columns_are_queried_as_tuples(session: Any) -> None:
    rows = [
        (name, balance)
        for name, balance in session.query(User.username, User.balance).order_by(User.id)
    ]

    assert rows == [("ann", 1), ("bob", 2), ("cid", 3)]


def test_filter_by_first_gives_one_object_or_none(session: Any) -> None:
    bob = session.query(User).filter_by(username="bob").first()
    nobody = session.query(User).filter_by(username="nobody").first()

    assert bob.balance == 2
    assert nobody is None


def test_filters_orders_and_limits_combine(session: Any) -> None:
    query = session.query(User).filter(User.balance >= 2).order_by(User.balance.desc())

    assert [user.username for user in query] == ["cid", "bob"]
    assert [user.username for user in query.limit(1)] == ["cid"]
    assert [user.username for user in query.offset(1).limit(5)] == ["bob"]
    assert query.count() == 2


def test_one_wants_exactly_one(session: Any) -> None:
    assert session.query(User).filter_by(username="ann").one().balance == 1
    with pytest.raises(NoResultFound):
        session.query(User).filter_by(username="nobody").one()
    with pytest.raises(MultipleResultsFound):
        session.query(User).one()


def test_get_finds_by_primary_key(session: Any) -> None:
    ann = session.query(User).filter_by(username="ann").first()

    assert session.get(User, ann.id) is ann
    assert session.get(User, -1) is None


def test_aggregates_and_joins_are_queried(session: Any) -> None:
    ann = session.query(User).filter_by(username="ann").first()
    ann.orders.append(Order(item="tea"))
    session.commit()

    assert session.query(func.sum(User.balance)).scalar() == 6
    assert session.query(User).join(User.orders).all() == [ann]


def test_select_is_executed(session: Any) -> None:
    users = session.scalars(select(User).where(User.balance > 1).order_by(User.id)).all()

    assert [user.username for user in users] == ["bob", "cid"]


def test_an_added_object_is_there_after_the_commit(ground: Ground, session: Any) -> None:
    session.add(User(username="dan"))
    before = ground.usernames()

    session.commit()

    assert before == ["ann", "bob", "cid"]
    assert ground.usernames() == ["ann", "bob", "cid", "dan"]


def test_a_pending_object_is_found_by_the_next_query(ground: Ground, session: Any) -> None:
    session.add(User(username="dan"))

    found = session.query(User).filter_by(username="dan").first()

    assert found is not None
    assert "dan" not in ground.usernames()


def test_a_deleted_object_is_gone_after_the_commit(ground: Ground, session: Any) -> None:
    session.delete(session.query(User).filter_by(username="bob").first())
    session.commit()

    assert ground.usernames() == ["ann", "cid"]


def test_a_changed_attribute_is_written_by_the_commit(ground: Ground, session: Any) -> None:
    bob = session.query(User).filter_by(username="bob").first()
    bob.balance += 40
    assert bob in session.dirty
    session.commit()

    assert ground.seen("SELECT balance FROM users WHERE username = 'bob'") == [(42,)]


def test_a_query_updates_and_deletes_in_bulk(ground: Ground, session: Any) -> None:
    updated = session.query(User).filter(User.balance > 1).update({"balance": 0})
    deleted = session.query(User).filter_by(username="cid").delete()
    session.commit()

    assert (updated, deleted) == (2, 1)
    assert ground.seen("SELECT username, balance FROM users ORDER BY id") == [
        ("ann", 1),
        ("bob", 0),
    ]


def test_the_same_row_is_the_same_object(session: Any) -> None:
    first = session.query(User).filter_by(username="ann").first()
    again = session.query(User).filter_by(balance=1).first()

    assert first is again


def test_all_of_it_works_in_a_scope(ground: Ground, db: Database) -> None:
    with db.session() as session:
        session.add_all([User(username="ann"), User(username="bob"), User(username="cid")])
    with db.session() as session:
        session.delete(session.query(User).filter_by(username="bob").one())
        for user in session.query(User):
            user.balance = 5
    with db.session() as session:
        first = session.query(User).filter_by(username="ann").first()
        everybody = session.query(User).order_by(User.id).all()

    assert first is everybody[0]
    assert [(user.username, user.balance) for user in everybody] == [("ann", 5), ("cid", 5)]
    assert ground.usernames() == ["ann", "cid"]


async def test_all_of_it_works_in_a_task(ground: Ground) -> None:
    db = Database(ground.bare_url)

    async with db.session() as session:
        session.add_all([User(username="ann"), User(username="bob")])
    async with db.session() as session:
        bob = (await session.scalars(select(User).filter_by(username="bob"))).one()
        await session.delete(bob)
    async with db.session() as session:
        names = [user.username for user in await session.scalars(select(User))]
    await db.aclose()

    assert names == ["ann"]
