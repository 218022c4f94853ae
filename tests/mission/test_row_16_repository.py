"""Row 16: a repository class that owns engine and scoped session, and Database, which is it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import pytest
from sqlalchemy import create_engine

from hermetic import Database, scoped_session, sessionmaker
from tests.dropin.ground import Ground
from tests.dropin.threads import together
from tests.models import Base, User


class Users(Protocol):
    def create(self, username: str) -> Any: ...
    def get(self, username: str) -> Any: ...
    def all(self) -> list[Any]: ...
    def rename(self, username: str, to: str) -> None: ...
    def delete(self, username: str) -> None: ...
    def close(self) -> None: ...


class Repository:
    """As the articles write it."""

    def __init__(self, url: str) -> None:
        self.engine = create_engine(url)
        Base.metadata.create_all(self.engine)
        self.Session = scoped_session(sessionmaker(bind=self.engine))

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

    def create(self, username: str) -> Any:
        with self.session_scope() as session:
            user = User(username=username)
            session.add(user)
            return user

    def get(self, username: str) -> Any:
        with self.session_scope() as session:
            return session.query(User).filter_by(username=username).first()

    def all(self) -> list[Any]:
        with self.session_scope() as session:
            users: list[Any] = session.query(User).order_by(User.username).all()
            return users

    def rename(self, username: str, to: str) -> None:
        with self.session_scope() as session:
            session.query(User).filter_by(username=username).one().username = to

    def delete(self, username: str) -> None:
        with self.session_scope() as session:
            session.delete(session.query(User).filter_by(username=username).one())

    def close(self) -> None:
        self.Session.remove()
        self.engine.dispose()


class ShortRepository:
    """The same on a Database, which is engine, scope and registry in one."""

    def __init__(self, url: str) -> None:
        self.db = Database(url)
        Base.metadata.create_all(self.db.engine)

    def create(self, username: str) -> User:
        with self.db.session() as session:
            user = User(username=username)
            session.add(user)
            return user

    def get(self, username: str) -> User | None:
        with self.db.session(readonly=True) as session:
            return session.query(User).filter_by(username=username).first()

    def all(self) -> list[User]:
        with self.db.session(readonly=True) as session:
            return session.query(User).order_by(User.username).all()

    def rename(self, username: str, to: str) -> None:
        with self.db.session() as session:
            session.query(User).filter_by(username=username).one().username = to

    def delete(self, username: str) -> None:
        with self.db.session() as session:
            session.delete(session.query(User).filter_by(username=username).one())

    def close(self) -> None:
        self.db.close()


KINDS: list[Callable[[str], Users]] = [Repository, ShortRepository]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def users(request: pytest.FixtureRequest, ground: Ground) -> Iterator[Users]:
    kind: type[Any] = request.param
    made: Users = kind(ground.url)
    yield made
    made.close()
    assert ground.has_connections(0)


def test_what_is_created_is_found(users: Users) -> None:
    created = users.create("ann")

    found = users.get("ann")

    assert found.id == created.id
    assert found.username == "ann"


def test_nobody_is_none(users: Users) -> None:
    assert users.get("nobody") is None


def test_all_are_listed_renamed_and_deleted(users: Users) -> None:
    for username in ("cid", "ann", "bob"):
        users.create(username)

    users.rename("bob", to="bea")
    users.delete("cid")

    assert [user.username for user in users.all()] == ["ann", "bea"]


def test_an_error_leaves_the_repository_as_it_was(ground: Ground, users: Users) -> None:
    users.create("ann")

    with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
        users.create("ann")

    users.create("bob")
    assert ground.usernames() == ["ann", "bob"]


def test_threads_share_one_repository(ground: Ground, users: Users) -> None:
    def work(number: int) -> Callable[[], list[Any]]:
        def create_and_list() -> list[Any]:
            users.create(f"user {number}")
            return users.all()

        return create_and_list

    listed = together(*(work(number) for number in range(6)))

    assert len(ground.usernames()) == 6
    # each sees at least what it has committed itself
    assert all(listed)


def test_a_database_joins_what_the_articles_repository_keeps_apart(ground: Ground) -> None:
    repository = ShortRepository(ground.url)

    def create_both() -> None:
        with repository.db.session():
            repository.create("ann")
            repository.create("bob")
            raise LookupError

    with pytest.raises(LookupError):
        create_both()
    repository.close()

    assert ground.usernames() == []
