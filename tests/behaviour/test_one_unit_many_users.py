"""The same unit of work entered again inside itself, later, and by many at once."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from hermetic import Outcome
from tests.behaviour.aftermath import lent, on
from tests.behaviour.watching import Boom, plain_session
from tests.models import User
from tests.worlds import PATIENCE, World


async def test_one_unit_object_may_be_entered_again_inside_itself(world: World) -> None:
    unit = world.session()

    async with unit as outer:
        async with unit as inner:
            same = plain_session(inner) is plain_session(outer)
            inner.add(User(username="ann"))
        during = outer.outcome

    assert (same, during) == (True, None)
    assert outer.outcome is Outcome.COMMITTED
    assert world.usernames() == ["ann"]


async def test_one_unit_object_may_be_used_again_afterwards(world: World) -> None:
    unit = world.session()

    for name in ("ann", "bob"):
        async with unit as session:
            session.add(User(username=name))

    assert world.usernames() == ["ann", "bob"]


async def test_one_unit_object_used_by_many_at_once_ends_everybodys_own_scope(
    world: World,
) -> None:
    db = world.database(pool_timeout=30)
    unit = world.session(db, readonly=True)
    failures: list[str] = []

    async def party() -> None:
        for _ in range(20):
            async with unit as outer:
                async with unit as inner:
                    if plain_session(inner) is not plain_session(outer):
                        failures.append("an inner scope joined somebody else's")
                await outer.execute("SELECT 1")
            if outer.outcome is not Outcome.COMMITTED or not outer.scope.ended:
                failures.append(f"left open: {outer!r}")

    results = await world.together(*[party] * 8)

    assert [result for result in results if result is not None] == []
    assert failures == []
    assert lent(db) == []


async def test_failing_and_succeeding_users_of_one_unit_object_are_told_apart(
    world: World,
) -> None:
    unit = world.session(readonly=True)
    met, go = world.signal(), world.signal()

    async def failing() -> Any:
        try:
            async with unit as session:
                await session.execute("SELECT 1")
                met.set()
                await go.wait()
                raise Boom
        except Boom:
            return session.outcome

    async def succeeding() -> Any:
        await met.wait()
        async with unit as session:
            await session.execute("SELECT 1")
            go.set()
        return session.outcome

    results = await world.together(failing, succeeding)

    assert results == [Outcome.NOT_COMMITTED, Outcome.COMMITTED]


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Threads change hands as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@on(lambda backend: backend.name == "sqlite")
@pytest.mark.slow
@pytest.mark.usefixtures("hasty_threads")
def test_one_unit_object_of_many_threads_never_ends_anothers_scope(world: World) -> None:
    unit = world.db.session()
    failures: list[str] = []

    def party() -> None:
        try:
            for _ in range(3000):
                with unit as session:
                    time.sleep(0)
                if session.scope is None or not session.scope.ended:
                    failures.append(f"left open: {session!r}")
        except BaseException as error:
            failures.append(repr(error))

    threads = [threading.Thread(target=party, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(6 * PATIENCE)

    assert failures == []
    assert lent(world.db) == []
