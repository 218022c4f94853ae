"""sessionmaker and async_sessionmaker: SQLAlchemy's, with one other default."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from sqlalchemy import Engine, orm, text
from sqlalchemy.ext import asyncio as sa_asyncio
from sqlalchemy.orm.exc import DetachedInstanceError

import hermetic
from hermetic import AsyncSession, Session, async_sessionmaker, sessionmaker
from tests.dropin.conftest import HERMETIC, SQLALCHEMY, Library
from tests.dropin.ground import Ground
from tests.models import User


def test_they_are_sqlalchemys_factories() -> None:
    assert isinstance(sessionmaker(), orm.sessionmaker)
    assert isinstance(async_sessionmaker(), sa_asyncio.async_sessionmaker)


@pytest.mark.parametrize("name", ["sessionmaker", "async_sessionmaker"])
def test_they_take_sqlalchemys_arguments(name: str) -> None:
    ours = inspect.signature(getattr(HERMETIC, name)).parameters
    theirs = inspect.signature(getattr(SQLALCHEMY, name)).parameters

    assert list(ours) == list(theirs)
    for parameter in theirs.values():
        if parameter.name not in {"class_", "expire_on_commit"}:
            assert ours[parameter.name].default == parameter.default
        assert ours[parameter.name].kind == parameter.kind


def test_their_sessions_are_hermetics() -> None:
    assert isinstance(sessionmaker()(), Session)
    assert isinstance(async_sessionmaker()(), AsyncSession)
    assert isinstance(async_sessionmaker()().sync_session, Session)


@pytest.mark.parametrize(
    "name", ["sessionmaker", "async_sessionmaker", "scoped_session", "async_scoped_session"]
)
def test_their_types_take_the_session_class(library: Library, name: str) -> None:
    # as in `Session: sessionmaker[MySession] = …`, which is evaluated where it stands
    alias: Any = getattr(library, name)[library.Session]

    assert alias.__args__ == (library.Session,)


def test_what_was_loaded_outlives_the_commit(engine: Engine) -> None:
    with sessionmaker(engine).begin() as session:
        user = User(username="ann", balance=3)
        session.add(user)

    assert (user.username, user.balance) == ("ann", 3)


def test_sqlalchemys_default_can_be_had(engine: Engine) -> None:
    with sessionmaker(engine, expire_on_commit=True).begin() as session:
        user = User(username="ann")
        session.add(user)

    with pytest.raises(DetachedInstanceError):
        _ = user.username


def test_the_session_class_itself_keeps_sqlalchemys_default(engine: Engine) -> None:
    with Session(engine) as session, session.begin():
        user = User(username="ann")
        session.add(user)

    with pytest.raises(DetachedInstanceError):
        _ = user.username


def test_arguments_of_the_call_win(engine: Engine, library: Library) -> None:
    factory = library.sessionmaker(engine, autoflush=False, info={"a": 1})

    session = factory(autoflush=True, info={"b": 2})

    assert session.autoflush
    assert session.info == {"a": 1, "b": 2}
    assert factory().info == {"a": 1}


def test_configure_changes_what_comes_after(ground: Ground, library: Library) -> None:
    first, second = ground.engine(), ground.engine()
    factory = library.sessionmaker(first)

    factory.configure(bind=second, autoflush=False)

    assert factory().bind is second
    assert not factory().autoflush


def test_the_bind_may_be_positional_or_named(engine: Engine, library: Library) -> None:
    assert library.sessionmaker(engine)().bind is engine
    assert library.sessionmaker(bind=engine)().bind is engine
    assert library.sessionmaker()(bind=engine).bind is engine


def test_begin_of_a_factory_commits_and_closes(
    ground: Ground, engine: Engine, library: Library
) -> None:
    with library.sessionmaker(engine).begin() as session:
        session.add(User(username="ann"))

    assert ground.usernames() == ["ann"]
    assert not session.in_transaction()


def test_a_class_of_ones_own_is_used(engine: Engine, library: Library) -> None:
    class Mine(library.Session):  # type: ignore[misc, name-defined]
        def users(self) -> Any:
            return self.query(User).count()

    factory = library.sessionmaker(engine, class_=Mine)

    with factory() as session:
        assert isinstance(session, Mine)
        assert session.users() == 0


def test_a_class_of_sqlalchemys_is_used_as_it_is(engine: Engine) -> None:
    with sessionmaker(engine, class_=orm.Session)() as session:
        kind = type(session)
        answer = session.execute(text("SELECT 1")).scalar()

    assert not issubclass(kind, Session)
    assert answer == 1


def test_a_factory_prints_itself(engine: Engine, library: Library) -> None:
    printed = repr(library.sessionmaker(engine))

    assert printed.startswith("sessionmaker(class_=")
    assert "autoflush=True" in printed


def test_an_old_sessions_arguments_are_refused_as_ever(library: Library) -> None:
    with pytest.raises(TypeError, match="no_such_argument"):
        library.sessionmaker(no_such_argument=1)()


def test_close_all_closes_the_sessions_of_the_factory(engine: Engine, library: Library) -> None:
    session = library.sessionmaker(engine)()
    session.execute(text("SELECT 1"))

    orm.close_all_sessions()

    assert not session.in_transaction()


def test_identity_keys_come_from_the_classes(library: Library) -> None:
    assert library.sessionmaker.identity_key(User, 5)[1] == (5,)
    assert library.Session.identity_key(User, 5)[1] == (5,)


# asyncio


async def test_an_async_factory_works_alike(ground: Ground, library: Library) -> None:
    async with ground.async_engine() as engine:
        factory = library.async_sessionmaker(engine, expire_on_commit=False)
        async with factory.begin() as session:
            user = User(username="ann")
            session.add(user)
        async with factory() as session:
            found = await session.get(User, user.id)

    assert found.username == "ann"
    assert ground.usernames() == ["ann"]


async def test_what_an_async_session_loaded_outlives_the_commit(ground: Ground) -> None:
    async with ground.async_engine() as engine, async_sessionmaker(engine).begin() as session:
        user = User(username="ann", balance=3)
        session.add(user)

    assert (user.username, user.balance) == ("ann", 3)


async def test_an_async_factory_is_configured_later(ground: Ground, library: Library) -> None:
    factory = library.async_sessionmaker()

    async with ground.async_engine() as engine:
        factory.configure(bind=engine)
        async with factory() as session:
            answer = await session.scalar(text("SELECT 1"))

    assert answer == 1


async def test_an_async_class_and_its_sync_class_can_be_ones_own(
    ground: Ground, library: Library
) -> None:
    class MineSync(library.Session):  # type: ignore[misc, name-defined]
        pass

    class Mine(library.AsyncSession):  # type: ignore[misc, name-defined]
        sync_session_class = MineSync

    async with ground.async_engine() as engine:
        async with library.async_sessionmaker(engine, class_=Mine)() as session:
            answer = await session.scalar(text("SELECT 1"))
            kinds = isinstance(session, Mine), isinstance(session.sync_session, MineSync)
        async with library.AsyncSession(engine, sync_session_class=MineSync) as session:
            given = isinstance(session.sync_session, MineSync)

    assert answer == 1
    assert kinds == (True, True)
    assert given


def test_the_six_names_are_offered_at_the_top() -> None:
    for name in ("Session", "AsyncSession", "sessionmaker", "async_sessionmaker"):
        assert name in hermetic.__all__
    for name in ("scoped_session", "async_scoped_session"):
        assert name in hermetic.__all__
