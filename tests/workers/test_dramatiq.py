"""Dramatiq: threads of a worker, one that is interrupted, and a worker that is killed."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import AsyncIO
from dramatiq.middleware.time_limit import TimeLimitExceeded
from dramatiq.threading import raise_thread_exception

from hermetic import CommitUnknown, ConfigurationError, RetryRequested, UniqueViolation
from hermetic.integrations.dramatiq import Sessions, retried
from hermetic.outbox import Inbox
from tests.behaviour.aftermath import lent, on
from tests.models import User
from tests.proxy import Proxy
from tests.workers.conftest import Bench
from tests.worlds import PATIENCE, World

in_threads = on(lambda backend: backend.name == "sqlite")
in_asyncio = on(lambda backend: backend.name == "aiosqlite")
on_psycopg = on(lambda backend: backend.name == "psycopg" and not backend.is_async)


class Desk:
    """A broker in this process, and a worker of it."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions
        self.db = sessions.database
        self.broker = StubBroker()
        self.broker.add_middleware(AsyncIO())
        sessions.install(self.broker)
        self.broker.emit_after("process_boot")
        self.worker = dramatiq.Worker(self.broker, worker_timeout=50, worker_threads=1)
        self.worker.start()

    def actor(self, **options: Any) -> Callable[[Callable[..., Any]], Any]:
        given: dict[str, Any] = {"min_backoff": 1, "max_backoff": 1, "max_retries": 3, **options}
        return dramatiq.actor(broker=self.broker, **given)

    def done(self, message: Any) -> None:
        """Have it done; raises what it failed with."""
        try:
            self.broker.join(message.queue_name, timeout=int(1000 * PATIENCE), fail_fast=True)
            self.worker.join()
        finally:
            for letters in self.broker.dead_letters_by_queue.values():
                letters.clear()


def interrupt(thread: int | None) -> None:
    raise_thread_exception(thread, TimeLimitExceeded)  # type: ignore[no-untyped-call]


@pytest.fixture
def quiet() -> Iterator[None]:
    logging.getLogger("dramatiq").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("dramatiq").setLevel(logging.NOTSET)


@pytest.fixture
def desks(quiet: None) -> Iterator[Callable[..., Desk]]:
    made: list[Desk] = []

    def make(world: World, **options: Any) -> Desk:
        made.append(Desk(Sessions(world.database(), **options)))
        return made[-1]

    yield make
    for desk in made:
        desk.worker.stop()


@in_threads
def test_a_message_is_done_after_its_commit(world: World, desks: Callable[..., Desk]) -> None:
    desk = desks(world)
    runs: list[str] = []

    @desk.actor(scope_options={"isolation": "SERIALIZABLE"})
    def add(name: str, then: str = "") -> None:
        runs.append(name)
        desk.db.current.add(User(username=name))
        assert desk.sessions.unit.name == "add"
        if then == "ask" and len(runs) < 3:
            raise RetryRequested
        if then == "fail":
            raise LookupError

    desk.done(add.send("ann"))
    assert world.usernames() == ["ann"]
    # what passes is Dramatiq's to retry, and what is none of the database's
    runs.clear()
    desk.done(add.send("bob", "ask"))
    assert (len(runs), world.usernames()) == (3, ["ann", "bob"])
    runs.clear()
    with pytest.raises(LookupError):
        desk.done(add.send("cyd", "fail"))
    assert len(runs) == 4
    # what failed for good, at the commit, is not
    runs.clear()
    with pytest.raises(Exception, match="UNIQUE"):
        desk.done(add.send("ann"))
    assert len(runs) == 1
    # called by hand it is a unit of its own
    add("dan")
    assert world.usernames() == ["ann", "bob", "dan"]
    with pytest.raises(ConfigurationError):
        desk.sessions.install(desk.broker)


@in_threads
def test_an_actor_that_is_safe_is_run_again_at_once(
    world: World, desks: Callable[..., Desk]
) -> None:
    desk = desks(world)
    runs: list[int] = []

    @desk.actor(max_retries=0)
    @retried(3)
    def add() -> None:
        runs.append(1)
        desk.db.current.add(User(username="ann"))
        if len(runs) < 3:
            raise RetryRequested

    desk.done(add.send())
    assert (len(runs), world.usernames()) == (3, ["ann"])


