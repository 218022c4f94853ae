"""The wall clock jumps by hours and by a month: nothing that hermetic does depends on it."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.util import queue

from hermetic import (
    CommitProof,
    DeadlineExceeded,
    FaultError,
    Outcome,
    PoolTimeout,
    Retry,
    RetryRequested,
)
from tests.behaviour.aftermath import eventually, lent, on_postgresql
from tests.behaviour.test_resolved_commits import make_table, resolve, swept
from tests.conftest import in_ci
from tests.faketime import JUMPS, FaketimeUnavailable, JumpingClock
from tests.models import User
from tests.servers import PostgreSQLServer
from tests.worlds import World

pytestmark = [pytest.mark.slow, pytest.mark.timing]

SLEEP = {
    "postgresql": "SELECT pg_sleep(5)",
    "mariadb": "SELECT sleep(5)",
    "sqlite": "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
    " SELECT max(i) FROM n",
}
# What is waited for, and what it may take beyond that on a busy machine.
SOON, SLACK = 0.3, 2.0


@pytest.fixture
def jumping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at this process's wall clock finds it somewhere else."""
    clock, clock_ns, hours = time.time, time.time_ns, itertools.cycle(JUMPS)

    def jumped() -> float:
        return clock() + next(hours) * 3600

    monkeypatch.setattr(time, "time", jumped)
    monkeypatch.setattr(time, "time_ns", lambda: clock_ns() + next(hours) * 3600 * 10**9)
    monkeypatch.setattr(queue, "_time", jumped)


def took(begun: float) -> float:
    return time.monotonic() - begun


async def test_a_scope_ends_at_its_deadline(world: World, jumping: None) -> None:
    begun = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        async with world.session(timeout=SOON) as session:
            await session.execute(SLEEP[world.backend.family])
    assert SOON - 0.06 <= took(begun) < SOON + SLACK, took(begun)


async def test_a_pool_waits_as_long_as_it_may_and_keeps_what_is_young(
    world: World, jumping: None
) -> None:
    db = world.database(pool_size=1, pool_timeout=SOON, pool_recycle=60)
    holding, enough = world.signal(), world.signal()

    async def hold() -> None:
        async with world.session(db) as session:
            await session.execute("SELECT 1")
            holding.set()
            await enough.wait()

    async def wait() -> None:
        await holding.wait()
        begun = time.monotonic()
        try:
            with pytest.raises(PoolTimeout):
                async with world.session(db) as session:
                    await session.execute("SELECT 1")
            assert SOON <= took(begun) < SOON + SLACK, took(begun)
        finally:
            enough.set()

    assert await world.together(hold, wait) == [None, None]
    (before,) = db.snapshot().connections
    until = time.monotonic() + SOON
    while time.monotonic() < until:
        async with world.session(db) as session:
            await session.execute("SELECT 1")
    (after,) = db.snapshot().connections
    assert after.number == before.number, "it was replaced"


async def test_pauses_of_retries_are_as_long_as_they_are(world: World, jumping: None) -> None:
    runs = 0
    begun = time.monotonic()

    @world.unit(retry=Retry(attempts=4, base=0.05, cap=0.1, within=5))
    async def unit(session: Any) -> None:
        nonlocal runs
        runs += 1
        await session.execute("SELECT 1")
        if runs < 4:
            raise RetryRequested("once more")

    await unit()
    assert runs == 4
    assert took(begun) < 0.3 + 2 * SLACK, took(begun)


async def test_a_token_is_found_by_any_clock_or_unknown(world: World, jumping: None) -> None:
    db = world.database(resolve_commits="token")
    await make_table(world, db)
    async with world.session(db) as session:
        session.add(User(username="ann"))
    ((token,),) = world.seen("SELECT token FROM hermetic_commits")
    assert await resolve(world, db, CommitProof(server="", token=token)) is Outcome.COMMITTED
    # a sweep by a clock that may be a month ahead: it may be unknown then, and nothing worse
    gone = await swept(world, db)
    outcome = await resolve(world, db, CommitProof(server="", token=token), 2.0)
    assert outcome is (Outcome.UNKNOWN if gone else Outcome.COMMITTED)


