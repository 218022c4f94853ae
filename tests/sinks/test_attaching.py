"""A sink that an outsider wrote: what it is told, when, and what becomes of its errors."""

from __future__ import annotations

import contextvars
import gc
import logging
import os
import weakref
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import select

from hermetic import Database, Finding, Outcome, RetryRequested, Watch
from hermetic.events import Event, RetryScheduled
from hermetic.sinks import ScopeView, Sink, attach
from tests.behaviour.aftermath import check_nothing_left, on
from tests.models import User
from tests.worlds import World

one_of_each_world = on(lambda backend: backend.name in ("psycopg", "asyncpg", "pymysql", "sqlite"))
in_threads = on(lambda backend: backend.name == "sqlite")

request: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")


class Journal(Sink):
    """Writes down what it is told."""

    contexts = True

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.scopes: list[ScopeView] = []
        self.requests: list[list[str]] = []

    def opened(self, scope: ScopeView) -> str:
        self.lines.append(f"opened {scope.name}")
        return f"note of {scope.number}"

    def ended(self, scope: ScopeView, note: Any) -> None:
        assert note == f"note of {scope.number}"
        assert scope.outcome is not None
        self.lines.append(f"{scope.name} {scope.outcome.name} in {request.get()}")
        self.scopes.append(scope)
        self.requests.append([context.get(request, "none") for context in scope.contexts])


@dataclass
class Listed(Sink):
    """A dataclass, which has no hash; two of them are equal."""

    ended_at: list[str] = field(default_factory=list)

    def opened(self, scope: ScopeView) -> str:
        return scope.name

    def ended(self, scope: ScopeView, note: Any) -> None:
        self.ended_at.append(note)


class Failing(Sink):
    """Fails at everything that it is told."""

    def opened(self, scope: ScopeView) -> None:
        raise ZeroDivisionError("opened")

    def ended(self, scope: ScopeView, note: Any) -> None:
        raise ZeroDivisionError("ended")

    def found(self, finding: Finding) -> None:
        raise ZeroDivisionError("found")


async def test_a_sink_is_told_of_a_scope_where_its_owner_is(world: World) -> None:
    journal = Journal()
    detach = attach(world.db, journal)
    token = request.set("request 1")
    async with world.session(name="one", readonly=True) as session:
        await session.execute("SELECT 1")
        request.set("request 2")
        await session.execute(select(User.id))
    request.reset(token)
    detach()
    async with world.session(name="after"):
        pass

    assert journal.lines == ["opened one", "one COMMITTED in request 2"]
    (scope,) = journal.scopes
    assert (scope.database, scope.readonly, scope.attempt) == (world.db.name, True, 1)
    assert (scope.error, scope.code, scope.before, scope.tenant) == (None, None, None, None)
    assert scope.statements == len(scope.seen.steps) == 2
    assert 0 < scope.working <= scope.used <= scope.seconds
    assert 0 <= scope.leaving <= scope.seconds
    assert scope.ref.name == "one"
    assert journal.requests == [["request 1", "request 2"]]
    # when it is detached nobody watches, and contexts are not kept for longer than they are wanted
    assert world.db.registry.watch is None
    assert scope.contexts == ()
    await check_nothing_left(world)


@one_of_each_world
async def test_the_next_attempt_knows_the_one_before(world: World) -> None:
    journal = Journal()
    attach(world.db, journal)

    @world.unit(retry=3, name="often")
    async def often(session: Any) -> None:
        await session.execute("SELECT 1")
        if len(journal.scopes) < 2:
            raise RetryRequested

    await often()

    first, second, third = journal.scopes
    assert [scope.attempt for scope in journal.scopes] == [1, 2, 3]
    assert (first.before, second.before, third.before) == (None, first.number, second.number)
    assert (first.outcome, first.error) == (Outcome.NOT_COMMITTED, "RetryRequested")
    assert (third.outcome, third.error) == (Outcome.COMMITTED, None)


async def test_of_a_statement_that_failed_the_servers_word_is_told(world: World) -> None:
    journal = Journal()
    attach(world.db, journal)
    with pytest.raises(Exception, match="nowhere"):
        async with world.session() as session:
            await session.execute("SELECT 1 FROM nowhere")

    (scope,) = journal.scopes
    (step,) = scope.seen.steps
    expected = {"postgresql": "42P01", "mariadb": "1146", "sqlite": "SQLITE_ERROR"}
    assert step.code == scope.code == expected[world.backend.family]
    assert step.seconds is None
    assert step.failed_after is not None
    assert 0 < step.failed_after <= scope.seconds


