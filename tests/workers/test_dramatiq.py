"""Dramatiq: threads of a worker, and what is thrown into one."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import AsyncIO
from dramatiq.middleware.time_limit import TimeLimitExceeded
from dramatiq.threading import raise_thread_exception

from hermetic import (
    CommitUnknown,
    ConfigurationError,
    Outcome,
    RetryRequested,
    UniqueViolation,
)
from hermetic.integrations.dramatiq import Sessions, retried
from hermetic.interrupts import out_of_reach
from hermetic.outbox import Inbox
from tests.behaviour.aftermath import lent, on
from tests.models import User
from tests.proxy import Proxy
from tests.worlds import PATIENCE, World

in_threads = on(lambda backend: backend.name == "sqlite")
in_asyncio = on(lambda backend: backend.name == "aiosqlite")
on_clients = on(lambda backend: backend.name in ("psycopg", "pymysql"))
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


@on_clients
def test_an_interrupt_waits_for_the_answer_to_a_commit(world: World, quiet: None) -> None:
    with Proxy(world.url) as proxy:
        world.url = proxy.url
        db = world.database()
        with db.session() as session:
            session.execute("SELECT 1")  # what connecting sends is not held
        desk = Desk(Sessions(db))
        outcomes: list[Any] = []

        @desk.actor(max_retries=0)
        def add() -> None:
            session = db.current
            session.add(User(username="ann"))
            unit = desk.sessions.unit
            session.on_commit(lambda: outcomes.append(unit.outcome))

        trap = proxy.hold()  # the server has answered, and the answer is on its way
        message = add.send()
        assert trap.reached.wait(PATIENCE)
        [thread] = [each.ident for each in desk.worker.workers]
        interrupt(thread)
        trap.release()
        desk.done(message)
        assert outcomes == [Outcome.COMMITTED]
        assert world.usernames() == ["ann"]
        assert lent(db) == []
        desk.worker.stop()
        db.close()


def test_what_is_done_out_of_reach() -> None:
    begun, go = threading.Event(), threading.Event()
    variable: ContextVar[str] = ContextVar("variable", default="")
    said: list[object] = []

    def function() -> str:
        said.append((variable.get(), threading.get_ident()))
        begun.set()
        assert go.wait(PATIENCE)
        return "answer"

    def caller() -> None:
        variable.set("the caller's")
        for _ in range(2):
            try:
                said.append(out_of_reach(function))
            except TimeLimitExceeded as struck:
                said.append(type(struck))
        with pytest.raises(KeyError):
            out_of_reach({}.popitem)

    thread = threading.Thread(target=caller)
    thread.start()
    assert begun.wait(PATIENCE)
    begun.clear()
    interrupt(thread.ident)
    go.set()
    thread.join(PATIENCE)
    values = [each[0] for each in said if isinstance(each, tuple)]
    idents = {each[1] for each in said if isinstance(each, tuple)}
    assert values == ["the caller's"] * 2
    assert thread.ident not in idents
    # what had begun went on to its end, and then the caller was struck
    assert said[1::2] == [TimeLimitExceeded, "answer"]


@in_threads
def test_a_generator_function_is_no_actor(world: World, desks: Callable[..., Desk]) -> None:
    desk = desks(world)

    def rows() -> Iterator[int]:
        yield 1

    with pytest.raises(ConfigurationError, match="generator function"):
        desk.actor()(rows)
    assert "rows" not in desk.broker.actors


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
