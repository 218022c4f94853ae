"""Row 9: connection pools of several kinds for many concurrent users."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import (
    AssertionPool,
    AsyncAdaptedQueuePool,
    NullPool,
    QueuePool,
    SingletonThreadPool,
    StaticPool,
)
from sqlalchemy.pool import Pool

from hermetic import Database, PoolInfo, PoolOverloaded, PoolTimeout, sessionmaker
from tests.dropin.ground import Ground
from tests.dropin.threads import PATIENCE, in_thread, wait_for
from tests.models import User
from tests.servers.process import wait_until

POOLS = [QueuePool, NullPool, StaticPool, AssertionPool, SingletonThreadPool]


@pytest.fixture(params=POOLS, ids=lambda poolclass: poolclass.__name__)
def poolclass(request: pytest.FixtureRequest, family: str) -> type[Pool]:
    chosen: type[Pool] = request.param
    if chosen is SingletonThreadPool and family != "sqlite":
        pytest.skip("SQLAlchemy offers it for SQLite")
    return chosen


def reader_pool(db: Database) -> PoolInfo:
    """The pool of read-only scopes: on every database it can have more than one connection."""
    return db.snapshot().pools[-1]


class Users:
    """Threads that hold read-only scopes until they are let go."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._release = threading.Event()
        self._threads: list[threading.Thread] = []
        self.served: list[str] = []

    def start(self, name: str) -> None:
        thread = threading.Thread(target=self._hold, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def start_in_line(self, name: str, place: int) -> None:
        """Start one more and wait until it stands at its place in the line."""
        self.start(name)
        assert wait_until(lambda: reader_pool(self._db).waiting == place, PATIENCE)

    def let_go(self) -> None:
        self._release.set()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def _hold(self) -> None:
        with self._db.session(readonly=True) as session:
            session.execute("SELECT 1")
            self.served.append(threading.current_thread().name)
            wait_for(self._release)


# Kinds of pools


def test_the_factory_works_on_every_kind_of_pool(ground: Ground, poolclass: type[Pool]) -> None:
    engine = ground.engine(poolclass=poolclass)
    Session = sessionmaker(bind=engine)  # noqa: N806 - as the articles write it

    for username in ("ann", "bob"):
        with Session.begin() as session:
            session.add(User(username=username))

    assert isinstance(engine.pool, poolclass)
    assert ground.usernames() == ["ann", "bob"]


def test_a_database_takes_every_kind_of_pool(ground: Ground, poolclass: type[Pool]) -> None:
    db = ground.database(poolclass=poolclass)

    for username in ("ann", "bob"):
        with db.session() as session:
            session.add(User(username=username))
    with db.session(readonly=True) as session:
        found = session.query(User).count()

    assert isinstance(db.engine.pool, poolclass)
    assert found == 2
    assert [pool.lent for pool in db.snapshot().pools] == [0, 0]


@pytest.mark.parametrize("poolclass", [AsyncAdaptedQueuePool, NullPool, StaticPool])
async def test_a_database_takes_every_kind_of_pool_under_asyncio(
    ground: Ground, poolclass: type[Pool]
) -> None:
    db = Database(ground.bare_url, poolclass=poolclass)

    for username in ("ann", "bob"):
        async with db.session() as session:
            session.add(User(username=username))
    kind = type(db.async_engine.pool)
    await db.aclose()

    assert issubclass(kind, poolclass)
    assert ground.usernames() == ["ann", "bob"]


def test_queues_are_the_default_in_both_worlds(ground: Ground, db: Database) -> None:
    assert isinstance(db.engine.pool, QueuePool)


def test_a_null_pool_keeps_no_connection(ground: Ground) -> None:
    db = ground.database(poolclass=NullPool)

    with db.session() as session:
        session.execute("SELECT 1")
        during = ground.connections()

    assert during == 1
    assert ground.has_connections(0)
    assert db.snapshot().connections == ()


@pytest.mark.sqlite
def test_a_singleton_thread_pool_gives_each_thread_its_own(ground: Ground) -> None:
    if ground.family != "sqlite":
        pytest.skip("SQLAlchemy offers it for SQLite")
    db = ground.database(poolclass=SingletonThreadPool)

    def connection() -> int | None:
        with db.session(readonly=True) as session:
            session.execute("SELECT 1")
            return db.snapshot().scopes[0].connection

    mine = connection()

    assert connection() == mine
    assert in_thread(connection) != mine


# Sized, bounded, fair, watched


def test_a_pool_never_lends_more_than_its_size(ground: Ground) -> None:
    db = ground.database(reader_pool_size=2)
    users = Users(db)

    for number in range(6):
        users.start(f"user {number}")
    assert wait_until(lambda: reader_pool(db).waiting == 4, PATIENCE)
    assert wait_until(lambda: len(users.served) == 2, PATIENCE)
    lent, connected = reader_pool(db).lent, ground.connections()
    users.let_go()

    assert (lent, connected) == (2, 2)
    assert len(users.served) == 6
    assert reader_pool(db).lent == 0


async def test_both_worlds_share_one_bound(ground: Ground) -> None:
    db = Database(ground.bare_url, reader_pool_size=1, pool_timeout=0.05)
    users = Users(db)
    users.start("user of a thread")
    assert wait_until(lambda: reader_pool(db).lent == 1, PATIENCE)

    async def ask() -> None:
        async with db.session(readonly=True) as session:
            await session.execute("SELECT 1")

    with pytest.raises(PoolTimeout, match="user of a thread"):
        await ask()
    users.let_go()
    await ask()
    await db.aclose()


def test_the_wait_for_a_connection_has_an_end_that_names_the_holders(ground: Ground) -> None:
    db = ground.database(reader_pool_size=1, pool_timeout=0.05)
    users = Users(db)
    users.start("the one who holds it")
    assert wait_until(lambda: reader_pool(db).lent == 1, PATIENCE)

    with pytest.raises(PoolTimeout) as raised:
        read(db)
    users.let_go()

    assert raised.value.limit == 1
    assert "the one who holds it" in raised.value.holders[0]
    assert read(db) == 1


def test_the_line_in_front_of_a_pool_is_bounded(ground: Ground) -> None:
    db = ground.database(reader_pool_size=1, max_waiting=1)
    users = Users(db)
    users.start("first")
    assert wait_until(lambda: reader_pool(db).lent == 1, PATIENCE)
    users.start_in_line("second", place=1)

    with pytest.raises(PoolOverloaded):
        read(db)
    users.let_go()

    assert users.served == ["first", "second"]
    assert reader_pool(db).refused == 1


def test_who_came_first_is_served_first(ground: Ground) -> None:
    db = ground.database(reader_pool_size=1)
    users = Users(db)
    users.start("0")
    assert wait_until(lambda: reader_pool(db).lent == 1, PATIENCE)
    for place in range(1, 8):
        users.start_in_line(str(place), place)

    users.let_go()

    assert users.served == [str(place) for place in range(8)]


def test_a_pool_is_watched(ground: Ground) -> None:
    db = ground.database(reader_pool_size=2)
    users = Users(db)
    for name in ("ann", "bob"):
        users.start(name)
    assert wait_until(lambda: len(users.served) == 2, PATIENCE)
    users.start_in_line("cid", place=1)

    snapshot = db.snapshot()
    users.let_go()
    afterwards = reader_pool(db)

    pool = snapshot.pools[-1]
    assert (pool.limit, pool.lent, pool.waiting) == (2, 2, 1)
    holders = " ".join(str(connection.holder) for connection in snapshot.connections)
    assert "'ann'" in holders
    assert "'bob'" in holders
    assert (afterwards.admitted, afterwards.waited) == (3, 1)
    assert afterwards.wait_seconds > 0


def test_a_wrong_kind_of_pool_is_refused_at_once(ground: Ground) -> None:
    wrong: list[Any] = ["QueuePool", int, QueuePool(lambda: None)]  # type: ignore[arg-type]
    for value in wrong:
        with pytest.raises(ValueError, match="poolclass"):
            Database(ground.bare_url, poolclass=value)


def read(db: Database) -> Any:
    with db.session(readonly=True) as session:
        return session.scalar("SELECT 1")
