"""Credentials reach no repr, no error, no pickle, no snapshot and no log."""

from __future__ import annotations

import logging
import pickle
import traceback
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url

from hermetic import (
    AuthenticationFailed,
    CannotConnect,
    ConfigurationError,
    Database,
    FaultError,
    InvalidStatement,
    Session,
    async_scoped_session,
    async_sessionmaker,
    scoped_session,
    sessionmaker,
)
from tests.backends import BACKENDS
from tests.servers.process import free_port
from tests.worlds import World

CANARY = "s3cr3t-canary"

on_servers = pytest.mark.parametrize(
    "backend",
    [
        pytest.param(backend, id=backend.name, marks=getattr(pytest.mark, backend.family))
        for backend in BACKENDS
        if backend.family != "sqlite"
    ],
    indirect=True,
)


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """All that is logged; of aiosqlite less, which logs every value that it is given."""
    caplog.set_level(logging.DEBUG)
    for name in ("sqlalchemy.pool", "sqlalchemy.engine", "hermetic", "asyncio", "psycopg"):
        caplog.set_level(logging.DEBUG, logger=name)
    caplog.set_level(logging.INFO, logger="aiosqlite")
    return caplog


def told_by(error: BaseException) -> list[str]:
    """All that an error says, by itself and by those it came from."""
    told = ["".join(traceback.format_exception(error))]
    seen: BaseException | None = error
    while seen is not None:
        told += [str(seen), repr(seen), repr(seen.args)]
        if type(seen).__module__.startswith(("hermetic", "sqlalchemy")):
            told.append(repr(vars(seen)))
        seen = seen.__cause__ or seen.__context__
    return told


def told_by_database(db: Database) -> list[str]:
    return [repr(db), db.explain(), repr(db.options), repr(db.snapshot()), repr(db.session())]


async def close(world: World, db: Database) -> None:
    if world.is_async:
        await db.aclose()
    else:
        db.close()


def with_secret(world: World, **changes: Any) -> str:
    url = make_url(world.url).set(password=CANARY, **changes)
    return url.render_as_string(hide_password=False)


async def failing(world: World, url: str, **options: Any) -> tuple[Any, list[str]]:
    """What a scope raises whose connection cannot be made, and what the Database tells then."""
    db = Database(url, **options)
    try:
        async with world.session(db) as session:
            await session.execute("SELECT 1")
    except Exception as error:
        return error, told_by_database(db)
    finally:
        await close(world, db)
    pytest.fail("connected")


# ---------------------------------------------------------------- connects that fail


@on_servers
async def test_a_wrong_password_is_told_to_nobody(
    world: World, heard: pytest.LogCaptureFixture
) -> None:
    error, told = await failing(world, with_secret(world))

    assert isinstance(error, AuthenticationFailed)
    for text in (*told_by(error), *told, heard.text):
        assert CANARY not in text
    assert CANARY.encode() not in pickle.dumps(error)


@on_servers
async def test_a_server_that_is_not_there_is_not_told_of_with_the_password(
    world: World, heard: pytest.LogCaptureFixture
) -> None:
    error, told = await failing(world, with_secret(world, port=free_port()))

    assert isinstance(error, CannotConnect)
    for text in (*told_by(error), *told, heard.text):
        assert CANARY not in text
    assert CANARY.encode() not in pickle.dumps(error)


@on_servers
async def test_a_password_in_the_connect_arguments_is_told_to_nobody(
    world: World, heard: pytest.LogCaptureFixture
) -> None:
    url = make_url(world.url).set(password=None).render_as_string()

    error, told = await failing(world, url, connect_args={"password": CANARY})

    assert isinstance(error, FaultError)
    for text in (*told_by(error), *told, heard.text):
        assert CANARY not in text


@on_servers
async def test_an_argument_that_the_driver_does_not_know_is_told_of_without_the_password(
    world: World, heard: pytest.LogCaptureFixture
) -> None:
    error, told = await failing(world, with_secret(world), connect_args={"no_such_argument": 1})

    for text in (*told_by(error), *told, heard.text):
        assert CANARY not in text


# ---------------------------------------------------------------- connects that succeed


@on_servers
async def test_the_password_of_a_working_connection_is_told_to_nobody(
    world: World, heard: pytest.LogCaptureFixture
) -> None:
    password = make_url(world.url).password
    assert password
    db = world.database(name="shop", echo=False)
    events: list[Any] = []
    db.listen(events.append)
    told: list[str] = []
    error: Any = None

    try:
        async with world.session(db, name="work") as session:
            await session.execute("SELECT 1")
            told += [*told_by_database(db), repr(session), repr(session.scope)]
            told += [repr(db.registry.scopes), repr(db.registry.gates)]
            await session.execute("SELECT * FROM nowhere")
    except InvalidStatement as raised:
        error = raised

    assert error is not None
    told += [*told_by(error), repr(events), heard.text]
    assert "SELECT 1" in heard.text
    for text in told:
        assert password not in text.replace("hermetic:***", "")
    assert len(pickle.dumps(error)) < 10_000


