"""A scope that only read, cancelled at any of its waits: nothing is left, and all is known."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import pytest

from hermetic import Database, Outcome
from tests.behaviour.aftermath import check_nothing_left, eventually, happened, lent, on
from tests.behaviour.cancelling import Victim, cancel_at
from tests.models import User
from tests.proxy import COMMIT, Proxy
from tests.worlds import PATIENCE, World

on_wires: Final = on(
    lambda backend: backend.is_async and backend.family in ("sqlite", "postgresql")
)
on_postgresql: Final = on(lambda backend: backend.is_async and backend.family == "postgresql")
MOST_WAITS: Final = 200
ANN: Final = 71
CLEANUP: Final = 0.3
SLACK: Final = 2.0


def insert_ann(world: World) -> None:
    world.do(f"INSERT INTO users (id, username, balance) VALUES ({ANN}, 'ann', 7)")


async def connect(world: World, db: Database) -> None:
    """Have a writer's connection in the pool, and the plan of the class made."""
    async with world.session(db) as session:
        await session.get(User, ANN)


async def turns(number: int = 20) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


# ---------------------------------------------------------------- a COMMIT under way


@on_postgresql
@pytest.mark.parametrize("times", [1, 3])
async def test_a_readers_cancelled_commit_is_finished_and_raised_once(
    world: World, proxy: Proxy, times: int
) -> None:
    insert_ann(world)
    await connect(world, world.database(put_off_begin=False))
    deliveries: list[str] = []
    held: list[Any] = []
    sessions: list[Any] = []

    async def unit() -> None:
        try:
            async with world.session() as session:
                sessions.append(session)
                await session.get(User, ANN)
                assert session.scope.in_hand
                held.append(proxy.hold(COMMIT))
        except asyncio.CancelledError:
            deliveries.append("first")
            try:
                await turns(3)
            except asyncio.CancelledError:
                deliveries.append("second")
            raise

    task = asyncio.create_task(unit())
    await eventually(world, lambda: held, PATIENCE)
    await happened(world, held[0].reached)
    for _ in range(times):
        task.cancel()
        await turns()
    done_too_early = task.done()
    held[0].release()
    await asyncio.wait({task}, timeout=PATIENCE)

    assert not done_too_early
    assert task.cancelled()
    assert deliveries == ["first"]
    assert sessions[0].outcome is Outcome.COMMITTED
    assert len(world.db.snapshot().connections) == 1
    await check_nothing_left(world)


@on_postgresql
@pytest.mark.timing
@pytest.mark.parametrize("stage", ["statement", "commit"])
async def test_a_cancelled_reader_on_a_frozen_server_ends_in_time(
    world: World, proxy: Proxy, stage: str
) -> None:
    insert_ann(world)
    db = world.database(cleanup_timeout=CLEANUP, pool_size=1, put_off_begin=False)
    await connect(world, db)
    sessions: list[Any] = []
    frozen = asyncio.Event()

    async def unit() -> None:
        async with world.session(db) as session:
            sessions.append(session)
            await session.get(User, ANN)
            proxy.freeze()
            frozen.set()
            if stage == "statement":
                await session.get(User, 72)

    task = asyncio.create_task(unit())
    await frozen.wait()
    await turns()
    begun = time.monotonic()
    task.cancel()
    await asyncio.wait({task}, timeout=PATIENCE)
    took = time.monotonic() - begun

    assert task.cancelled()
    assert took < CLEANUP + SLACK
    expected = Outcome.UNKNOWN if stage == "commit" else Outcome.NOT_COMMITTED
    assert sessions[0].outcome is expected
    proxy.thaw()
    await eventually(world, lambda: not lent(db))
    assert lent(db) == []
    await check_nothing_left(world, db)


