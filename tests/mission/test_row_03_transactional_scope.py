"""Row 3: a transactional scope: commit, or roll back and raise again, and close in any case."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, QueuePool
from sqlalchemy.exc import DBAPIError, IntegrityError

from hermetic import Database, RolledBack, scoped_session, sessionmaker
from tests.dropin.ground import Ground
from tests.models import User

Scope = Callable[[], AbstractContextManager[Any]]


class Failure(Exception):
    pass


# The three forms of the articles


def as_a_function(engine: Engine) -> Scope:
    Session = sessionmaker(bind=engine)  # noqa: N806

    @contextmanager
    def session_scope() -> Iterator[Any]:
        session = Session()
        try:
            yield session
            session.commit()
        except:
            session.rollback()
            raise
        finally:
            session.close()

    return session_scope


def as_a_function_of_the_factory(engine: Engine) -> Scope:
    @contextmanager
    def session_scope(session_factory: Any) -> Iterator[Any]:
        session = session_factory()
        try:
            yield session
            session.commit()
        except Exception:
            session.rollback()
            raise
        finally:
            session.close()

    Session = sessionmaker()  # noqa: N806
    Session.configure(bind=engine)
    return lambda: session_scope(Session)


class Repository:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.Session = scoped_session(sessionmaker(bind=engine))

    @contextmanager
    def session_scope(self) -> Iterator[Any]:
        session = self.Session()
        try:
            yield session
            session.commit()
        except BaseException:
            session.rollback()
            raise
        finally:
            session.close()


def as_a_method(engine: Engine) -> Scope:
    return Repository(engine).session_scope


def with_begin_of_the_factory(engine: Engine) -> Scope:
    return sessionmaker(bind=engine).begin


FORMS = [as_a_function, as_a_function_of_the_factory, as_a_method, with_begin_of_the_factory]


@pytest.fixture(params=FORMS, ids=lambda form: form.__name__)
def session_scope(request: pytest.FixtureRequest, engine: Engine) -> Scope:
    form: Callable[[Engine], Scope] = request.param
    return form(engine)


def lent(engine: Engine) -> int:
    pool = engine.pool
    assert isinstance(pool, QueuePool)
    return pool.checkedout()


# Their way, on hermetic's sessions


def test_their_scope_commits_and_closes(
    ground: Ground, engine: Engine, session_scope: Scope
) -> None:
    with session_scope() as session:
        session.add(User(username="ann"))

    assert ground.usernames() == ["ann"]
    assert lent(engine) == 0


def test_their_scope_rolls_back_and_raises_the_same_error(
    ground: Ground, engine: Engine, session_scope: Scope
) -> None:
    failure = Failure()

    def fail() -> None:
        with session_scope() as session:
            session.add(User(username="ann"))
            session.flush()
            raise failure

    with pytest.raises(Failure) as raised:
        fail()

    assert raised.value is failure
    assert ground.usernames() == []
    assert lent(engine) == 0


def test_their_scope_raises_what_the_commit_raised(
    ground: Ground, engine: Engine, session_scope: Scope
) -> None:
    def create_users(*usernames: str) -> None:
        with session_scope() as session:
            session.add_all([User(username=username) for username in usernames])

    create_users("ann")

    with pytest.raises(IntegrityError):
        create_users("bob", "ann")

    assert ground.usernames() == ["ann"]
    assert lent(engine) == 0


def test_their_scope_survives_an_error_of_the_database(
    ground: Ground, engine: Engine, session_scope: Scope
) -> None:
    def misspell() -> None:
        with session_scope() as session:
            session.add(User(username="ann"))
            session.execute("SELECT no_such_column FROM users")

    with pytest.raises(DBAPIError):
        misspell()

    with session_scope() as session:
        session.add(User(username="bob"))
    assert ground.usernames() == ["bob"]
    assert lent(engine) == 0


def test_their_scope_can_be_used_again_and_again(ground: Ground, session_scope: Scope) -> None:
    for number in range(5):
        with session_scope() as session:
            session.add(User(username=f"user {number}"))

    assert len(ground.usernames()) == 5


# The one line that replaces it


def test_one_line_commits_and_closes(ground: Ground, db: Database) -> None:
    with db.session() as session:
        session.add(User(username="ann"))

    assert ground.usernames() == ["ann"]
    assert db.snapshot().scopes == ()


def test_one_line_rolls_back_and_raises_the_same_error(ground: Ground, db: Database) -> None:
    failure = Failure()

    def fail() -> None:
        with db.session() as session:
            session.add(User(username="ann"))
            session.flush()
            raise failure

    with pytest.raises(Failure) as raised:
        fail()

    assert raised.value is failure
    assert ground.usernames() == []
    assert db.snapshot().scopes == ()


def test_one_line_rolls_back_when_the_program_is_interrupted(ground: Ground, db: Database) -> None:
    def interrupted() -> None:
        with db.session() as session:
            session.add(User(username="ann"))
            session.flush()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert ground.usernames() == []


async def test_one_line_is_the_same_under_asyncio(ground: Ground) -> None:
    db = Database(ground.bare_url)

    async def fail() -> None:
        async with db.session() as session:
            session.add(User(username="bob"))
            await session.flush()
            raise Failure

    async with db.session() as session:
        session.add(User(username="ann"))
    with pytest.raises(Failure):
        await fail()
    await db.aclose()

    assert ground.usernames() == ["ann"]


def test_one_line_decorates_a_function(ground: Ground, db: Database) -> None:
    @db.session()
    def create_user(session: Any, username: str) -> None:
        session.add(User(username=username))

    create_user("ann")

    assert ground.usernames() == ["ann"]


# Where theirs is not right


def test_a_swallowed_error_never_makes_a_commit_a_silent_rollback(
    ground: Ground, db: Database
) -> None:
    def swallow() -> None:
        with db.session() as session:
            session.add(User(username="ann"))
            session.flush()
            try:
                session.execute("SELECT no_such_column FROM users")
            except DBAPIError:
                pass

    if ground.family == "postgresql":
        # there the transaction is lost from the first error on
        with pytest.raises(RolledBack) as raised:
            swallow()
        assert isinstance(raised.value.__cause__, DBAPIError)
        assert ground.usernames() == []
    else:
        swallow()
        assert ground.usernames() == ["ann"]


def test_the_articles_scope_on_the_databases_engine_is_told_as_well(
    ground: Ground, db: Database
) -> None:
    session_scope = as_a_function(db.engine)

    def swallow() -> None:
        with session_scope() as session:
            session.add(User(username="ann"))
            session.flush()
            try:
                session.execute("SELECT no_such_column FROM users")
            except DBAPIError:
                pass

    if ground.family == "postgresql":
        with pytest.raises(RolledBack):
            swallow()
        assert ground.usernames() == []
    else:
        swallow()
        assert ground.usernames() == ["ann"]


def test_a_scope_inside_a_scope_is_one_unit_not_two(ground: Ground, db: Database) -> None:
    def create_user(username: str) -> None:
        with db.session() as session:
            session.add(User(username=username))

    def create_users() -> None:
        with db.session():
            create_user("ann")
            create_user("bob")
            raise Failure

    with pytest.raises(Failure):
        create_users()

    assert ground.usernames() == []