async def test_bound_values_are_told_to_nobody(
    world: World, heard: pytest.LogCaptureFixture
) -> None:
    error: Any = None
    db = world.database()

    try:
        async with world.session(db) as session:
            await session.execute(
                "INSERT INTO users (username, balance) VALUES (:name, 1)", {"name": CANARY}
            )
            snapshot = repr(db.snapshot())
            await session.execute("SELECT :x FROM nowhere", {"x": CANARY})
    except FaultError as raised:
        error = raised

    assert error is not None
    for text in (*told_by(error), snapshot, heard.text):
        assert CANARY not in text
    assert CANARY.encode() not in pickle.dumps(error)


# ---------------------------------------------------------------- sessions and factories


URL_WITH_SECRETS = f"postgresql+psycopg://u:{CANARY}@h/d?sslpassword={CANARY}&password={CANARY}"


def test_a_session_does_not_tell_the_secrets_of_its_engine() -> None:
    engine = create_engine(URL_WITH_SECRETS)
    make = sessionmaker(bind=engine)
    registry: Any = scoped_session(make)
    registry()

    for thing in (Session(engine), make(), make, registry, Session()):
        assert CANARY not in repr(thing)


async def test_an_async_session_does_not_tell_the_secrets_of_its_engine() -> None:
    db = Database(URL_WITH_SECRETS)
    make = async_sessionmaker(db.async_engine)
    registry: Any = async_scoped_session(make)
    registry()

    for thing in (make(), registry):
        assert CANARY not in repr(thing)
    await registry.remove()
    await db.aclose()


def test_a_loose_session_is_listed_without_the_secrets_of_its_engine() -> None:
    db = Database(URL_WITH_SECRETS)
    with Session(create_engine(URL_WITH_SECRETS)) as session:
        session.begin()

        snapshot = db.snapshot()

    assert [info for info in snapshot.sessions if "MainThread" in info.owner]
    assert CANARY not in repr(snapshot)


def test_a_scope_on_a_secret_url_is_listed_without_its_secrets() -> None:
    db = Database(URL_WITH_SECRETS)

    with db.session() as session:
        for thing in (session, session.scope, db.snapshot(), db, db.current):
            assert CANARY not in repr(thing)

    assert CANARY not in repr(session)


# ---------------------------------------------------------------- secrets in a URL's query


QUERY = f"password={CANARY}&sslpassword={CANARY}"


async def test_an_engine_shows_no_secret_of_its_urls_query() -> None:
    urls = [f"postgresql+psycopg://u:{CANARY}@h/d?{QUERY}", f"mysql+pymysql://u@h/d?{QUERY}"]
    for url in urls:
        with Database(url) as db:
            for thing in (db.engine, db.engine.url, db.engine.pool, db.server, db.options):
                assert CANARY not in repr(thing)
                assert CANARY not in str(thing)
            assert CANARY not in db.explain()

    db = Database(f"postgresql+asyncpg://u:{CANARY}@h/d?{QUERY}")
    things: list[Any] = [db.async_engine, db.async_engine.url, db.async_engine.sync_engine]
    assert CANARY not in repr(things)
    await db.aclose()


@on_servers
async def test_a_password_in_the_query_still_works(
    world: World, heard: pytest.LogCaptureFixture
) -> None:
    url = make_url(world.url)
    password = url.password
    assert password
    moved = url.set(password=None).update_query_dict({"password": password})
    db = Database(moved.render_as_string(hide_password=False))

    async with world.session(db) as session:
        assert (await session.execute("SELECT 1")).scalar() == 1
    told = told_by_database(db)
    await close(world, db)

    for text in (*told, heard.text):
        assert password not in text.replace("hermetic:***", "")


@on_servers
async def test_a_wrong_password_in_the_query_is_told_to_nobody(
    world: World, heard: pytest.LogCaptureFixture
) -> None:
    url = make_url(world.url).set(password=None).update_query_dict({"password": CANARY})

    error, told = await failing(world, url.render_as_string(hide_password=False))

    for text in (*told_by(error), *told, heard.text):
        assert CANARY not in text
    assert CANARY.encode() not in pickle.dumps(error)


def test_a_wrong_option_or_url_is_told_of_without_secrets() -> None:
    wrong: list[tuple[Any, dict[str, Any]]] = [
        (f"postgresql://u:{CANARY}@h:port/d", {}),
        (f"nosuchdatabase://u:{CANARY}@h/d", {}),
        (f"postgresql+nosuchdriver://u:{CANARY}@h/d?{QUERY}", {}),
        (f"postgresql://u:{CANARY}@h:99999/d", {}),
        (f"postgresql://u:{CANARY}@h/d?{QUERY}&sslmode=disable", {"tls": "verify"}),
        ("postgresql://u@h/d", {"password": CANARY}),
        ("postgresql://u@h/d", {"connect_args": CANARY}),
        ("postgresql://u@h/d", {"tls": "verify", "connect_args": {"sslmode": CANARY}}),
    ]
    for url, options in wrong:
        with pytest.raises(ConfigurationError) as raised:
            Database(url, **options)
        for text in told_by(raised.value):
            assert CANARY not in text
        assert CANARY.encode() not in pickle.dumps(raised.value)