@on_postgresql
async def test_a_readers_commit_that_fails_is_raised(world: World, proxy: Proxy) -> None:
    insert_ann(world)
    await connect(world, world.database(put_off_begin=False))

    with pytest.raises(Exception, match=r"COMMIT|lost|closed|connection") as caught:
        async with world.session() as session:
            await session.get(User, ANN)
            assert session.scope.in_hand
            proxy.cut_after(COMMIT)

    assert session.outcome is Outcome.UNKNOWN
    assert caught.value.outcome is Outcome.UNKNOWN  # type: ignore[attr-defined]
    await check_nothing_left(world)


# ---------------------------------------------------------------- cancelled at any wait


class Run:
    def __init__(self, world: World, db: Database, name: str) -> None:
        self.world = world
        self.db = db
        self.name = name
        self.session: Any = None

    @property
    def outcome(self) -> Outcome | None:
        return None if self.session is None else self.session.outcome


Operation: TypeAlias = Callable[[Run], Awaitable[None]]


async def read(run: Run) -> None:
    async with run.world.session(run.db) as run.session:
        await run.session.get(User, ANN)


async def read_twice(run: Run) -> None:
    async with run.world.session(run.db) as run.session:
        await run.session.get(User, ANN)
        await run.session.get(User, 4711)


async def read_and_write(run: Run) -> None:
    async with run.world.session(run.db) as run.session:
        await run.session.get(User, ANN)
        run.session.add(User(username=run.name))
        await run.session.flush()
        await run.session.get(User, 4711)


async def read_and_fail(run: Run) -> None:
    try:
        async with run.world.session(run.db) as run.session:
            await run.session.get(User, ANN)
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass


async def wait_in_line(run: Run) -> None:
    taken, done = asyncio.Event(), asyncio.Event()

    async def holder() -> None:
        async with run.world.session(run.db) as session:
            await session.get(User, ANN)
            taken.set()
            await done.wait()

    def waited_for() -> bool:
        return done.is_set() or any(pool.waiting for pool in run.db.snapshot().pools)

    async def usher() -> None:
        await eventually(run.world, waited_for)
        done.set()

    helpers = [asyncio.create_task(holder())]
    try:
        await taken.wait()
        helpers.append(asyncio.create_task(usher()))
        async with run.world.session(run.db) as run.session:
            await run.session.get(User, ANN)
    finally:
        done.set()
        run.helpers = helpers  # type: ignore[attr-defined]


OPERATIONS: Final = (read, read_twice, read_and_write, read_and_fail, wait_in_line)


async def check_victim(run: Run, victim: Victim) -> None:
    where = f"{run.name}, {victim!r}: {run.outcome}"
    await asyncio.wait(getattr(run, "helpers", None) or {asyncio.create_task(asyncio.sleep(0))})
    await eventually(run.world, lambda: not lent(run.db), PATIENCE)
    assert lent(run.db) == [], where
    assert victim.cancelled is victim.struck, where
    assert victim.deliveries == (1 if victim.struck else 0), where
    assert run.outcome is not Outcome.UNKNOWN, where
    written = run.world.usernames()
    if "write" in run.name:
        assert written == (["ann", run.name] if run.outcome is Outcome.COMMITTED else ["ann"]), (
            where
        )
    run.world.do("DELETE FROM users WHERE id <> 71")


@on_wires
@pytest.mark.slow
@pytest.mark.parametrize("put_off", [True, False], ids=["put off", "at once"])
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
async def test_cancelled_at_any_wait_nothing_is_left(
    world: World, operation: Operation, times: int, put_off: bool
) -> None:
    if put_off and world.backend.family != "postgresql":
        pytest.skip("BEGIN is never put off here")
    insert_ann(world)
    db = world.database(pool_size=1, put_off_begin=put_off)

    for n in range(1, MOST_WAITS):
        await connect(world, db)
        run = Run(world, db, f"{operation.__name__} {n}")
        victim = await cancel_at(n, lambda run=run: operation(run), times=times)  # type: ignore[misc]
        await check_victim(run, victim)
        if not victim.struck:
            break
    else:
        raise AssertionError(f"still waiting after {MOST_WAITS} waits")

    assert n > 1
    await check_nothing_left(world, db)