async def test_what_is_idle_is_closed_when_it_is_time(world: World, jumping: None) -> None:
    db = world.database(pool_idle=SOON)
    async with world.session(db) as session:
        await session.execute("SELECT 1")
        begun = time.monotonic()
    assert await eventually(world, lambda: not db.snapshot().connections)
    assert SOON - 0.1 < took(begun) < SOON + SLACK, took(begun)


@on_postgresql
@pytest.mark.parametrize("hours", [0, -3])
async def test_a_plan_that_is_too_old_is_made_anew(
    world: World, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """SQLAlchemy tells by the wall clock which of asyncpg's plans are from before that."""
    db = world.database(pool_size=1)
    everything = "SELECT * FROM users"
    for _ in range(8):
        async with world.session(db) as session:
            await session.execute(everything)
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + hours * 3600)
    world.do("ALTER TABLE users ADD COLUMN extra integer")
    runs = 0

    @world.unit(db, retry=Retry(attempts=3, base=0.001))
    async def unit(session: Any) -> int:
        nonlocal runs
        runs += 1
        return len((await session.execute(everything)).keys())

    assert await unit() == 4
    assert runs <= 2
    assert await unit() == 4
    assert runs <= 3


# ---------------------------------------------------------------- of the server


@pytest.fixture(scope="module")
def clock() -> Iterator[JumpingClock]:
    # not in pytest's folder, which the server's account may not enter
    with tempfile.TemporaryDirectory(prefix="hermetic-clock-") as folder:
        Path(folder).chmod(0o755)
        try:
            clock = JumpingClock(Path(folder))
        except FaketimeUnavailable as error:
            if in_ci():
                pytest.fail(str(error), pytrace=False)
            pytest.skip(f"NOT TESTED: {error}")
        with clock:
            yield clock


class JumpyServer(PostgreSQLServer):
    """A server that has such a clock."""

    def __init__(self, clock: JumpingClock) -> None:
        super().__init__()
        self._clock = clock

    def _command(self) -> list[str | Path]:
        given = (f"{name}={value}" for name, value in self._clock.environment.items())
        return ["/usr/bin/env", *given, *super()._command()]


@pytest.fixture(scope="module")
def jumpy(clock: JumpingClock) -> Iterator[JumpyServer]:
    with JumpyServer(clock) as server:
        server.create_database("app")
        yield server


@on_postgresql
def test_the_clock_jumps(jumpy: JumpyServer, world: World) -> None:
    """Or the next case would say nothing."""
    if world.is_async:
        pytest.skip("one driver is enough for that")
    other = World(world.backend, jumpy.url("app", world.backend.scheme), jumpy.url("app"))
    try:
        seen: set[str] = set()
        until = time.monotonic() + 15
        while len(seen) < 3 and time.monotonic() < until:
            seen.add(other.seen("SELECT to_char(clock_timestamp(), 'YYYY-MM-DD HH24')")[0][0])
        assert len(seen) >= 3
    finally:
        other.close()


@on_postgresql
async def test_on_a_server_whose_clock_jumps_a_scope_ends_at_its_deadline(
    jumpy: JumpyServer, world: World
) -> None:
    world.close_observer()
    world.url = jumpy.url("app", world.backend.scheme)
    world._observer, world._observer_url = None, jumpy.url("app")
    db = world.database(pool_size=2)

    # the server's own limits are its clock's; hermetic's watch is behind them
    for _ in range(3):
        begun = time.monotonic()
        with pytest.raises((DeadlineExceeded, FaultError)):
            async with world.session(db, timeout=0.3) as session:
                await session.execute("SELECT pg_sleep(5)")
        assert 0.2 < time.monotonic() - begun < 0.3 + SLACK
    assert lent(db) == []
    async with world.session(db, timeout=5) as session:
        await session.execute("SELECT 1")
