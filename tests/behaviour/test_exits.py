"""The end of a program, of a loop, of a generator, in the middle of a scope: nothing is committed
that was not, nothing hangs, nothing is said, and the server is left by everybody.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.behaviour.aftermath import on, on_asyncio
from tests.worlds import PATIENCE, World

on_threads = on(lambda backend: not backend.is_async)
on_asyncio_postgresql = on(lambda b: b.is_async and b.family == "postgresql")

_ROOT = Path(__file__).parents[2]


def run(world: World, what: str) -> str:
    """What a program of its own prints, which ends well and says nothing else."""
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.behaviour.exiting", what, world.url],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
        check=False,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    return finished.stdout


@on_threads
@pytest.mark.slow
@pytest.mark.parametrize("what", ["generator", "scope", "thread"])
async def test_a_program_ends_with_a_scope_open(world: World, what: str) -> None:
    assert run(world, what) == ""
    assert world.usernames() == []


@on_asyncio
@pytest.mark.slow
@pytest.mark.parametrize("what", ["agenerator", "task"])
async def test_a_loop_ends_with_a_scope_open(world: World, what: str) -> None:
    assert run(world, what) == ""
    assert world.usernames() == []


@on_asyncio
@pytest.mark.slow
async def test_a_loop_is_closed_with_a_scope_open(world: World) -> None:
    assert run(world, "closed") == ""
    assert world.usernames() == ["kept"]


@on_asyncio
@pytest.mark.slow
async def test_two_loops_in_two_threads_share_a_database(world: World) -> None:
    assert run(world, "loops") == "0\n"
    assert len(world.usernames()) == 2 * 2 * 10 * 6


@on_asyncio_postgresql
@pytest.mark.slow
async def test_closing_waits_for_ends_that_are_under_way(world: World) -> None:
    world.do(
        "CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS"
        " $f$ BEGIN PERFORM pg_sleep(0.4); RETURN NULL; END; $f$"
    )
    world.do(
        "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON users DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION slowly()"
    )

    assert run(world, "ends") == "0 0\n"
    assert world.usernames() == ["kept"]
