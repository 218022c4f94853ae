"""Behind PgBouncer in transaction mode: what belongs to a transaction stays with it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine, select, text
from sqlalchemy.pool import NullPool

from hermetic import (
    CommitUnknown,
    ConnectionLost,
    Database,
    DeadlineExceeded,
    FaultError,
    HermeticError,
    InvalidOption,
    LostByPooler,
    Outcome,
    ReadOnlyScope,
    Retry,
)
from hermetic.dialects import postgresql
from tests.backends import Backend
from tests.behaviour.aftermath import (
    at_work,
    check_nothing_left,
    eventually,
    lent,
    on_postgresql,
    on_sqlite,
)
from tests.behaviour.cancelling import without_asyncpgs_forgotten_future
from tests.behaviour.own import OwnServer
from tests.conftest import in_ci
from tests.models import User
from tests.proxy import Proxy
from tests.servers import ServerUnavailable
from tests.servers.pgbouncer import PgBouncer
from tests.worlds import World

SETTINGS = (
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "transaction_read_only",
    "transaction_isolation",
    "default_transaction_read_only",
)
SHOWN = "SELECT " + ", ".join(f"current_setting('{name}')" for name in SETTINGS)
# of a server that nobody has told anything
DEFAULTS = ("0", "0", "0", "off", "read committed", "off")


@pytest.fixture(scope="module")
def bouncer(own_servers: Callable[[str], OwnServer]) -> Iterator[PgBouncer]:
    bouncer = PgBouncer(own_servers("postgresql").server)
    try:
        bouncer.__enter__()
    except ServerUnavailable as error:
        if in_ci():
            pytest.fail(str(error), pytrace=False)
        pytest.skip(f"NOT TESTED: {error}")
    yield bouncer
    bouncer.__exit__(None, None, None)


@pytest.fixture
def world(backend: Backend, own: OwnServer, bouncer: PgBouncer) -> Iterator[World]:
    made = own.world(backend)
    made.url = bouncer.url("app", backend.scheme)
    yield made
    if made.is_async:
        made.close_observer()
    else:
        made.close()


def database(world: World, **options: Any) -> Database:
    return world.database(pooler="transaction", **options)


def seen_by_others(bouncer: PgBouncer) -> set[tuple[str, ...]]:
    """What somebody finds on each of the pooler's connections who has set nothing."""
    engine = create_engine(
        bouncer.url("app"), poolclass=NullPool, connect_args={"prepare_threshold": None}
    )
    one, other = engine.connect(), engine.connect()
    try:
        found = {tuple(each.execute(text(SHOWN)).one()) for each in (one, other)}
        for each in (one, other):
            assert each.scalar(text("SELECT count(*) FROM pg_prepared_statements")) == 0
        servers = {each.scalar(text("SELECT pg_backend_pid()")) for each in (one, other)}
        assert len(servers) == 2
        return found
    finally:
        one.close()
        other.close()
        engine.dispose()


# ---------------------------------------------------------------- what goes with a transaction


@on_postgresql
async def test_every_setting_goes_with_its_transaction(world: World, bouncer: PgBouncer) -> None:
    db = database(world, statement_timeout=7, lock_timeout=3, idle_in_transaction_timeout=20)

    async with world.session(db) as session:
        writing = (await session.execute(SHOWN)).one()
    async with world.session(db, readonly=True, isolation="repeatable read") as session:
        reading = (await session.execute(SHOWN)).one()
    async with world.session(db, timeout=5) as session:
        (first, *_) = (await session.execute(SHOWN)).one()

    assert writing == ("7s", "3s", "20s", "off", "read committed", "off")
    assert reading == ("7s", "3s", "20s", "on", "repeatable read", "off")
    assert first == "5s" or first.endswith("ms")
    assert seen_by_others(bouncer) == {DEFAULTS}


