"""The cache of reads in Redis: shared by processes, and never worth more than the database."""

from __future__ import annotations

import asyncio
import os
import pickle
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from dogpile.cache import make_region
from redis import Redis
from sqlalchemy import insert, text

from hermetic import Cache, CacheAway, Database, DeadlineExceeded
from hermetic.cache.store import Store
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
OVERRUN = 2.0


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
    # longer than a machine with other work keeps Redis waiting
    given = {"lease": 0.01, "pause": 0.05, "timeout": 1.0, **options}
    return Database(url, cache=Cache(region=redis.url, entities=(User,), **given))


def up_for_a_lease(db: Database) -> None:
    """Wait until Redis is up for longer than the lease: nothing is cached before."""
    tokens = db.cache.store.tokens
    assert wait_until(lambda: tokens.look(tokens.places(frozenset("*"))) is not None, 15)


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
    assert wait_until(lambda: name(db) == "anna" and name(db) == "anna" and hits(db) > 0, 15)


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
        assert wait_until(lambda: (name(db, 2), name(other))[1] == "anna", 15)


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

    assert asyncio.run(work()) < 0.9


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


@pytest.fixture
def small(redis: RedisServer, tmp_path: Path) -> Iterator[Database]:
    """For what does not differ from one database to the next."""
    with cached(f"sqlite:///{tmp_path}/users.db", redis) as made:
        Base.metadata.create_all(made.engine)
        with made.session() as session:
            session.add(User(id=1, username="ann"))
        up_for_a_lease(made)
        name(made)
        yield made


def values_in(redis: RedisServer) -> tuple[Any, list[bytes]]:
    client: Any = Redis.from_url(redis.url)
    return client, [key for key in client.scan_iter() if client.type(key) == b"string"]


@pytest.mark.sqlite
@pytest.mark.parametrize("part", ["nothing", "two", "width", "kinds"])
def test_what_is_no_entry_is_read_anew(small: Database, redis: RedisServer, part: str) -> None:
    client, keys = values_in(redis)
    assert name(small) == "ann"
    assert hits(small) == 1
    for key in keys:
        tokens, description, rows = pickle.loads(client.get(key))
        others = {
            "nothing": (),
            "two": (tokens, description),
            "width": (tokens, description, tuple(row[:1] for row in rows)),
            "kinds": (tokens, 7, {8}),
        }
        client.set(key, pickle.dumps(others[part]))

    assert name(small) == "ann"
    assert hits(small) == 1
    client.close()


@pytest.mark.sqlite
def test_a_region_of_dogpiles_on_redis_runs_no_code(redis: RedisServer, tmp_path: Path) -> None:
    region = make_region().configure("dogpile.cache.redis", arguments={"url": redis.url})
    cache = Cache(region=region, entities=(User,), lease=0.01)
    with Database(f"sqlite:///{tmp_path}/users.db", cache=cache) as db:
        Base.metadata.create_all(db.engine)
        with db.session() as session:
            session.add(User(id=1, username="ann"))
        up_for_a_lease(db)
        assert (name(db), name(db), hits(db)) == ("ann", "ann", 1)
        client, keys = values_in(redis)
        evil = pickle.dumps(Evil(tmp_path / "ran"))
        # as dogpile writes it, and as it is
        for value in (b'{"ct": %d, "v": 2}|' % time.time() + evil, evil):
            for key in keys:
                client.set(key, value)
            assert name(db) == "ann"
    assert keys
    assert not (tmp_path / "ran").exists()
    client.close()


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.sqlite
def test_what_expires_in_less_than_a_second_does(redis: RedisServer) -> None:
    store = Store(Cache(region=redis.url, expire=0.2), "a", alone=False)

    store.keep("key", (b"a",), (), [(1,)])

    client: Any = Redis.from_url(redis.url)
    assert 0 < client.pttl("key") <= 200
    client.close()
    store.close()


@pytest.mark.sqlite
def test_times_of_a_zone_are_kept(redis: RedisServer) -> None:
    store = Store(Cache(region=redis.url), "a", alone=False)
    rows = [(datetime(2020, 1, 2, tzinfo=ZoneInfo("Europe/Berlin")),)]

    assert store.keep("key", (b"a",), (), rows) is not None
    assert store.counters["failures"] == 0
    store.close()


