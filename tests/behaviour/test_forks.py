"""A process that forks: its connections and its open scopes stay its own, whatever the child does,
and the child has connections and scopes of its own.
"""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.behaviour.aftermath import on
from tests.mission.children import add_user
from tests.worlds import PATIENCE, World

on_threads = on(lambda backend: not backend.is_async)
on_asyncio_servers = on(lambda backend: backend.is_async and backend.family != "sqlite")
on_thread_servers = on(lambda backend: not backend.is_async and backend.family != "sqlite")

_ROOT = Path(__file__).parents[2]


def run(world: World, kind: str, way: str = "") -> dict[str, Any]:
    """Run the forking program; what it found."""
    finished = subprocess.run(
        [sys.executable, "-m", "tests.behaviour.forking", kind, world.url, way],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    found: dict[str, Any] = json.loads(finished.stdout)
    return found


@on_threads
@pytest.mark.slow
@pytest.mark.parametrize("way", ["returned", "error", "sys.exit", "os._exit", "collected"])
async def test_a_childs_end_leaves_the_parents_scope_alone(world: World, way: str) -> None:
    found = run(world, "scope", way)

    assert found["status"] == 0
    assert found["before"] == found["after"]
    assert found["refused"] == ["ForkedScope"] * 3
    assert "hook" not in found
    assert world.usernames() == ["ann", "bob"]
    if world.backend.family != "sqlite":
        assert found["child"] != found["before"]
    if way in ("returned", "error"):
        assert found["left"] == {"returned": "ForkedScope", "error": "without a word"}[way]
    if world.backend.family == "sqlite":
        assert world.seen("PRAGMA integrity_check") == [("ok",)]


@on_thread_servers
@pytest.mark.slow
async def test_a_child_commits_beside_its_parents_open_scope(world: World) -> None:
    found = run(world, "scope", "wrote")

    assert found["before"] == found["after"]
    assert world.usernames() == ["ann", "bob", "child"]


@on_threads
@pytest.mark.slow
async def test_workers_of_a_preloaded_program_have_their_own_connections(world: World) -> None:
    found = run(world, "preloaded")

    assert found["statuses"] == [0, 0, 0]
    assert len(found["seen"]) == 1
    assert len(world.usernames()) == 15


@on_thread_servers
@pytest.mark.slow
async def test_a_session_outside_any_scope_stays_its_parents_too(world: World) -> None:
    found = run(world, "loose")

    assert found["status"] == 0
    assert found["before"] == found["after"]
    assert world.usernames() == ["ann"]


@on_asyncio_servers
@pytest.mark.slow
@pytest.mark.parametrize("way", ["inside", "between"])
async def test_engines_of_asyncio_are_new_in_a_child(world: World, way: str) -> None:
    found = run(world, "loop", way)

    assert found["status"] == 0
    if way == "inside":
        assert found["before"][1] == found["after"]
    assert world.usernames() == ["ann", "child"]


@on_threads
@pytest.mark.slow
async def test_a_process_of_the_fork_server_opens_its_own(world: World) -> None:
    context = multiprocessing.get_context("forkserver")
    child = context.Process(target=add_user, args=(world.url, "ann"), daemon=True)

    child.start()
    child.join(2 * PATIENCE)

    assert child.exitcode == 0
    assert world.usernames() == ["ann"]