@pytest.mark.parametrize("once", [False, True])
@on_psycopg
def test_a_commit_whose_answer_is_lost(
    world: World, desks: Callable[..., Desk], once: bool
) -> None:
    with Proxy(world.url) as proxy:
        world.url = proxy.url
        db = world.database()
        inbox = Inbox(db)
        inbox.create()
        desk = Desk(Sessions(db, once=inbox if once else None))
        runs: list[int] = []

        @desk.actor()
        def add() -> None:
            runs.append(1)
            db.current.add(User(username="ann"))

        proxy.cut_after()
        if once:
            desk.done(add.send())
        else:
            with pytest.raises(CommitUnknown):
                desk.done(add.send())
        # never run blindly: what was not run a second time was asked about by its token
        assert (len(runs), world.usernames()) == (1, ["ann"])
        desk.worker.stop()
        db.close()


@pytest.mark.parametrize("late", [False, True])
@in_threads
def test_an_interrupt(world: World, desks: Callable[..., Desk], late: bool) -> None:
    desk = desks(world)
    runs: list[int] = []

    def strike() -> None:
        interrupt(threading.get_ident())
        for _ in range(1000):
            pass

    @desk.actor(max_retries=0)
    def add() -> None:
        runs.append(1)
        desk.db.current.add(User(username="ann"))
        desk.db.current.flush()
        if late:
            # the transaction is committed by then, and the message is done
            desk.db.current.on_commit(strike)
        else:
            strike()

    if late:
        desk.done(add.send())
    else:
        with pytest.raises(TimeLimitExceeded):
            desk.done(add.send())
    assert world.usernames() == (["ann"] if late else [])
    assert lent(desk.db) == []


@in_asyncio
async def test_actors_of_asyncio(world: World, desks: Callable[..., Desk]) -> None:
    desk = desks(world)
    begun = threading.Event()

    @desk.actor(max_retries=0)
    async def add(name: str, then: str = "") -> None:
        desk.db.current.add(User(username=name))
        await desk.db.current.flush()
        if then == "wait":
            begun.set()
            await asyncio.Event().wait()
        if then == "fail":
            raise LookupError

    @desk.actor(max_retries=0)
    async def leave() -> None:
        await desk.db.aclose()

    desk.done(add.send("ann"))
    with pytest.raises(LookupError):
        desk.done(add.send("bob", "fail"))
    waiting = add.send("cyd", "wait")
    assert begun.wait(PATIENCE)
    [thread] = [each.ident for each in desk.worker.workers]
    interrupt(thread)
    with pytest.raises(TimeLimitExceeded):
        desk.done(waiting)
    assert world.usernames() == ["ann"]
    # the loop's connections are closed in it
    leave.send()
    desk.worker.join()


@pytest.mark.postgresql
@pytest.mark.slow
def test_a_worker_that_is_killed_applies_its_message_once(bench: Bench) -> None:
    with bench.known():
        from tests.workers import dramatiq_program as program
    messages = "dramatiq:default.msgs"
    run = ("-m", "tests.workers.dramatiq_program")

    program.add.send("ann", False)
    bench.start(*run).wait(4 * PATIENCE)
    assert bench.usernames() == []  # killed before its commit

    second = bench.start(*run)
    bench.until(lambda: not bench.redis.exists(messages), "ann was not done")
    assert (bench.usernames(), bench.runs("ann")) == (["ann"], 2)
    program.add.send("bob", True)
    second.wait(4 * PATIENCE)
    assert bench.usernames() == ["ann", "bob"]  # killed after it

    bench.start(*run)
    bench.until(lambda: not bench.redis.exists(messages), "bob was not done")
    assert (bench.usernames(), bench.runs("bob")) == (["ann", "bob"], 1)
    bench.stop()
    program.db.close()


@in_threads
def test_whoever_hears_of_failures_hears_of_those_for_good(
    world: World, desks: Callable[..., Desk]
) -> None:
    desk = desks(world)
    heard: list[tuple[str, dict[str, Any]]] = []

    @desk.actor()
    def hear(message: dict[str, Any], error: dict[str, str]) -> None:
        heard.append((error["type"], message["options"]))

    @desk.actor(on_failure="hear")
    def add(name: str) -> None:
        desk.db.current.add(User(username=name))

    desk.done(add.send("ann"))
    with pytest.raises(UniqueViolation):
        desk.done(add.send("ann"))
    desk.broker.join("default", timeout=int(1000 * PATIENCE))
    desk.worker.join()
    assert [name for name, _ in heard] == ["UniqueViolation"]
    assert "throws" not in heard[0][1]


@in_asyncio
async def test_an_actors_own_runtime_error_is_dramatiqs_to_retry(
    world: World, desks: Callable[..., Desk]
) -> None:
    desk = desks(world, opens=False)
    runs: list[str] = []

    @desk.actor()
    async def add(name: str) -> None:
        runs.append(name)
        if len(runs) < 2:
            raise RuntimeError
        (await desk.sessions.asession()).add(User(username=name))

    await asyncio.to_thread(desk.done, add.send("ann"))
    assert (len(runs), world.usernames()) == (2, ["ann"])