@pytest.mark.sqlite
def test_it_needs_no_more_words_than_the_page_says(redis: RedisServer) -> None:
    client: Any = Redis.from_url(redis.url)
    words = ["evalsha", "script|load", "time", "info", "lastsave"]
    kinds = ["@hash", "@keyspace", "@connection", "get", "set"]
    allowed = [f"+{word}" for word in (*kinds, *words)]
    client.execute_command("ACL", "SETUSER", "u", "reset", "on", ">p", "~*", "&*", *allowed)
    url = redis.url.replace("redis://", "redis://u:p@")
    store = Store(Cache(region=url, lease=0.01), "a", alone=False)
    places = store.tokens.places(frozenset({"users"}))

    assert wait_until(lambda: store.tokens.look(places) is not None, 15)
    store.finish(store.begin(frozenset({"users"})))
    store.keep("hermetic:{a}:key", store.tokens.look(places), (), [(1,)])
    assert store.ask(places, "hermetic:{a}:key")[1] is not None
    client.close()
    store.close()


def asyncio_url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path}/users.db"


@pytest.mark.sqlite
def test_threads_of_the_loops_that_wait_for_a_scope_do_not_hold_it(
    small: Database, redis: RedisServer, tmp_path: Path
) -> None:
    async def work() -> float:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        over = threading.Event()
        db = cached(asyncio_url(tmp_path), redis)
        begun = time.monotonic()
        async with db.session(timeout=5) as session:
            session.add(User(id=2, username="bob"))
            await session.flush()
            waiting = loop.run_in_executor(None, over.wait, 3)
        spent = time.monotonic() - begun
        over.set()
        await waiting
        await db.aclose()
        return spent

    assert asyncio.run(work()) < 2


@pytest.mark.sqlite
def test_a_scopes_deadline_holds_for_its_words_with_redis(
    small: Database, redis: RedisServer, tmp_path: Path
) -> None:
    async def work() -> float:
        db = cached(asyncio_url(tmp_path), redis, timeout=3.0)
        async with db.session(readonly=True) as session:
            await session.get(User, 1)
        redis.freeze()
        begun = time.monotonic()
        with suppress(DeadlineExceeded):
            async with db.session(readonly=True, timeout=0.3) as session:
                await session.get(User, 1)
        spent = time.monotonic() - begun
        redis.thaw()
        await db.aclose()
        return spent

    assert asyncio.run(work()) < 0.3 + OVERRUN


@pytest.mark.sqlite
def test_a_commit_that_is_cancelled_while_it_is_announced_leaves_no_mark(
    small: Database, redis: RedisServer, tmp_path: Path
) -> None:
    async def work() -> bool:
        db = cached(asyncio_url(tmp_path), redis, lease=30.0, timeout=5.0)
        store = db.cache.store
        beginning = asyncio.Event()
        loop = asyncio.get_running_loop()
        begin = store.begin
        announced = threading.Event()

        def begun(names: frozenset[str]) -> Any:
            loop.call_soon_threadsafe(beginning.set)
            try:
                return begin(names)
            finally:
                announced.set()

        async def unit() -> None:
            # a scope's COMMIT is not broken off; one outside of any scope is
            async with db.async_engine.begin() as connection:
                await connection.execute(insert(User).values(id=2, username="bob"))
                store.begin = begun
                redis.freeze()

        task = asyncio.create_task(unit())
        await beginning.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        redis.thaw()
        marks = RedisMarks(redis)
        try:
            assert await asyncio.to_thread(announced.wait, 10)
            return await asyncio.to_thread(wait_until, lambda: not marks.of("users"), 15)
        finally:
            marks.close()
            await db.aclose()

    assert asyncio.run(work())


class RedisMarks:
    """The marks that a table has, in all namespaces."""

    def __init__(self, redis: RedisServer) -> None:
        self._client: Any = Redis.from_url(redis.url)

    def of(self, table: str) -> list[bytes]:
        found = [self._client.hkeys(key) for key in self._client.keys(f"*:{table}")]
        return [field for fields in found for field in fields if field.startswith(b"m")]

    def close(self) -> None:
        self._client.close()
