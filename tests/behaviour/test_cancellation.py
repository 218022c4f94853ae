"""A task that is cancelled at any of its waits leaves nothing behind, and the truth is known."""

from __future__ import annotations

import functools

import pytest

from tests.behaviour.aftermath import on, on_asyncio
from tests.behaviour.cancelling import (
    cancel_at,
    cancel_scope_at,
    without_asyncpgs_forgotten_future,
)
from tests.behaviour.sweeping import (
    OPERATIONS,
    Operation,
    batch,
    commit,
    flush_at_the_end,
    flushed_twice,
    hooks,
    read_only,
    rollback,
    savepoint,
    sweep,
)
from tests.worlds import World

# psycopg says so of every cursor whose connection was destroyed under it.
_LEFT_OPEN = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")


@on_asyncio
@pytest.mark.slow
@_LEFT_OPEN
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
async def test_a_task_cancelled_at_any_wait_leaves_nothing(
    world: World,
    operation: Operation,
) -> None:
    waits = await sweep(world, operation)

    # a read-only scope waits for its statement alone, a small flush for that and for COMMIT
    brief = operation is flush_at_the_end or (
        operation is read_only and world.backend.family != "sqlite"
    )
    assert waits > (2 if brief else 3)


@on(lambda backend: backend.name == "psycopg_async")
@pytest.mark.slow
@_LEFT_OPEN
@pytest.mark.parametrize("operation", [commit, flushed_twice, batch], ids=lambda o: o.__name__)
async def test_a_task_cancelled_in_a_busy_loop_leaves_nothing(
    world: World, operation: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """psycopg gives others a turn then in front of waits that it needs not make: one of them is
    where a pipeline is entered, and an assertion of psycopg's hides the cancellation there.
    """
    monkeypatch.setattr("psycopg.waiting.MAX_BUSY_TIME", 0.0)

    waits = await sweep(world, operation)

    assert waits > 3


@on_asyncio
@pytest.mark.slow
@pytest.mark.parametrize("operation", [commit, rollback, read_only], ids=lambda o: o.__name__)
async def test_a_task_cancelled_while_it_connects_leaves_nothing(
    world: World,
    operation: Operation,
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
    world: World,
    operation: Operation,
    times: int,
) -> None:
    """The later ones strike while it rolls back, or commits, because of the first."""
    waits = await sweep(world, operation, strike=functools.partial(cancel_at, times=times))

    assert waits > 3


@on_asyncio
@pytest.mark.slow
@_LEFT_OPEN
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
async def test_a_cancel_scope_that_cancels_again_and_again_leaves_nothing(
    world: World,
    operation: Operation,
) -> None:
    """As anyio's, and with it Starlette's and FastAPI's: every wait in it is cancelled."""
    waits = await sweep(world, operation, strike=cancel_scope_at)

    assert waits > 1