@in_threads
async def test_what_a_sink_raises_is_logged_and_changes_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    db = world.database(watch=Watch(every=3600.0, repeats=1))
    attach(db, Failing())
    journal = Journal()
    attach(db, journal)
    with caplog.at_level(logging.ERROR, "hermetic"):
        async with world.session(db, name="one") as session:
            for _ in range(3):
                await session.execute("SELECT 1")

    assert journal.lines[-1] == "one COMMITTED in none"
    raised = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    caplog.clear()  # tracebacks hold sessions
    assert raised == ["opened", "found", "ended"]


@one_of_each_world
async def test_an_interrupt_in_a_sink_keeps_no_hook_from_running(world: World) -> None:
    class Struck(Sink):
        def ended(self, scope: ScopeView, note: Any) -> None:
            raise KeyboardInterrupt

    detach = attach(world.db, Struck())
    hooks: list[str] = []
    with pytest.raises(KeyboardInterrupt) as raised:
        async with world.session(name="one") as session:
            session.add(User(username="ann"))
            session.on_commit(lambda: hooks.append("committed"))
    detach()

    assert hooks == ["committed"]
    assert "committed" in raised.value.__notes__[0]
    assert world.usernames() == ["ann"]
    await check_nothing_left(world)


@in_threads
async def test_a_sink_is_told_of_findings_and_events_if_it_wants_them(world: World) -> None:
    class Curious(Sink):
        def __init__(self) -> None:
            self.findings: list[str] = []
            self.events: list[Event] = []

        def found(self, finding: Finding) -> None:
            self.findings.append(finding.code)

        def told(self, event: Event) -> None:
            self.events.append(event)

    curious = Curious()
    db = world.database(watch=Watch(every=3600.0, repeats=1))
    detach = attach(db, curious)

    @world.unit(db, retry=2)
    async def twice(session: Any) -> None:
        for _ in range(3):
            await session.execute("SELECT 1")
        if not any(isinstance(event, RetryScheduled) for event in curious.events):
            raise RetryRequested

    await twice()
    assert curious.findings == ["repeated-statement"]
    assert [type(event).__name__ for event in curious.events].count("ScopeFinished") == 2

    detach()
    assert db.registry.listeners == ()
    assert db.registry.watch is not None  # it is watched all the same


@in_threads
async def test_several_sinks_and_a_record_come_and_go_independently(world: World) -> None:
    one, two = Journal(), Journal()
    detach = attach(world.db, one)
    with world.db.record() as record:
        attach(world.db, two)
        async with world.session(name="both"):
            detach()
            detach()  # again, which does nothing
            async with world.session(name="second", propagation="requires_new"):
                pass
    assert [scope.name for scope in record.scopes] == ["second", "both"]
    # of what was open when it was taken off it is told the end
    assert one.lines == ["opened both", "both COMMITTED in none"]
    assert two.lines[-1] == "both COMMITTED in none"
    assert len(two.lines) == 4


@in_threads
async def test_sinks_that_are_equal_are_two(world: World) -> None:
    one, two = Listed(), Listed()
    attach(world.db, one)
    detach = attach(world.db, two)
    attach(world.db, two)
    async with world.session(name="a"):
        pass
    assert one.ended_at == two.ended_at == ["a"]
    detach()
    async with world.session(name="b"):
        pass
    assert (one.ended_at, two.ended_at) == (["a", "b"], ["a"])


@in_threads
async def test_a_forked_child_is_told_that_it_is_one(world: World) -> None:
    class Forking(Sink):
        forks = 0

        def forked(self) -> None:
            self.forks += 1

    sink = Forking()
    detach = attach(world.db, sink)
    assert _in_a_child(lambda: sink.forks) == 1
    detach()
    assert _in_a_child(lambda: sink.forks) == 0
    assert sink.forks == 0


def _in_a_child(answer: Any) -> int:
    child = os.fork()
    if child == 0:
        os._exit(answer())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("how", ["sink", "limit"])
def test_a_database_that_was_looked_at_is_forgotten(how: str) -> None:
    database = Database("sqlite://")
    registry = weakref.ref(database.registry)
    if how == "sink":
        detach = attach(database, Listed())
        with database.session():
            pass
        detach()
    else:
        with database.assert_statements(exactly=0), database.session():
            pass
    database.close()

    del database
    gc.collect()

    assert registry() is None


@in_threads
async def test_a_scope_that_outlives_whoever_looked_tells_whoever_looks_next(world: World) -> None:
    first, second = Listed(), Listed()
    detach = attach(world.db, first)
    async with world.session(name="long"):
        detach()
        gc.collect()
        detach = attach(world.db, second)
    detach()
    assert first.ended_at == ["long"]
    assert len(second.ended_at) == 1, "it is told by the same watcher"