@on_postgresql
@pytest.mark.parametrize(
    "first", ["CREATE TABLE made (n int)", "SELECT 1; SELECT 2", "DO $$ BEGIN PERFORM 1; END $$"]
)
async def test_they_go_with_whatever_comes_first(
    world: World, bouncer: PgBouncer, first: str
) -> None:
    if world.backend.name == "asyncpg" and ";" in first[:-1] and "DO" not in first:
        pytest.skip("asyncpg takes one statement at a time")
    db = database(world, lock_timeout=3)

    async with world.session(db) as session:
        await session.execute(first)
        shown = (await session.execute(SHOWN)).one()
        session.rollback_only()

    assert shown[1] == "3s"
    assert seen_by_others(bouncer) == {DEFAULTS}


@on_postgresql
async def test_many_rows_at_once_go_with_them_too(world: World, bouncer: PgBouncer) -> None:
    db = database(world, lock_timeout=3)

    async with world.session(db) as session:
        rows = [{"u": f"user {n}"} for n in range(50)]
        await session.execute(text("INSERT INTO users (username, balance) VALUES (:u, 0)"), rows)
        assert (await session.execute(SHOWN)).one()[1] == "3s"
    async with world.session(db) as session:
        session.add_all([User(username=f"more {n}") for n in range(300)])
    async with world.session(db, readonly=True) as session:
        users = (await session.scalars(select(User))).all()

    assert len(users) == 350
    assert seen_by_others(bouncer) == {DEFAULTS}


@on_postgresql
async def test_types_that_the_driver_has_to_ask_for(world: World) -> None:
    db = database(world)
    world.do("CREATE TYPE mood AS ENUM ('calm', 'cross')")

    for _ in range(3):
        async with world.session(db) as session:
            rows = await session.execute("SELECT 'calm'::mood, ARRAY['cross'::mood]::text")
            assert rows.one() == ("calm", "{cross}")


@on_postgresql
async def test_a_read_only_scope_cannot_write(world: World) -> None:
    db = database(world)

    with pytest.raises(ReadOnlyScope):
        async with world.session(db, readonly=True) as session:
            await session.execute("INSERT INTO users (username, balance) VALUES ('ann', 0)")
    with pytest.raises(LostByPooler):
        async with world.session(db, readonly=True, propagation="not_supported") as session:
            await session.execute("INSERT INTO users (username, balance) VALUES ('ann', 0)")

    assert world.usernames() == []
    await check_nothing_left(world, db)


@on_postgresql
@pytest.mark.timing
async def test_a_deadline_outside_of_a_transaction_leaves_no_setting(
    world: World, bouncer: PgBouncer
) -> None:
    db = database(world)

    begun = time.monotonic()
    with pytest.raises((DeadlineExceeded, FaultError)):
        async with world.session(db, propagation="not_supported", timeout=0.3) as session:
            await session.execute("SELECT 1")
            await session.execute("SELECT pg_sleep(4)")

    assert time.monotonic() - begun < 3.5
    assert lent(db) == []
    assert await eventually(world, lambda: not at_work(world))  # nobody ends it on the server
    assert seen_by_others(bouncer) == {DEFAULTS}


# ---------------------------------------------------------------- what is refused


@on_postgresql
@pytest.mark.parametrize(
    "statement",
    [
        "SET work_mem = '1MB'",
        "SELECT set_config('work_mem', '1MB', false)",
        "LISTEN news",
        "SELECT pg_advisory_lock(1)",
        "PREPARE mine AS SELECT 1",
        "CREATE TEMP TABLE scratch (n int)",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    ],
)
async def test_what_would_stay_on_a_connection_is_not_sent(
    world: World, bouncer: PgBouncer, statement: str
) -> None:
    db = database(world)

    with pytest.raises(LostByPooler) as caught:
        async with world.session(db) as session:
            await session.execute(statement)

    assert caught.value.statement == statement
    assert session.outcome is Outcome.NOT_COMMITTED
    await check_nothing_left(world, db)


@on_postgresql
@pytest.mark.parametrize(
    "statement",
    [
        "SET LOCAL work_mem = '1MB'",
        "SELECT set_config('work_mem', '1MB', true)",
        "SELECT pg_advisory_xact_lock(1)",
        "CREATE TEMP TABLE scratch ON COMMIT DROP AS SELECT 1 AS n",
    ],
)
async def test_what_ends_with_its_transaction_is_sent(world: World, statement: str) -> None:
    db = database(world)

    for _ in range(3):
        async with world.session(db) as session:
            await session.execute(statement)
    await check_nothing_left(world, db)


