"""Each snare does what its name says, at the message that it was set for."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, NullPool, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from tests.backends import SYNC_BACKENDS, Backend
from tests.databases import FreshUrl
from tests.fire.snares import COMMIT, Act, Snare, SnaringProxy, Where

pytestmark = pytest.mark.timing


@pytest.fixture(
    params=[
        pytest.param(backend, id=backend.name, marks=getattr(pytest.mark, backend.family))
        for backend in SYNC_BACKENDS
        if backend.family != "sqlite"
    ]
)
def backend(request: pytest.FixtureRequest) -> Backend:
    chosen: Backend = request.param
    return chosen


@pytest.fixture
def beside(backend: Backend, fresh_url: FreshUrl) -> Iterator[Engine]:
    """What is really in the database."""
    engine = create_engine(fresh_url(backend), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE seen (n int)"))
    yield engine
    engine.dispose()


@pytest.fixture
def proxy(backend: Backend, fresh_url: FreshUrl) -> Iterator[SnaringProxy]:
    with SnaringProxy(fresh_url(backend)) as proxy:
        yield proxy


@pytest.fixture
def engine(proxy: SnaringProxy) -> Iterator[Engine]:
    engine = create_engine(make_url(proxy.url), poolclass=NullPool)
    yield engine
    engine.dispose()


def insert(engine: Engine, number: int) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO seen VALUES (:n)"), {"n": number})


def seen(beside: Engine) -> list[int]:
    with beside.connect() as connection:
        return sorted(connection.scalars(text("SELECT n FROM seen")))


def test_without_a_snare_everything_passes(
    proxy: SnaringProxy, engine: Engine, beside: Engine
) -> None:
    for number in range(3):
        insert(engine, number)

    assert seen(beside) == [0, 1, 2]


@pytest.mark.parametrize("act", [Act.CUT_BEFORE, Act.RESET])
def test_a_commit_that_is_cut_before_never_arrives(
    proxy: SnaringProxy, engine: Engine, beside: Engine, act: Act
) -> None:
    snare = proxy.set_snare(Snare(Where(COMMIT), act))

    with pytest.raises(DBAPIError):
        insert(engine, 1)
    insert(engine, 2)

    assert snare.sprung.is_set()
    assert seen(beside) == [2]


def test_a_commit_whose_reply_is_dropped_was_carried_out(
    proxy: SnaringProxy, engine: Engine, beside: Engine
) -> None:
    proxy.set_snare(Snare(Where(COMMIT), Act.DROP_REPLY))

    with pytest.raises(DBAPIError):
        insert(engine, 1)

    assert seen(beside) == [1]


def test_a_message_that_is_cut_after_is_forwarded(
    proxy: SnaringProxy, engine: Engine, beside: Engine
) -> None:
    proxy.set_snare(Snare(Where(re.compile(rb"INSERT")), Act.CUT_AFTER))

    with pytest.raises(DBAPIError):
        insert(engine, 1)
    insert(engine, 2)

    assert seen(beside) == [2]


@pytest.mark.parametrize("act", [Act.DELAY_REPLY, Act.FREEZE])
def test_a_reply_that_is_delayed_arrives(
    proxy: SnaringProxy, engine: Engine, beside: Engine, act: Act
) -> None:
    proxy.set_snare(Snare(Where(COMMIT), act, seconds=0.3))

    begun = time.monotonic()
    insert(engine, 1)

    assert time.monotonic() - begun > 0.25
    assert seen(beside) == [1]


def test_the_one_after_some_others_is_struck(
    proxy: SnaringProxy, engine: Engine, beside: Engine
) -> None:
    snare = proxy.set_snare(Snare(Where(COMMIT, skip=2), Act.CUT_BEFORE))

    insert(engine, 1)
    insert(engine, 2)
    with pytest.raises(DBAPIError):
        insert(engine, 3)

    assert snare.sprung.is_set()
    assert seen(beside) == [1, 2]


def test_a_servers_message_is_struck(proxy: SnaringProxy, engine: Engine, beside: Engine) -> None:
    """The tag of PostgreSQL's INSERT; MariaDB's second OK, which follows the one of the login."""
    where = Where(re.compile(rb"INSERT"), server=True) if not proxy.mysql else None
    snare = Snare(where or Where(kind=b"\x00", server=True, skip=3), Act.CUT_BEFORE)
    proxy.set_snare(snare)

    with pytest.raises(DBAPIError):
        insert(engine, 1)

    assert snare.sprung.is_set()
    assert seen(beside) == []


def test_a_snare_that_was_removed_strikes_nobody(proxy: SnaringProxy, engine: Engine) -> None:
    snare = proxy.set_snare(Snare(Where(COMMIT), Act.CUT_BEFORE))

    assert proxy.remove_snare(snare)
    assert not proxy.remove_snare(snare)
    with engine.begin() as connection:
        connection.execute(text("SELECT 1"))

    assert not snare.sprung.is_set()
