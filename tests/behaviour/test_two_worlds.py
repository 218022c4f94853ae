"""A scope of threads and one of asyncio never share a session."""

from __future__ import annotations

import pytest

from hermetic import Database, Outcome, ScopeRefused
from tests.behaviour.aftermath import lent, on_asyncio
from tests.databases import FamilyUrl
from tests.loop import run_async
from tests.models import User
from tests.worlds import World


@on_asyncio
async def test_a_scope_of_threads_inside_one_of_asyncio_is_refused(world: World) -> None:
    db = world.db
    async with db.session() as session:
        for propagation in ("required", "nested", "mandatory", "supports"):
            with (
                pytest.raises(ScopeRefused, match="asyncio"),
                db.session(propagation=propagation),
            ):
                pass
        session.add(User(username="ann"))

    assert world.usernames() == ["ann"]
    assert lent(db) == []


def test_a_scope_of_asyncio_inside_one_of_threads_is_refused(
    family: str, family_url: FamilyUrl
) -> None:
    async def case() -> None:
        async with Database(family_url(family)) as db:
            with db.session() as session:
                session.execute("SELECT 1")
                with pytest.raises(ScopeRefused, match="asyncio"):
                    async with db.session():
                        pass
                async with db.session(propagation="requires_new", readonly=True) as own:
                    answer = await own.scalar("SELECT 2")
            assert session.outcome is Outcome.COMMITTED
            assert answer == 2
            assert lent(db) == []

    run_async(case)