@on_sqlite
async def test_a_pooler_is_refused_where_nothing_is_known_of_it(backend: Backend) -> None:
    for url in ("sqlite://", "mysql+pymysql://localhost/app"):
        with pytest.raises(InvalidOption, match="pooler"):
            Database(url, pooler="transaction")
    with pytest.raises(InvalidOption, match="transaction"):
        Database("postgresql://localhost/app", pooler="session")  # type: ignore[arg-type]
    with (
        Database(
            "postgresql+psycopg://localhost/app",
            pooler="transaction",
            engine_options={"creator": lambda: None},
        ) as db,
        pytest.raises(InvalidOption, match="creator"),
    ):
        _ = db.engine


@on_postgresql
async def test_who_says_that_there_is_one_is_not_told_of_it(
    world: World, bouncer: PgBouncer, caplog: pytest.LogCaptureFixture
) -> None:
    postgresql._tell_of_pooler.cache_clear()
    caplog.set_level(logging.WARNING, logger="hermetic")

    async with world.session(database(world)) as session:
        await session.execute("SELECT 1")
    assert "pooler" not in caplog.text

    if world.backend.name == "asyncpg":
        return  # its prepared statements would meet connections that do not know them
    async with world.session(world.database()) as session:
        await session.execute("SELECT 1")
    assert "pooler='transaction'" in caplog.text
    # what that one has set is on the pooler's connections now
    world.do(
        "SELECT pg_terminate_backend(pid, 15000) FROM pg_stat_activity"
        " WHERE datname = 'app' AND pid <> pg_backend_pid()"
    )


# ---------------------------------------------------------------- under fire


@on_postgresql
@pytest.mark.parametrize("mode", ["token", "status"])
@pytest.mark.parametrize("arrived", [True, False])
async def test_a_commit_without_an_answer_is_resolved(
    world: World, mode: str, arrived: bool
) -> None:
    with Proxy(world.url) as proxy:
        world.url = proxy.url
        db = database(world, resolve_commits=mode)
        if mode == "token":
            await (db.acreate_commit_table() if world.is_async else _done(db.create_commit_table))
        lost: BaseException | None = None
        try:
            async with world.session(db) as session:
                session.add(User(username="ann"))
                await session.flush()
                if arrived:
                    proxy.cut_after()
                else:
                    proxy.cut_before()
        except (ConnectionLost, CommitUnknown) as error:
            lost = error

        assert session.outcome is (Outcome.COMMITTED if arrived else Outcome.NOT_COMMITTED)
        assert (lost is None) == arrived
        assert world.usernames() == ["ann"] * arrived
        await check_nothing_left(world, db)
        if world.is_async:
            await world.aclose()


async def _done(work: Callable[[], Any]) -> Any:
    return work()


WORKERS, UNITS, ACCOUNTS, EACH = 10, 12, 5, 100


