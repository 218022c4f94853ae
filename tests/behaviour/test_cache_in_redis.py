"""The cache of reads in Redis: shared by processes, and never worth more than the database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from hermetic import Cache, CacheAway, Database
from tests.behaviour.test_cache import filled, name_of, sent
from tests.conftest import in_ci
from tests.crowding import Crowd, run
from tests.databases import FamilyUrl
from tests.models import Base, User
from tests.servers import ServerUnavailable
from tests.servers.process import wait_until
from tests.servers.redis import RedisServer
from tests.worlds import World

# what a deadline may be overrun by, see docs/design.md
OVERRUN = 0.25


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    try:
        with RedisServer() as running:
            yield running
    except ServerUnavailable as missing:
        if in_ci():
            pytest.fail(str(missing), pytrace=False)
        pytest.skip(str(missing))


@pytest.fixture
def redis(server: RedisServer) -> Iterator[RedisServer]:
    yield server
    server.stop()
    server.start()


def cached(url: str, redis: RedisServer, **options: Any) -> Database:
    given = {"lease": 0.01, "pause": 0.05, **options}
    return Database(url, cache=Cache(region=redis.url, entities=(User,), **given))


def up_for_a_lease(db: Database) -> None:
    """Wait until Redis is up for longer than the lease: nothing is cached before."""
    store = db.cache.store
    assert wait_until(lambda: store.tokens.look(store.tokens.places(frozenset("*"))) is not None, 5)


@pytest.fixture
def db(redis: RedisServer, family_url: FamilyUrl) -> Iterator[Database]:
    url = family_url("postgresql").replace("postgresql:", "postgresql+psycopg:")
    with cached(url, redis) as made:
        Base.metadata.create_all(made.engine)
        with made.session() as session:
            session.add_all([User(id=1, username="ann"), User(id=2, username="bob")])
        up_for_a_lease(made)
        yield made


def name(db: Database, key: int = 1) -> str:
    with db.session(readonly=True) as session:
        return str(session.get_one(User, key).username)


def hits(db: Database) -> int:
    return db.snapshot().cache.get("hits", 0)


async def test_it_is_the_same_for_every_world(world: World, server: RedisServer) -> None:
    db = world.database(
        cache=Cache(region=server.url, entities=(User,), lease=0.01, namespace=str(world.url))
    )
    await filled(world)
    up_for_a_lease(db)
    await name_of(world)

    assert await sent(world) == ("ann", 0)
    async with world.session() as session:
        (await session.get(User, 1)).username = "anna"
    assert await name_of(world) == "anna"


@pytest.mark.postgresql
def test_what_one_process_has_read_another_does_not_ask_for(
    db: Database, redis: RedisServer
) -> None:
    name(db)

    # a Database of its own has nothing of the other one's but the URL
    with cached(db.server.url.render_as_string(hide_password=False), redis) as other:
        name(other, 2)  # how rows of the class look is learnt from the first
        assert name(other) == "ann"
        assert hits(other) == 1

        with db.session() as session:
            session.get_one(User, 1).username = "anna"
        assert name(other) == "anna"


@pytest.mark.postgresql
def test_values_come_back_as_they_were(db: Database) -> None:
    statement = text("SELECT 1.50::numeric, now(), '{1,2}'::int[], '{\"a\": [1]}'::jsonb, NULL")
    options = {"cache": True, "depends": ["users"]}

    found = []
    for _ in range(2):
        with db.session(readonly=True) as session:
            found.append(session.execute(statement, execution_options=options).one())

    assert tuple(found[0]) == tuple(found[1])
    assert [type(value) for value in found[0]] == [type(value) for value in found[1]]


@pytest.mark.postgresql
def test_without_redis_reads_go_to_the_database(db: Database, redis: RedisServer) -> None:
    name(db)
    redis.stop()

    for _ in range(3):
        assert name(db) == "ann"
    with db.session() as session:
        session.get_one(User, 1).username = "anna"
    assert name(db) == "anna"

    assert db.snapshot().cache["failures"] > 0
    redis.start()
    up_for_a_lease(db)
    assert wait_until(lambda: name(db) == "anna" and name(db) == "anna" and hits(db) > 0, 5)


@pytest.mark.postgresql
def test_a_commit_that_could_not_be_announced_is_announced_late(
    db: Database, redis: RedisServer
) -> None:
    with cached(db.server.url.render_as_string(hide_password=False), redis) as other:
        name(other, 2)
        name(other)
        redis.freeze()
        with db.session() as session:
            session.get_one(User, 1).username = "anna"
        redis.thaw()

        # the first word of the writer with Redis pays what it owes
        assert wait_until(lambda: (name(db, 2), name(other))[1] == "anna", 5)


@pytest.mark.postgresql
def test_a_commit_that_could_not_be_announced_is_refused_where_that_is_wanted(
    db: Database, redis: RedisServer
) -> None:
    url = db.server.url.render_as_string(hide_password=False)
    with cached(url, redis, on_failure="refuse") as strict:
        redis.stop()
        with pytest.raises(CacheAway), strict.session() as session:
            session.get_one(User, 1).username = "anna"
        redis.start()

    assert name(db) == "ann"


@pytest.mark.postgresql
def test_a_frozen_redis_holds_no_scope_beyond_its_deadline(
    db: Database, redis: RedisServer
) -> None:
    name(db)
    redis.freeze()
    begun = time.monotonic()
    with db.session(readonly=True, timeout=5) as session:
        session.get_one(User, 1)
    spent = time.monotonic() - begun
    redis.thaw()

    assert spent < db.cache.cache.timeout + OVERRUN


@pytest.mark.postgresql
def test_a_frozen_redis_holds_no_event_loop(db: Database, redis: RedisServer) -> None:
    url = db.server.url.set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)

    async def work() -> float:
        other = cached(url, redis, timeout=1.0)
        async with other.session(readonly=True) as session:
            await session.get(User, 1)
        redis.freeze()
        longest = 0.0

        async def read() -> None:
            async with other.session(readonly=True) as session:
                await session.get(User, 1)

        reading = asyncio.create_task(read())
        while not reading.done():
            begun = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - begun)
        await reading
        redis.thaw()
        await other.aclose()
        return longest

    assert asyncio.run(work()) < 0.5


@pytest.mark.postgresql
def test_a_redis_that_was_restarted_has_nothing_that_is_used(
    db: Database, redis: RedisServer
) -> None:
    name(db)
    store = db.cache.store
    places = store.tokens.places(frozenset({"users"}))
    before = store.tokens.look(places)
    redis.stop()
    redis.start()

    up_for_a_lease(db)

    assert store.tokens.look(places) not in (None, before)


@pytest.mark.postgresql
@pytest.mark.parametrize("where", ["memory", "redis"])
def test_nothing_old_is_read_by_several_processes(
    where: str, redis: RedisServer, family_url: FamilyUrl, tmp_path: Path
) -> None:
    """A small form of bench/cache.py, which has the figures."""
    url = family_url("postgresql").replace("postgresql:", "postgresql+psycopg:")
    region = redis.url if where == "redis" else None
    options = {"lease": 0.5, "shared": tmp_path / "crowd.cache", "on_failure": "refuse"}

    tally = run(Crowd(url, 800, region, 2, writes=0.2, dying=0.2, kills=1, options=options))

    assert tally["stale"] == 0
    assert tally["hits"] > 0
    assert tally["killed"] > 0


@pytest.mark.postgresql
def test_several_processes_find_commits_that_are_told_to_nobody(
    family_url: FamilyUrl, tmp_path: Path
) -> None:
    url = family_url("postgresql").replace("postgresql:", "postgresql+psycopg:")

    options = {"shared": tmp_path / "crowd.cache"}
    tally = run(Crowd(url, 600, processes=2, writes=0.2, forgetful=True, options=options))

    assert tally["stale"] > 0
