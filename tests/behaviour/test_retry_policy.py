"""What a retry policy allows: which faults, how often, for how long, and who decides."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from sqlalchemy import insert, select

from hermetic import (
    DeadlineExceeded,
    FaultKind,
    Retry,
    RetryRefused,
    RetryRequested,
    RetryScheduled,
)
from tests.behaviour.aftermath import check_nothing_left, on_asyncio
from tests.behaviour.conflicts import conflict, conflict_class
from tests.models import User
from tests.worlds import PATIENCE, World

FAST = Retry(attempts=5, base=0.001)


# ---------------------------------------------------------------- which faults


async def test_a_predicate_decides_for_errors_of_the_application(world: World) -> None:
    bodies = 0

    @world.unit(retry=Retry(base=0.001, when=lambda error: isinstance(error, ZeroDivisionError)))
    async def unit(session: Any) -> None:
        nonlocal bodies
        bodies += 1
        if bodies < 3:
            raise ZeroDivisionError

    await unit()

    assert bodies == 3


async def test_a_predicate_overrules_the_kinds(world: World) -> None:
    bodies = 0

    @world.unit(retry=Retry(when=lambda error: False))
    async def unit(session: Any) -> None:
        nonlocal bodies
        bodies += 1
        await conflict(world, session)

    with pytest.raises(conflict_class(world)):
        await unit()

    assert bodies == 1


async def test_a_predicate_without_an_answer_leaves_it_to_the_kinds(world: World) -> None:
    bodies = 0

    @world.unit(retry=Retry(base=0.001, when=lambda error: None))
    async def unit(session: Any) -> None:
        nonlocal bodies
        bodies += 1
        if bodies == 1:
            await conflict(world, session)

    await unit()

    assert bodies == 2


async def test_only_the_kinds_of_the_policy_are_run_again(world: World) -> None:
    kinds = {FaultKind.CONNECTION_LOST}
    bodies = 0

    @world.unit(retry=Retry(on=frozenset(kinds)))
    async def unit(session: Any) -> None:
        nonlocal bodies
        bodies += 1
        await conflict(world, session)

    with pytest.raises(conflict_class(world)):
        await unit()

    assert bodies == 1


async def test_unique_violations_are_run_again_for_a_policy_that_names_them(world: World) -> None:
    """Get or create: who comes second finds what the first has made."""
    world.do("INSERT INTO users (username, balance) VALUES ('ann', 7)")
    bodies = 0

    @world.unit(retry=Retry(base=0.001, on=frozenset({FaultKind.UNIQUE})))
    async def get_or_create(session: Any) -> int:
        nonlocal bodies
        bodies += 1
        # The first look came too early.
        found = await session.scalar(select(User.balance)) if bodies > 1 else None
        if found is None:
            await unique_again(session)
        return int(found or 0)

    async def unique_again(session: Any) -> None:
        await session.execute(insert(User).values(username="ann"))

    assert await get_or_create() == 7
    assert bodies == 2


async def test_each_re_run_is_told_with_its_fault(world: World) -> None:
    told: list[RetryScheduled] = []
    world.db.listen(lambda event: told.append(event) if isinstance(event, RetryScheduled) else None)

    @world.unit(retry=FAST, name="told")
    async def unit(session: Any) -> None:
        if len(told) < 2:
            await conflict(world, session)

    await unit()

    assert [event.attempt for event in told] == [2, 3]
    assert {event.unit for event in told} == {"told"}
    assert {event.fault and event.fault.kind for event in told} == {conflict_class(world).kind}
    assert all(0 <= event.pause <= 0.002 for event in told)


# ---------------------------------------------------------------- how often, for how long


async def test_the_last_error_is_raised_with_notes_of_the_attempts(world: World) -> None:
    bodies = 0
    errors: list[BaseException] = []

    @world.unit(retry=Retry(attempts=3, base=0.001))
    async def unit(session: Any) -> None:
        nonlocal bodies
        bodies += 1
        try:
            await conflict(world, session)
        except conflict_class(world) as error:
            errors.append(error)
            raise

    with pytest.raises(conflict_class(world)) as caught:
        await unit()

    assert bodies == 3
    assert caught.value is errors[-1]
    notes = "\n".join(caught.value.__notes__)
    assert "attempt 3" in notes
    assert "all 3 attempts" in notes
    assert f"attempt 1: {conflict_class(world).__name__}" in notes
    assert f"attempt 2: {conflict_class(world).__name__}" in notes
    await check_nothing_left(world)


async def test_the_last_error_of_a_loop_is_raised_with_notes_of_the_attempts(world: World) -> None:
    bodies = 0

    with pytest.raises(RetryRequested, match="again, please") as caught:
        async for attempt in world.attempts(retry=Retry(attempts=2, base=0.001)):
            async with attempt:
                bodies += 1
                raise RetryRequested("again, please")

    assert bodies == 2
    assert "all 2 attempts" in "\n".join(caught.value.__notes__)


async def test_five_attempts_are_the_default_of_a_loop(world: World) -> None:
    bodies = 0

    with pytest.raises(RetryRequested):
        async for attempt in world.attempts():
            async with attempt:
                bodies += 1
                raise RetryRequested

    assert bodies == 5


async def test_a_policy_of_the_database_holds_for_its_units(world: World) -> None:
    db = world.database(retry=Retry(attempts=2, base=0.001))
    bodies = 0

    @world.unit(db)
    async def unit(session: Any) -> None:
        nonlocal bodies
        bodies += 1
        raise RetryRequested

    with pytest.raises(RetryRequested):
        await unit()

    assert bodies == 2


async def test_a_policy_of_the_database_does_not_refuse_its_blocks(world: World) -> None:
    db = world.database(retry=3)

    async with world.session(db) as session:
        session.add(User(username="ann"))

    assert world.usernames() == ["ann"]


@pytest.mark.timing
async def test_retrying_ends_when_its_time_is_over(world: World) -> None:
    bodies = 0

    @world.unit(retry=Retry(attempts=1000, within=0.6, base=0.05, cap=0.05))
    async def unit(session: Any) -> None:
        nonlocal bodies
        bodies += 1
        raise RetryRequested

    begun = time.monotonic()
    with pytest.raises(RetryRequested) as caught:
        await unit()

    assert 1 < bodies < 1000
    assert time.monotonic() - begun < 10
    assert "time is over" in "\n".join(caught.value.__notes__)


@pytest.mark.timing
async def test_the_deadline_of_a_unit_is_one_for_all_its_attempts(world: World) -> None:
    bodies = 0

    @world.unit(timeout=1.0, retry=Retry(attempts=1000, within=None, base=0.05, cap=0.05))
    async def unit(session: Any) -> None:
        nonlocal bodies
        bodies += 1
        await session.execute("SELECT 1")
        raise RetryRequested

    begun = time.monotonic()
    with pytest.raises((RetryRequested, DeadlineExceeded)):
        await unit()

    assert bodies > 1
    assert time.monotonic() - begun < 10
    await check_nothing_left(world)


async def test_a_spent_budget_of_the_database_stops_its_retries(world: World) -> None:
    db = world.database(retries_per_second=0.001, retry_burst=3)
    refused: list[RetryRefused] = []
    db.listen(lambda event: refused.append(event) if isinstance(event, RetryRefused) else None)
    bodies = 0

    @world.unit(db, retry=Retry(attempts=3, base=0.001))
    async def unit(session: Any) -> None:
        nonlocal bodies
        bodies += 1
        raise RetryRequested

    async def run() -> None:
        await unit()

    ends = await world.together(*[run] * 5)

    assert all(isinstance(end, RetryRequested) for end in ends)
    # Five first runs, and three more for all of them together.
    assert bodies == 8
    assert db.snapshot().counters["retries"] == 3
    notes = ["\n".join(end.__notes__) for end in ends]
    assert sum("budget" in note for note in notes) >= 4
    assert any("budget" in event.reason for event in refused)
    await check_nothing_left(world, db)


@on_asyncio
async def test_the_pause_before_a_re_run_can_be_cancelled(world: World) -> None:
    paused = asyncio.Event()
    world.db.listen(
        lambda event: paused.set() if isinstance(event, RetryScheduled) else None,
    )

    # Drawn evenly from 0 to this, so that it is all but certainly longer than the case waits.
    @world.unit(retry=Retry(base=100_000.0, cap=100_000.0, within=None))
    async def unit(session: Any) -> None:
        await conflict(world, session)

    task = asyncio.ensure_future(unit())
    async with asyncio.timeout(PATIENCE):
        await paused.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert task.cancelled()
    await check_nothing_left(world)
