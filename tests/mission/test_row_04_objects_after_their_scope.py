"""Row 4: create_user and get_user, each in a scope of its own; what was loaded can be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import selectinload
from sqlalchemy.orm.exc import DetachedInstanceError

from hermetic import Database, DetachedAccess, sessionmaker
from tests.dropin.ground import Ground
from tests.models import Order, User


class Application:
    """The articles' functions, as they stand there."""

    def __init__(self, engine: Engine) -> None:
        self.Session = sessionmaker(bind=engine)

    @contextmanager
    def session_scope(self) -> Iterator[Any]:
        session = self.Session()
        try:
            yield session
            session.commit()
        except:
            session.rollback()
            raise
        finally:
            session.close()

    def create_user(self, username: str, balance: int = 0) -> Any:
        with self.session_scope() as session:
            user = User(username=username, balance=balance)
            session.add(user)
            return user

    def get_user(self, username: str) -> Any:
        with self.session_scope() as session:
            return session.query(User).filter_by(username=username).first()

    def get_users(self) -> list[Any]:
        with self.session_scope() as session:
            return list(session.query(User).order_by(User.id).all())


def test_the_user_that_get_user_returns_can_be_read(engine: Engine) -> None:
    application = Application(engine)
    application.create_user("ann", balance=7)

    user = application.get_user("ann")

    assert (user.username, user.balance) == ("ann", 7)


def test_the_user_that_create_user_returns_has_its_id(engine: Engine) -> None:
    application = Application(engine)

    created = application.create_user("ann")

    assert created.id == application.get_user("ann").id
    assert (created.username, created.balance) == ("ann", 0)


def test_a_whole_list_can_be_read_afterwards(engine: Engine) -> None:
    application = Application(engine)
    for name in ("ann", "bob", "cid"):
        application.create_user(name)

    users = application.get_users()

    assert [user.username for user in users] == ["ann", "bob", "cid"]


def test_nobody_is_found_as_none(engine: Engine) -> None:
    application = Application(engine)

    assert application.get_user("nobody") is None


def test_the_loaded_user_is_a_snapshot_of_its_time(engine: Engine) -> None:
    application = Application(engine)
    application.create_user("ann", balance=1)
    before = application.get_user("ann")

    with application.session_scope() as session:
        session.query(User).filter_by(username="ann").first().balance = 2

    assert (before.balance, application.get_user("ann").balance) == (1, 2)


def test_the_user_can_be_used_in_another_scope(ground: Ground, engine: Engine) -> None:
    application = Application(engine)
    application.create_user("ann")
    user = application.get_user("ann")

    with application.session_scope() as session:
        session.add(user)
        user.balance = 9

    assert ground.seen("SELECT balance FROM users") == [(9,)]


def test_what_was_not_loaded_still_says_so(engine: Engine) -> None:
    application = Application(engine)
    application.create_user("ann")

    user = application.get_user("ann")

    with pytest.raises(DetachedInstanceError):
        _ = user.orders


# The same with a Database


def create_user(db: Database, username: str) -> User:
    with db.session() as session:
        user = User(username=username)
        session.add(user)
        return user


def get_user(db: Database, username: str) -> User | None:
    with db.session() as session:
        return session.query(User).filter_by(username=username).first()


def test_what_a_scope_loaded_can_be_read_after_it(db: Database) -> None:
    created = create_user(db, "ann")

    loaded = get_user(db, "ann")

    assert loaded is not None
    assert (loaded.id, loaded.username, loaded.balance) == (created.id, "ann", 0)


def test_what_a_scope_did_not_load_names_the_scope_and_its_line(db: Database) -> None:
    create_user(db, "ann")
    user = get_user(db, "ann")
    assert user is not None

    with pytest.raises(DetachedAccess) as raised:
        _ = user.orders

    assert raised.value.attribute == "orders"
    assert "'get_user'" in str(raised.value)
    assert __file__ in str(raised.value)


def test_what_a_scope_loaded_eagerly_can_be_read_to_its_leaves(db: Database) -> None:
    with db.session() as session:
        session.add(User(username="ann", orders=[Order(item="tea"), Order(item="cup")]))

    with db.session() as session:
        user = session.query(User).options(selectinload(User.orders)).one()

    assert [order.item for order in user.orders] == ["tea", "cup"]


async def test_it_is_the_same_under_asyncio(ground: Ground) -> None:
    db = Database(ground.bare_url)
    async with db.session() as session:
        created = User(username="ann", balance=3)
        session.add(created)

    async with db.session() as session:
        loaded = await session.get(User, created.id)
    await db.aclose()

    assert loaded is not None
    assert (loaded.username, loaded.balance) == ("ann", 3)
