"""What is seen of a group's scope: in each of its databases, and of the whole."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event

from hermetic import Outcome, PartialCommit
from hermetic.sinks import ScopeView, Sink, attach
from tests.behaviour.aftermath import on
from tests.behaviour.ledgers import Entry, pair
from tests.behaviour.watching import Boom, engine_of
from tests.models import User
from tests.worlds import World

one_of_each_world = on(lambda backend: backend.name in ("psycopg", "asyncpg", "sqlite"))


class Ends(Sink):
    """Keeps what is told of ends."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def ended(self, scope: ScopeView, note: object) -> None:
        self.seen.append(scope.seen)


@pytest.fixture
def audit_url(world: World, fresh_url: Any) -> str:
    url: str = fresh_url(world.backend, "audit")
    return url


WATCHED: dict[str, Any] = {"main": {"watch": True}, "audit": {"watch": True}}


@one_of_each_world
async def test_a_branch_has_its_rows_and_its_end_and_the_whole_has_the_sums(
    world: World, audit_url: str
) -> None:
    async with pair(world, world.url, audit_url, **WATCHED) as both:
        ends = Ends()
        attach(both.group, ends)
        async with world.session(both.group) as session:
            session.add_all([User(username="ann"), User(username="bob")])
            await session.flush()
            (now,) = both.group.snapshot().scopes
            session.add(Entry(said="they came"))  # flushed at the end, into a branch of then

        (main,), (audit,) = (db.watch.recent() for db in (both.main, both.audit))
        (whole,) = ends.seen
        assert (main.outcome, main.error, main.rows) == (Outcome.COMMITTED, None, 2)
        assert (audit.outcome, audit.error, audit.rows) == (Outcome.COMMITTED, None, 1)
        assert now.rows == 2
        assert 0 < main.leaving <= main.seconds
        assert audit.leaving == pytest.approx(audit.seconds)
        assert whole.statements == main.statements + audit.statements
        assert whole.rows == 3
        trips = main.round_trips, audit.round_trips
        assert None not in trips
        assert whole.round_trips == sum(each for each in trips if each is not None)
        assert now.round_trips is not None
        assert now.round_trips < whole.round_trips or world.backend.family == "sqlite"


@one_of_each_world
async def test_a_branch_says_what_ended_it(world: World, audit_url: str) -> None:
    async with pair(world, world.url, audit_url, **WATCHED) as both:
        with pytest.raises(Boom):
            async with world.session(both.group) as session:
                session.add_all([User(username="ann"), Entry(said="ann came")])
                await session.flush()
                raise Boom

        for db in (both.main, both.audit):
            (failed,) = db.watch.failed()
            assert (failed.outcome, failed.error) == (Outcome.NOT_COMMITTED, "Boom")
            assert failed.leaving > 0


@one_of_each_world
async def test_only_the_branch_that_failed_is_said_to_have_failed(
    world: World, audit_url: str
) -> None:
    async with pair(world, world.url, audit_url, **WATCHED) as both:

        def fail(connection: Any) -> None:
            raise Boom("before the COMMIT was sent")

        event.listen(engine_of(world, both.audit), "commit", fail)
        with pytest.raises(PartialCommit):
            async with world.session(both.group) as session:
                session.add_all([User(username="ann"), Entry(said="ann came")])

        assert both.main.watch.failed() == ()
        (failed,) = both.audit.watch.failed()
        assert (failed.outcome, failed.error) == (Outcome.NOT_COMMITTED, "Boom")
