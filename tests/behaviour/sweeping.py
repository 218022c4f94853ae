"""Operations that are cancelled at each of their waits, and what must be so after each run."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from sqlalchemy import text

from hermetic import AsyncSession, Database, Outcome, Retry, RetryRequested
from tests.behaviour.aftermath import at_work, check_nothing_left, eventually, lent
from tests.behaviour.cancelling import Victim, cancel_at
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

    def waited_for() -> bool:
        return done.is_set() or any(pool.waiting for pool in run.db.snapshot().pools)

    async def usher() -> None:
        await eventually(run.world, waited_for)
        done.set()

    try:
        run.helpers.add(asyncio.create_task(holder()))
        await taken.wait()
        run.helpers.add(asyncio.create_task(usher()))
        async with run.session() as session:
            await run.add(session)
    finally:
        done.set()


async def streamed(run: Run) -> None:
    async with run.session() as session:
        await run.add(session)
        result = await session.stream(text("SELECT username FROM users"))
        assert [row[0] async for row in result] == [run.name]


async def flushed_twice(run: Run) -> None:
    async with run.session() as session:
        run.scopes.append(session.scope)
        user = User(username="before")
        session.add(user)
        await session.flush()
        user.username = run.name
        await session.flush()
        await session.refresh(user)


async def batch(run: Run) -> None:
    async with run.session() as session:
        await run.add(session)
        rows = [{"n": n, "name": run.name} for n in range(3)]
        await session.execute(text("UPDATE users SET balance = :n WHERE username = :name"), rows)
        await session.execute("SELECT 1")


async def left_by_hand(run: Run) -> None:
    """A session of the engine's, in no scope: its close rolls back."""
    async with AsyncSession(run.db.async_engine) as session:
        session.add(User(username=run.name))
        await session.flush()


async def retried_after_a_pause(run: Run) -> None:
    pauses = Retry(attempts=3, base=0.01, cap=0.01)
    async for attempt in run.world.attempts(run.db, retry=pauses):
        async with attempt as session:
            await run.add(session)
            if session.scope.attempt < 3:
                raise RetryRequested


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
    streamed,
    flushed_twice,
    batch,
    left_by_hand,
    retried_after_a_pause,
)


async def check_victim(run: Run, victim: Victim) -> None:
    """What holds after a run, wherever it was cancelled."""
    where = f"{run.name}, {victim!r}: {run.outcome}"
    if run.helpers:
        await asyncio.wait(run.helpers, timeout=PATIENCE)
    assert await eventually(run.world, lambda: not at_work(run.world)), where
    assert victim.cancelled is victim.struck, where
    assert victim.deliveries == (1 if victim.struck else 0), where
    assert lent(run.db) == [], where
    assert run.outcome is not Outcome.UNKNOWN, where
    expected = [run.name] if run.outcome is Outcome.COMMITTED else []
    assert run.world.usernames() == expected, where
    if run.committed_hooks:
        assert run.outcome is Outcome.COMMITTED, where
    run.world.do("DELETE FROM users")


Strike: TypeAlias = Callable[[int, Callable[[], Awaitable[Any]]], Awaitable[Victim]]


async def sweep(
    world: World, operation: Operation, *, cold: bool = False, strike: Strike = cancel_at
) -> int:
    """Cancel an operation at each of its waits, and check after each run.

    :param strike: does it, and is given the number of the wait.
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
        victim = await strike(n, lambda run=run: operation(run))  # type: ignore[misc]
        await check_victim(run, victim)
        if cold:
            await db.aclose()
        else:
            await check_nothing_left(world, db)
        if not victim.struck:
            # what they left to the collector complains here, if at all
            gc.collect()
            sys.stdout.write(f"{operation.__name__}: cancelled at {n - 1} waits\n")
            return n
    raise AssertionError(f"still waiting after {MOST_WAITS} waits")


async def connect(world: World, db: Database) -> None:
    """Have a writer's and a reader's connection in the pools."""
    for readonly in (False, True):
        async with world.session(db, readonly=readonly) as session:
            await session.execute("SELECT 1")
