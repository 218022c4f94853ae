"""A task that is cancelled at any of its waits leaves nothing behind, and the truth is known."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import pytest

from hermetic import Database, Outcome, Retry, RetryRequested
from tests.behaviour.aftermath import (
    at_work,
    check_nothing_left,
    eventually,
    lent,
    on_asyncio,
)
from tests.behaviour.cancelling import Victim, cancel_at, without_asyncpgs_forgotten_future
from tests.models import User
from tests.worlds import PATIENCE, World

# No operation here waits as often; a sweep that goes on is going round in circles.
MOST_WAITS: Final = 400


class Boom(Exception):
    """What an operation raises on purpose."""


class Run:
    """One run of an operation: where it works, under which name, and what became of it."""

    def __init__(self, world: World, db: Database, name: str) -> None:
        self.world = world
        self.db = db
        self.name = name
        self.scopes: list[Any] = []
        self.committed_hooks = 0
        self.helpers: set[asyncio.Task[Any]] = set()

    def session(self, **options: Any) -> Any:
        return self.world.session(self.db, **options)

    async def add(self, session: Any) -> None:
        self.scopes.append(session.scope)
        session.add(User(username=self.name))
        await session.flush()

    @property
    def outcome(self) -> Outcome | None:
        """That of its only, or last, transaction; None where it never had one."""
        return self.scopes[-1].root.outcome if self.scopes else None


Operation: TypeAlias = Callable[[Run], Awaitable[None]]


async def commit(run: Run) -> None:
    async with run.session() as session:
        await run.add(session)
        await session.execute("SELECT 1")


async def flush_at_the_end(run: Run) -> None:
    async with run.session() as session:
        run.scopes.append(session.scope)
        session.add(User(username=run.name))


async def savepoint(run: Run) -> None:
    async with run.session() as session:
        async with run.session(propagation="nested") as inner:
            await run.add(inner)
        await session.execute("SELECT 1")


async def savepoint_rolled_back(run: Run) -> None:
    async with run.session() as session:
        await run.add(session)
        try:
            async with run.session(propagation="nested") as inner:
                inner.add(User(username=f"{run.name} inner"))
                await inner.flush()
                raise Boom
        except Boom:
            pass


async def joined(run: Run) -> None:
    async with run.session() as session:
        async with run.session() as inner:
            await run.add(inner)
        await session.execute("SELECT 1")


async def rollback(run: Run) -> None:
    async with run.session() as session:
        await run.add(session)
        raise Boom


async def failed_statement(run: Run) -> None:
    async with run.session() as session:
        await run.add(session)
        await session.execute("SELECT * FROM nowhere")


async def read_only(run: Run) -> None:
    # of a named level, so that there is a transaction to begin and to end
    level = run.db.family.default_isolation
    async with run.session(readonly=True, isolation=level) as session:
        await session.execute("SELECT 1")


async def retried(run: Run) -> None:
    async for attempt in run.world.attempts(run.db, retry=Retry(attempts=2, base=0.001)):
        async with attempt as session:
            await run.add(session)
            if session.scope.attempt == 1:
                raise RetryRequested


async def hooks(run: Run) -> None:
    async def pause() -> None:
        await asyncio.sleep(0)
        run.committed_hooks += 1

    async with run.session() as session:
        session.before_commit(lambda: run.add(session))
        session.on_commit(pause)
        session.on_commit(pause)
        await session.execute("SELECT 1")


async def wait_in_line(run: Run) -> None:
    taken, done = asyncio.Event(), asyncio.Event()

    async def holder() -> None:
        async with run.session() as session:
            await session.execute("SELECT 1")
            taken.set()
            await done.wait()

    async def usher() -> None:
        await eventually(run.world, lambda: any(pool.waiting for pool in run.db.snapshot().pools))
        done.set()

    try:
        run.helpers.add(asyncio.create_task(holder()))
        await taken.wait()
        run.helpers.add(asyncio.create_task(usher()))
        async with run.session() as session:
            await run.add(session)
    finally:
        done.set()


OPERATIONS: Final = (
    commit,
    flush_at_the_end,
    savepoint,
    savepoint_rolled_back,
    joined,
    rollback,
    failed_statement,
    read_only,
    retried,
    hooks,
    wait_in_line,
)


async def check_victim(run: Run, victim: Victim) -> None:
    """What holds after a run, wherever it was cancelled."""
    where = f"{run.name}, {victim!r}: {run.outcome}"
    if run.helpers:
        await asyncio.wait(run.helpers, timeout=PATIENCE)
    await eventually(run.world, lambda: not at_work(run.world))
    assert at_work(run.world) == [], where
    assert victim.cancelled is victim.struck, where
    assert victim.deliveries == (1 if victim.struck else 0), where
    assert lent(run.db) == [], where
    assert run.outcome is not Outcome.UNKNOWN, where
    expected = [run.name] if run.outcome is Outcome.COMMITTED else []
    assert run.world.usernames() == expected, where
    if run.committed_hooks:
        assert run.outcome is Outcome.COMMITTED, where
    run.world.do("DELETE FROM users")


async def sweep(world: World, operation: Operation, *, times: int = 1, cold: bool = False) -> int:
    """Cancel an operation at each of its waits, and check after each run.

    :param cold: with a new Database for each run, so that it has to connect first.
    :return: how many waits there were.
    """
    db = world.database(pool_size=1)
    for n in range(1, MOST_WAITS):
        if cold:
            db = world.database(pool_size=1)
        else:
            await connect(world, db)
        run = Run(world, db, f"{operation.__name__} {n}")
        victim = await cancel_at(n, lambda run=run: operation(run), times=times)  # type: ignore[misc]
        await check_victim(run, victim)
        if cold:
            await db.aclose()
        else:
            await check_nothing_left(world, db)
        if not victim.struck:
            return n
    raise AssertionError(f"still waiting after {MOST_WAITS} waits")


async def connect(world: World, db: Database) -> None:
    """Have a writer's and a reader's connection in the pools."""
    for readonly in (False, True):
        async with world.session(db, readonly=readonly) as session:
            await session.execute("SELECT 1")


@on_asyncio
@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
async def test_a_task_cancelled_at_any_wait_leaves_nothing(
    world: World, operation: Operation
) -> None:
    waits = await sweep(world, operation)

    # a read-only scope waits for its statement alone, a small flush for that and for COMMIT
    brief = operation is flush_at_the_end or (
        operation is read_only and world.backend.family != "sqlite"
    )
    assert waits > (2 if brief else 3)


@on_asyncio
@pytest.mark.slow
@pytest.mark.parametrize("operation", [commit, rollback, read_only], ids=lambda o: o.__name__)
async def test_a_task_cancelled_while_it_connects_leaves_nothing(
    world: World, operation: Operation
) -> None:
    with without_asyncpgs_forgotten_future():
        waits = await sweep(world, operation, cold=True)

    assert waits > 3


@on_asyncio
@pytest.mark.slow
@pytest.mark.parametrize("times", [2, 5])
@pytest.mark.parametrize(
    "operation", [commit, savepoint, rollback, hooks], ids=lambda o: o.__name__
)
async def test_a_task_cancelled_several_times_leaves_nothing(
    world: World, operation: Operation, times: int
) -> None:
    """The later ones strike while it rolls back, or commits, because of the first."""
    waits = await sweep(world, operation, times=times)

    assert waits > 3
