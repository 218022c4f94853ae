"""CockroachDB's retries and unknown results, by PostgreSQL behind a proxy that answers like it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
from sqlalchemy import inspect, text

from hermetic import (
    CommitUnknown,
    CompletionUnknown,
    ConfigurationError,
    Database,
    DatabasePerTenant,
    FaultKind,
    InvalidOption,
    Outcome,
    ReadOnlyScope,
    Retry,
    SchemaPerTenant,
    SerializationConflict,
)
from tests.backends import Backend
from tests.behaviour.aftermath import check_nothing_left
from tests.databases import FamilyUrl, FreshUrl
from tests.models import User
from tests.proxy import Proxy
from tests.worlds import World

BACKENDS: Final = (
    Backend("psycopg", "postgresql", "cockroachdb+psycopg", is_async=False),
    Backend("psycopg_async", "postgresql", "cockroachdb+psycopg_async", is_async=True),
    Backend("asyncpg", "postgresql", "cockroachdb+asyncpg", is_async=True),
)
pytestmark = pytest.mark.postgresql

_VERSION: Final = "CockroachDB CCL v24.1.0 (x86_64-pc-linux-gnu)"
_INSERT: Final = re.compile(rb"INSERT INTO users")
# what its COMMIT is answered with where nobody knows what became of it
UNKNOWN_STATES: Final = ("40003", "08007")
_FOREIGN: Final = re.compile(
    rb"txid|pg_current|pg_control|pg_backend_pid|set_config|cockroach_restart|advisory"
)


@pytest.fixture(params=[pytest.param(each, id=each.name) for each in BACKENDS])
def backend(request: pytest.FixtureRequest) -> Backend:
    chosen: Backend = request.param
    return chosen


@pytest.fixture
def proxy(world: World) -> Iterator[Proxy]:
    with Proxy(world.url) as proxy:
        proxy.parameters = {"crdb_version": _VERSION}
        world.url = proxy.url
        yield proxy


async def add(session: Any, name: str) -> User:
    user = User(username=name)
    session.add(user)
    await session.flush()
    return user


async def test_a_conflict_at_commit_runs_the_unit_again(world: World, proxy: Proxy) -> None:
    db = world.database()
    bodies = 0

    @world.unit(db, retry=3)
    async def unit(session: Any) -> None:
        nonlocal bodies
        bodies += 1
        await add(session, "ann")
        if bodies == 1:
            proxy.answer_before("40001")

    await unit()

    assert bodies == 2
    assert world.usernames() == ["ann"]
    assert db.snapshot().counters["retries"] == 1
    await check_nothing_left(world, db)


async def test_a_conflict_in_a_statement_runs_the_unit_again(world: World, proxy: Proxy) -> None:
    db = world.database()
    bodies = 0

    @world.unit(db, retry=3)
    async def unit(session: Any) -> None:
        nonlocal bodies
        bodies += 1
        if bodies == 1:
            proxy.fail("40001", _INSERT)
        await add(session, "ann")

    await unit()

    assert bodies == 2
    assert world.usernames() == ["ann"]
    await check_nothing_left(world, db)


async def test_without_a_policy_a_conflict_is_raised(world: World, proxy: Proxy) -> None:
    db = world.database()

    with pytest.raises(SerializationConflict) as caught:
        async with world.session(db) as session:
            await add(session, "ann")
            proxy.answer_before("40001")

    assert caught.value.outcome is session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    await check_nothing_left(world, db)


@pytest.mark.parametrize("state", UNKNOWN_STATES)
@pytest.mark.parametrize("arrives", [True, False], ids=["after", "before"])
async def test_an_unknown_result_of_a_commit_is_never_run_again(
    world: World, proxy: Proxy, state: str, arrives: bool
) -> None:
    db = world.database()
    bodies = 0

    @world.unit(db, retry=5)
    async def unit(session: Any) -> None:
        nonlocal bodies
        bodies += 1
        await add(session, "ann")
        (proxy.answer_after if arrives else proxy.answer_before)(state)

    with pytest.raises(CommitUnknown) as caught:
        await unit()

    assert bodies == 1
    assert isinstance(caught.value.__cause__, CompletionUnknown)
    assert caught.value.__cause__.fault is not None
    assert caught.value.__cause__.fault.code == state
    assert world.usernames() == (["ann"] if arrives else [])
    await check_nothing_left(world, db)


@pytest.mark.parametrize("state", UNKNOWN_STATES)
@pytest.mark.parametrize("arrives", [True, False], ids=["after", "before"])
async def test_a_token_tells_what_became_of_it(
    world: World, proxy: Proxy, state: str, arrives: bool
) -> None:
    db = world.database(resolve_commits="token")
    if world.is_async:
        await db.acreate_commit_table()
    else:
        db.create_commit_table()
    bodies = 0

    # what is told to be unknown is run again only where that is asked for, and then only where the
    # token has said that nothing was committed
    @world.unit(db, retry=Retry(on=Retry().on | {FaultKind.AMBIGUOUS}))
    async def unit(session: Any) -> User:
        nonlocal bodies
        bodies += 1
        ann = await add(session, "ann")
        if bodies == 1:
            (proxy.answer_after if arrives else proxy.answer_before)(state)
        return ann

    ann = await unit()

    assert world.usernames() == ["ann"]
    assert bodies == (1 if arrives else 2)
    assert inspect(ann).detached
    assert db.snapshot().counters["resolved"] == 1
    await check_nothing_left(world, db)


@pytest.mark.parametrize("state", UNKNOWN_STATES)
async def test_what_was_not_committed_by_its_token_is_said_to_be_so(
    world: World, proxy: Proxy, state: str
) -> None:
    db = world.database(resolve_commits="token")
    if world.is_async:
        await db.acreate_commit_table()
    else:
        db.create_commit_table()

    with pytest.raises(CompletionUnknown) as caught:
        async with world.session(db, retry=None) as session:
            await add(session, "ann")
            proxy.answer_before(state)

    assert caught.value.outcome is session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    await check_nothing_left(world, db)


async def test_an_unknown_result_of_a_statement_is_not_run_again(
    world: World, proxy: Proxy
) -> None:
    db = world.database()
    bodies = 0

    @world.unit(db, retry=5)
    async def unit(session: Any) -> None:
        nonlocal bodies
        bodies += 1
        proxy.fail("40003", _INSERT)
        await add(session, "ann")

    with pytest.raises(CompletionUnknown) as caught:
        await unit()

    assert bodies == 1
    # its transaction was never committed
    assert caught.value.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    await check_nothing_left(world, db)


async def test_only_what_it_knows_is_sent(world: World, proxy: Proxy) -> None:
    db = world.database(
        resolve_commits="token",
        statement_timeout=5.0,
        lock_timeout=2.0,
        idle_in_transaction_timeout=30.0,
    )
    if world.is_async:
        await db.acreate_commit_table()
    else:
        db.create_commit_table()

    async with world.session(db, timeout=20.0) as session:
        await add(session, "ann")
        async with session.begin_nested():
            await add(session, "bob")
    async with world.session(db, readonly=True) as session:
        names = list(await session.scalars(text("SELECT username FROM users ORDER BY id")))
        limit = await session.scalar(text("SHOW lock_timeout"))

    assert names == ["ann", "bob"]
    assert limit == "2s"
    assert _FOREIGN.findall(proxy.sent) == []
    await check_nothing_left(world, db)


async def test_a_reader_does_not_write(world: World, proxy: Proxy) -> None:
    db = world.database()

    with pytest.raises(ReadOnlyScope):
        async with world.session(db, readonly=True) as session:
            await add(session, "ann")

    assert world.usernames() == []


async def test_what_it_has_not_is_refused(world: World, proxy: Proxy) -> None:
    for options in (
        {"resolve_commits": "status"},
        {"pooler": "transaction"},
        {"tenants": SchemaPerTenant()},
        {"replicas": [world.url.replace("@127.0.0.1", "@localhost")]},
    ):
        with pytest.raises(InvalidOption):
            Database(proxy.url, **options)
    Database(proxy.url, tenants=DatabasePerTenant(url=proxy.url + "{tenant}")).close()


@pytest.mark.parametrize("driver", ["psycopg", "psycopg_async", "asyncpg"])
async def test_one_that_is_taken_for_postgresql_is_refused(
    family_url: FamilyUrl, driver: str
) -> None:
    with Proxy(family_url("postgresql")) as proxy:
        proxy.parameters = {"crdb_version": _VERSION}
        db = Database(proxy.url.replace("postgresql://", f"postgresql+{driver}://"))
        with pytest.raises(ConfigurationError, match="CockroachDB") as caught:
            if driver == "psycopg":
                with db.session() as session:
                    session.execute("SELECT 1")
            else:
                async with db.session() as session:
                    await session.execute("SELECT 1")
        assert "cockroachdb://" in str(caught.value)
        await db.aclose()


def test_a_bare_url_takes_the_best_driver(fresh_url: FreshUrl) -> None:
    db = Database("cockroachdb://nobody@nowhere.example/app")
    assert db.driver() == "psycopg"
    assert db.family.name == "cockroachdb"
    assert db.driver(asynchronous=True) == "psycopg"
    db.close()