class Bank:
    """Work of many, each with promises that whoever came before must not have changed."""

    def __init__(self, world: World, own: OwnServer, seed: int) -> None:
        self.world = world
        self.own = own
        self.seed = seed
        self.wrong: list[str] = []
        self.done = self.failed = 0
        # two Databases that ask for different things, on the same connections of the pooler
        self.sides = [
            (database(world, pool_size=5, lock_timeout=lock, statement_timeout=statement), lock)
            for lock, statement in ((3, 4), (5, 6))
        ]

    async def worker(self, number: int) -> None:
        chance = random.Random(f"{self.seed}:{number}")
        for _ in range(UNITS):
            db, lock = self.sides[chance.randrange(2)]
            unit = chance.choice(
                [self.transfer, self.transfer, self.read, self.read, self.fail, self.overstay,
                 self.refused, self.kill, self.cancelled]
            )  # fmt: skip
            try:
                await unit(db, lock, chance)
                self.done += 1
            except HermeticError:
                self.failed += 1

    async def promised(self, session: Any, lock: int, *, readonly: str, isolation: str) -> None:
        shown = (await session.execute(SHOWN)).one()
        if (shown[1], *shown[3:]) != (f"{lock}s", readonly, isolation, "off"):
            self.wrong.append(f"{shown} instead of {lock} s, {readonly}, {isolation}")

    async def transfer(self, db: Database, lock: int, chance: random.Random) -> None:
        isolation = chance.choice(["read committed", "serializable"])
        source, target = chance.sample(range(ACCOUNTS), 2)
        amount = chance.randint(1, 10)

        async def move(session: Any) -> None:
            await self.promised(session, lock, readonly="off", isolation=isolation)
            for account, change in ((source, -amount), (target, amount)):
                await session.execute(
                    text("UPDATE users SET balance = balance + :c WHERE username = :u"),
                    {"c": change, "u": f"user {account}"},
                )

        retry = Retry(attempts=8, base=0.005, cap=0.05)
        await self.world.unit(db, isolation=isolation, retry=retry, timeout=5)(move)()

    async def read(self, db: Database, lock: int, chance: random.Random) -> None:
        isolation = chance.choice(["repeatable read", "read committed"])
        async with self.world.session(db, readonly=True, isolation=isolation) as session:
            await self.promised(session, lock, readonly="on", isolation=isolation)
            total = await session.scalar("SELECT sum(balance) FROM users")
            if total != ACCOUNTS * EACH:
                self.wrong.append(f"{total} in all")
            nonce = chance.random()
            if await session.scalar(text("SELECT CAST(:n AS float8)"), {"n": nonce}) != nonce:
                self.wrong.append("somebody else's answer")

    async def fail(self, db: Database, lock: int, chance: random.Random) -> None:
        with pytest.raises(ZeroDivisionError):
            async with self.world.session(db, timeout=5) as session:
                await session.execute("UPDATE users SET balance = balance + 1")
                _ = 1 / 0

    async def overstay(self, db: Database, lock: int, chance: random.Random) -> None:
        async with self.world.session(db, timeout=chance.choice([0.02, 0.1])) as session:
            await session.execute("UPDATE users SET balance = balance + 1 WHERE balance < 0")
            await session.execute("SELECT pg_sleep(0.2)")

    async def refused(self, db: Database, lock: int, chance: random.Random) -> None:
        async with self.world.session(db) as session:
            await session.execute("SET default_transaction_read_only = on")

    async def kill(self, db: Database, lock: int, chance: random.Random) -> None:
        if chance.random() < 0.3:
            async with self.world.session(db, timeout=5) as session:
                await session.execute("UPDATE users SET balance = balance + 1")
                await session.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    async def cancelled(self, db: Database, lock: int, chance: random.Random) -> None:
        if not self.world.is_async:
            return

        async def work() -> None:
            async with self.world.session(db, timeout=5) as session:
                await session.execute("UPDATE users SET balance = balance + 1")
                await session.execute("SELECT pg_sleep(0.1)")
                session.rollback_only()

        task = asyncio.create_task(work())
        await asyncio.sleep(chance.random() * 0.1)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@on_postgresql
@pytest.mark.slow
async def test_many_on_few_connections_keep_what_they_were_promised(
    world: World, own: OwnServer, bouncer: PgBouncer
) -> None:
    seed = random.randrange(1_000_000)
    for number in range(ACCOUNTS):
        world.do(
            "INSERT INTO users (username, balance) VALUES (:u, :b)", u=f"user {number}", b=EACH
        )
    bank = Bank(world, own, seed)

    workers = [functools.partial(bank.worker, number) for number in range(WORKERS)]
    quiet = without_asyncpgs_forgotten_future() if world.is_async else contextlib.nullcontext()
    with quiet:
        ended = await world.together(*workers)

    assert ended == [None] * WORKERS, f"seed {seed}"
    assert bank.wrong == [], f"seed {seed}"
    assert bank.done > 0
    assert bank.failed > 0
    assert world.seen("SELECT sum(balance) FROM users") == [(ACCOUNTS * EACH,)]
    for db, _ in bank.sides:
        assert lent(db) == []
        await check_nothing_left(world, db)
    assert seen_by_others(bouncer) == {DEFAULTS}

    def active() -> list[object]:
        return [each["sv_active"] for each in bouncer.show("POOLS") if each["database"] == "app"]

    assert await eventually(world, lambda: active() == [0]), bouncer.show("POOLS")
