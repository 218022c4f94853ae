"""scoped_session: SQLAlchemy's registry and proxy."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import Engine, QueuePool, orm, select, text
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext import asyncio as sa_asyncio

from hermetic import (
    AsyncSession,
    Database,
    NoScope,
    Outcome,
    Session,
    async_scoped_session,
    async_sessionmaker,
    scoped_session,
    sessionmaker,
)
from tests.dropin.conftest import Library
from tests.dropin.ground import Ground
from tests.dropin.threads import in_thread
from tests.models import User


def registry_of(library: Library, engine: Engine, **options: Any) -> Any:
    return library.scoped_session(library.sessionmaker(engine), **options)


def test_they_are_sqlalchemys_registries() -> None:
    assert isinstance(scoped_session(sessionmaker()), orm.scoped_session)
    assert isinstance(async_scoped_session(async_sessionmaker()), sa_asyncio.async_scoped_session)


def test_one_thread_has_one_session(engine: Engine, library: Library) -> None:
    registry = registry_of(library, engine)

    mine = registry()

    assert registry() is mine
    assert in_thread(lambda: registry() is mine) is False
    registry.remove()
    assert registry() is not mine


def test_arguments_go_to_the_first_call_only(engine: Engine, library: Library) -> None:
    registry = registry_of(library, engine)

    session = registry(autoflush=False)

    assert not session.autoflush
    assert registry() is session
    with pytest.raises(InvalidRequestError, match="already present"):
        registry(autoflush=True)
    registry.remove()


def test_configure_reaches_the_next_session(engine: Engine, library: Library) -> None:
    registry = library.scoped_session(library.sessionmaker())

    registry.configure(bind=engine)

    assert registry.bind is engine
    registry.remove()


def test_configure_with_a_session_open_warns(engine: Engine, library: Library) -> None:
    registry = registry_of(library, engine)
    registry()

    with pytest.warns(Warning, match="already present"):
        registry.configure(autoflush=False)

    registry.remove()


def test_the_proxy_does_what_the_session_does(
    ground: Ground, engine: Engine, library: Library
) -> None:
    registry = registry_of(library, engine)
    user = User(username="ann")

    registry.add(user)
    pending = user in registry.new
    registry.flush()
    found = registry.scalars(select(User)).one()
    registry.rollback()
    others = [User(username="bob"), User(username="cid")]
    registry.add_all(others)
    registry.commit()

    assert pending
    assert found is user
    assert sorted(map(id, registry)) == sorted(map(id, others))
    assert registry.get(User, -1) is None
    assert registry.info == {}
    assert ground.usernames() == ["bob", "cid"]
    registry.remove()


def test_what_a_session_offers_of_its_scope_is_there_through_the_proxy() -> None:
    with Database("sqlite://") as db:
        registry = scoped_session(lambda: db.current, scopefunc=lambda: id(db.current))
        seen = []
        with db.session() as session:
            registry.on_commit(lambda: seen.append("committed"))
            registry.on_rollback(lambda: seen.append("rolled back"))
            registry.before_commit(lambda: seen.append("about to"))
            scope = registry.scope
            outcome = registry.outcome
            with registry.lend() as lent:
                pass
        with db.session() as rolled_back:
            registry.rollback_only()

    assert scope is session.scope
    assert outcome is None
    assert lent is session
    assert seen == ["about to", "committed"]
    assert rolled_back.outcome is Outcome.NOT_COMMITTED


async def test_outside_any_scope_the_proxies_say_that_there_is_none() -> None:
    for make in (scoped_session(sessionmaker()), async_scoped_session(async_sessionmaker())):
        registry: Any = make

        assert registry.scope is None
        assert registry.outcome is None
        for name in ("on_commit", "on_rollback", "before_commit"):
            with pytest.raises(NoScope, match=f"{name} belongs to scopes"):
                getattr(registry, name)(print)
        for name in ("rollback_only", "lend"):
            with pytest.raises(NoScope, match=f"{name} belongs to scopes"):
                getattr(registry, name)()


def test_blocks_work_through_the_proxy(ground: Ground, engine: Engine, library: Library) -> None:
    registry = registry_of(library, engine)

    with registry.begin():
        registry.add(User(username="ann"))
    with registry() as session:
        session.add(User(username="bob"))
        session.commit()

    assert ground.usernames() == ["ann", "bob"]
    registry.remove()


def test_query_property_gives_models_a_query(engine: Engine, library: Library) -> None:
    registry = registry_of(library, engine)
    property_: Any = registry.query_property()

    class Queried:
        query = property_

    registry.add(User(username="ann"))
    registry.flush()
    Queried.__mapper__ = User.__mapper__  # type: ignore[attr-defined]
    found = property_.__get__(None, User).filter_by(username="ann").one()

    assert found.username == "ann"
    registry.remove()


def test_the_registry_behind_it_can_be_asked(engine: Engine, library: Library) -> None:
    registry = registry_of(library, engine)

    before = registry.registry.has()
    session = registry()
    during = registry.registry.has()
    registry.registry.clear()
    registry.registry.set(session)

    assert (before, during) == (False, True)
    assert registry() is session
    registry.remove()
    assert not registry.registry.has()


def test_a_scopefunc_tells_the_callers_apart(engine: Engine, library: Library) -> None:
    request = ["one"]
    registry = registry_of(library, engine, scopefunc=lambda: request[0])

    first = registry()
    request[0] = "two"
    second = registry()
    request[0] = "one"

    assert first is not second
    assert registry() is first
    # the same request in another thread is the same session
    assert in_thread(registry) is first
    for name in ("one", "two"):
        request[0] = name
        registry.remove()


def test_removing_closes(engine: Engine, library: Library) -> None:
    registry = registry_of(library, engine)
    registry.execute(text("SELECT 1"))
    pool = engine.pool
    assert isinstance(pool, QueuePool)
    held = pool.checkedout()

    registry.remove()
    registry.remove()

    assert (held, pool.checkedout()) == (1, 0)


def test_any_callable_can_make_the_sessions(engine: Engine, library: Library) -> None:
    made: list[Any] = []

    def make(**options: Any) -> Any:
        made.append(library.Session(engine, **options))
        return made[-1]

    registry = library.scoped_session(make)

    assert registry() is made[0]
    assert registry.scalar(text("SELECT 1")) == 1
    registry.remove()


def test_a_session_of_sqlalchemys_can_be_registered(engine: Engine) -> None:
    registry = scoped_session(orm.sessionmaker(engine))

    assert registry.execute(text("SELECT 1")).scalar() == 1
    registry.remove()


def test_threads_do_not_wait_for_each_other_to_register(engine: Engine, library: Library) -> None:
    registry = registry_of(library, engine)
    ready = threading.Event()

    def other() -> Any:
        ready.set()
        session = registry()
        registry.remove()
        return session

    mine = registry()
    others = in_thread(other)

    assert ready.is_set()
    assert others is not mine
    registry.remove()


# asyncio


async def test_the_async_proxy_does_what_the_session_does(ground: Ground) -> None:
    async with ground.async_engine() as engine:
        registry = async_scoped_session(async_sessionmaker(engine))
        user = User(username="ann")
        registry.add(user)
        await registry.flush()
        found = (await registry.scalars(select(User))).one()
        await registry.rollback()
        async with registry.begin():
            registry.add(User(username="bob"))
        again = registry() is registry()
        await registry.remove()

    assert found is user
    assert again
    assert ground.usernames() == ["bob"]


async def test_an_async_scopefunc_tells_the_callers_apart(ground: Ground, library: Library) -> None:
    request = ["one"]

    async with ground.async_engine() as engine:
        registry = library.async_scoped_session(
            library.async_sessionmaker(engine), scopefunc=lambda: request[0]
        )
        first = registry()
        request[0] = "two"
        second = registry()
        await registry.remove()
        request[0] = "one"
        kept = registry() is first
        await registry.remove()

    assert first is not second
    assert kept


async def test_async_arguments_go_to_the_first_call_only(ground: Ground) -> None:
    async with ground.async_engine() as engine:
        registry = async_scoped_session(async_sessionmaker(engine))
        session = registry(autoflush=False)
        flushes = session.sync_session.autoflush
        with pytest.raises(InvalidRequestError, match="already present"):
            registry(autoflush=True)
        await registry.remove()

    assert not flushes


def test_outside_of_a_loop_an_async_registry_belongs_to_the_thread() -> None:
    registry = async_scoped_session(async_sessionmaker())

    session = registry()

    assert registry() is session
    assert in_thread(lambda: registry() is session) is False


@pytest.mark.parametrize(
    ("session", "proxy", "plain_session", "plain_proxy"),
    [
        (Session, scoped_session, orm.Session, orm.scoped_session),
        (
            AsyncSession,
            async_scoped_session,
            sa_asyncio.AsyncSession,
            sa_asyncio.async_scoped_session,
        ),
    ],
)
def test_what_hermetics_sessions_offer_besides_is_offered_too(
    session: type, proxy: type, plain_session: type, plain_proxy: type
) -> None:
    lacking = {name for name in dir(session) if not hasattr(proxy, name)}
    lacking_in_sqlalchemy = {name for name in dir(plain_session) if not hasattr(plain_proxy, name)}

    assert {name for name in lacking if not name.startswith("_")} <= lacking_in_sqlalchemy
