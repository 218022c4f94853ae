"""Cancelled at any wait, while the server's process for this client is stopped: the end comes."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import pytest

from hermetic import Outcome
from tests.backends import ASYNC_BACKENDS, Backend
from tests.behaviour.aftermath import check_nothing_left, lent
from tests.behaviour.cancelling import Victim, cancel_at
from tests.behaviour.sweeping import (
    MOST_WAITS,
    Operation,
    Run,
    commit,
    rollback,
    savepoint,
)
from tests.models import Base
from tests.servers import PostgreSQLServer, ServerUnavailable
from tests.worlds import World

# The scope's own limit for cleaning up, what it may take beyond it, and the last second that a
# hanging end is given when its socket was destroyed.
CLEANUP: Final = 0.2
SLACK: Final = 2.5

_ON: Final = [
    pytest.param(backend, id=backend.name, marks=pytest.mark.postgresql)
    for backend in ASYNC_BACKENDS
    if backend.family == "postgresql"
]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQLServer]:
    """One of its own: a process that is stopped may hold up all the others."""
    try:
        PostgreSQLServer.installed_version()
    except ServerUnavailable as error:
        pytest.skip(f"postgresql is MISSING: {error}")
    with PostgreSQLServer() as server:
        server.create_database("app")
        yield server


@pytest.fixture
def world(backend: Backend, server: PostgreSQLServer) -> Iterator[World]:
    made = World(backend, server.url("app", backend.scheme), server.url("app"))
    yield made
    Base.metadata.drop_all(made.observer)
    made.close_observer()


def go_on(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def check(run: Run, victim: Victim, took: float) -> None:
    where = f"{run.name}, {victim!r}: {run.outcome}, after {took:.2f} s"
    assert victim.cancelled is victim.struck, where
    assert victim.deliveries == (1 if victim.struck else 0), where
    assert took < CLEANUP + SLACK, where
    assert lent(run.db) == [], where


@pytest.mark.slow
@pytest.mark.timing
@pytest.mark.parametrize("backend", _ON)
@pytest.mark.parametrize("operation", [commit, rollback, savepoint], ids=lambda o: o.__name__)
async def test_a_task_cancelled_on_a_stopped_server_leaves_nothing(
    world: World,
    operation: Operation,
) -> None:
    db = world.database(pool_size=1, reader_pool_size=1, cleanup_timeout=CLEANUP)
    for n in range(1, MOST_WAITS):
        async with world.session(db) as session:
            pid = await session.scalar("SELECT pg_backend_pid()")
        run = Run(world, db, f"{operation.__name__} {n}")
        begun = time.monotonic()
        try:
            victim = await cancel_at(
                n,
                lambda run=run: operation(run),  # type: ignore[misc]
                before=lambda pid=pid: os.kill(pid, signal.SIGSTOP),  # type: ignore[misc]
            )
            check(run, victim, time.monotonic() - begun)
        finally:
            go_on(pid)
        await check_nothing_left(world, db)
        # a COMMIT that nobody heard of is carried out when the server goes on, or it is not
        written = world.usernames()
        expected = {
            Outcome.COMMITTED: [[run.name]],
            Outcome.UNKNOWN: [[run.name], []],
        }.get(run.outcome or Outcome.NOT_COMMITTED, [[]])
        assert written in expected, f"{run.name}: {run.outcome}, {victim!r}"
        world.do("DELETE FROM users")
        if not victim.struck:
            break
    sys.stdout.write(f"{operation.__name__}: cancelled at {n - 1} waits\n")
    assert n > 3
