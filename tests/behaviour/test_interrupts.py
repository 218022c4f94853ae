"""Signals never break into a COMMIT that was sent; they are delivered once, afterwards."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import pytest

from hermetic import Outcome, Session
from tests.behaviour.aftermath import (
    at_work,
    check_nothing_left,
    lent,
    on,
    on_servers_in_asyncio,
)
from tests.loop import run_async
from tests.models import User
from tests.proxy import COMMIT, ROLLBACK, Proxy, Trap
from tests.servers.process import wait_until
from tests.worlds import PATIENCE, World, drive

on_threads = on(lambda backend: not backend.is_async)
on_servers_in_threads = on(lambda backend: not backend.is_async and backend.family != "sqlite")

# The scope's own limit for cleaning up, and what it may take beyond it.
CLEANUP = 0.3
SLACK = 2.0


def strike(number: int) -> None:
    os.kill(os.getpid(), number)


@contextmanager
def meanwhile(action: Callable[[], object]) -> Iterator[None]:
    """Do something in another thread; the main one is where signals arrive."""
    thread = threading.Thread(target=action)
    thread.start()
    try:
        yield
    finally:
        thread.join(PATIENCE)


def strike_and_release(trap: Trap, *numbers: int) -> Callable[[], None]:
    """Signals that arrive while an answer is held back, which then is let go."""

    def run() -> None:
        trap.reached.wait(PATIENCE)
        for number in numbers:
            strike(number)
        trap.release()

    return run


@contextmanager
def exits_on(number: int) -> Iterator[list[int]]:
    """A handler that ends the program, as a service has one for SIGTERM; how often it ran."""
    ran: list[int] = []

    def handler(number: int, frame: object) -> NoReturn:
        ran.append(number)
        sys.exit(3)

    before = signal.signal(number, handler)
    try:
        yield ran
        assert signal.getsignal(number) is handler
    finally:
        signal.signal(number, before)


# ---------------------------------------------------------------- in the body


@on_threads
@pytest.mark.parametrize("strikes", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_in_the_body_rolls_back(world: World, strikes: type[BaseException]) -> None:
    with pytest.raises(strikes), world.db.session() as session:
        session.add(User(username="ann"))
        session.flush()
        raise strikes

    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    drive(check_nothing_left(world))


@on_threads
def test_a_signal_in_the_body_rolls_back(world: World) -> None:
    with pytest.raises(KeyboardInterrupt), world.db.session() as session:
        session.add(User(username="ann"))
        session.flush()
        strike(signal.SIGINT)
        threading.Event().wait(PATIENCE)

    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    drive(check_nothing_left(world))


@on_servers_in_threads
@pytest.mark.timing
def test_a_signal_breaks_a_statement_off(world: World) -> None:
    sleep = {"postgresql": "SELECT pg_sleep(60)", "mariadb": "SELECT sleep(60)"}

    def when_it_runs() -> None:
        wait_until(lambda: any("sleep" in row for row in at_work(world)), PATIENCE)
        strike(signal.SIGINT)

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt), world.db.session() as session:
        session.add(User(username="ann"))
        session.flush()
        with meanwhile(when_it_runs):
            session.execute(sleep[world.backend.family])

    assert time.monotonic() - begun < PATIENCE
    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    drive(check_nothing_left(world))


@on_servers_in_threads
def test_a_signal_in_the_flush_before_the_commit_rolls_back(world: World, proxy: Proxy) -> None:
    with pytest.raises(KeyboardInterrupt), world.db.session() as session:
        session.execute("SELECT 1")
        session.add(User(username="ann"))
        trap = proxy.hold(re.compile(rb"INSERT"))
        thread = threading.Thread(target=strike_and_release(trap, signal.SIGINT))
        thread.start()
    thread.join(PATIENCE)

    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    drive(check_nothing_left(world))


# ---------------------------------------------------------------- in the COMMIT


@on_servers_in_threads
def test_a_signal_in_a_commit_is_raised_once_afterwards(world: World, proxy: Proxy) -> None:
    raised = 0
    with pytest.raises(KeyboardInterrupt) as caught, world.db.session() as session:
        session.add(User(username="ann"))
        session.flush()
        trap = proxy.hold(COMMIT)
        thread = threading.Thread(target=strike_and_release(trap, signal.SIGINT))
        thread.start()
    thread.join(PATIENCE)
    try:
        # A second one would come at the next bytecode.
        threading.Event().wait(0.05)
    except KeyboardInterrupt:
        raised += 1

    assert raised == 0
    assert session.outcome is Outcome.COMMITTED
    assert any("committed" in note for note in caught.value.__notes__)
    assert world.usernames() == ["ann"]
    drive(check_nothing_left(world))


@on_servers_in_threads
def test_a_handler_that_exits_waits_for_the_commit(world: World, proxy: Proxy) -> None:
    hooks: list[str] = []
    with exits_on(signal.SIGTERM) as ran:
        with pytest.raises(SystemExit) as caught, world.db.session() as session:
            session.on_commit(lambda: hooks.append("commit"))
            session.add(User(username="ann"))
            session.flush()
            trap = proxy.hold(COMMIT)
            thread = threading.Thread(target=strike_and_release(trap, signal.SIGTERM))
            thread.start()
        thread.join(PATIENCE)

    assert caught.value.code == 3
    assert ran == [signal.SIGTERM]
    assert session.outcome is Outcome.COMMITTED
    assert hooks == ["commit"]
    assert world.usernames() == ["ann"]
    drive(check_nothing_left(world))


@on_servers_in_threads
def test_every_handler_of_several_signals_runs_once(world: World, proxy: Proxy) -> None:
    ran: list[int] = []
    numbers = (signal.SIGUSR1, signal.SIGUSR2)
    before = [signal.signal(n, lambda number, frame: ran.append(number)) for n in numbers]
    try:
        with world.db.session() as session:
            session.add(User(username="ann"))
            session.flush()
            trap = proxy.hold(COMMIT)
            thread = threading.Thread(target=strike_and_release(trap, *numbers))
            thread.start()
        thread.join(PATIENCE)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)

    assert sorted(ran) == sorted(numbers)
    assert session.outcome is Outcome.COMMITTED
    assert world.usernames() == ["ann"]


@on_servers_in_threads
def test_a_signal_in_a_rollback_is_raised_once_afterwards(world: World, proxy: Proxy) -> None:
    with pytest.raises(KeyboardInterrupt) as caught, world.db.session() as session:
        session.add(User(username="ann"))
        session.flush()
        trap = proxy.hold(ROLLBACK)
        thread = threading.Thread(target=strike_and_release(trap, signal.SIGINT))
        thread.start()
        raise ZeroDivisionError
    thread.join(PATIENCE)

    assert isinstance(caught.value.__context__, ZeroDivisionError)
    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    drive(check_nothing_left(world))


@on_servers_in_threads
def test_a_unit_that_was_interrupted_in_its_commit_is_not_run_again(
    world: World, proxy: Proxy
) -> None:
    bodies: list[threading.Thread] = []

    @world.db.session(retry=3)
    def unit(session: Session) -> None:
        session.add(User(username="ann"))
        session.flush()
        trap = proxy.hold(COMMIT)
        bodies.append(threading.Thread(target=strike_and_release(trap, signal.SIGINT)))
        bodies[-1].start()

    with pytest.raises(KeyboardInterrupt):
        unit()
    bodies[0].join(PATIENCE)

    assert len(bodies) == 1
    assert world.usernames() == ["ann"]


@on_servers_in_threads
def test_a_commit_of_another_thread_is_not_touched(world: World, proxy: Proxy) -> None:
    outcomes: list[Outcome | None] = []
    traps: list[Trap] = []
    sent = threading.Event()

    def work() -> None:
        with world.db.session() as session:
            session.add(User(username="ann"))
            session.flush()
            traps.append(proxy.hold(COMMIT))
            sent.set()
        outcomes.append(session.outcome)

    worker = threading.Thread(target=work)
    worker.start()
    sent.wait(PATIENCE)
    traps[0].reached.wait(PATIENCE)
    with pytest.raises(KeyboardInterrupt):
        strike(signal.SIGINT)
        threading.Event().wait(PATIENCE)
    traps[0].release()
    worker.join(PATIENCE)

    assert outcomes == [Outcome.COMMITTED]
    assert world.usernames() == ["ann"]
    drive(check_nothing_left(world))


# ---------------------------------------------------------------- on a server that answers no more


@on_servers_in_threads
@pytest.mark.timing
def test_a_commit_on_a_frozen_server_ends_for_whoever_insists(world: World, proxy: Proxy) -> None:
    db = world.database(cleanup_timeout=CLEANUP)
    over = threading.Event()
    raised: list[int] = []

    def handler(number: int, frame: object) -> None:
        # The last of the signals may come when all is over.
        if not raised:
            raised.append(number)
            raise KeyboardInterrupt

    def insist(trap: Trap) -> None:
        trap.reached.wait(PATIENCE)
        # Two that come together are one: Python keeps no count.
        while not over.wait(0.1):
            strike(signal.SIGINT)

    begun = 0.0
    before = signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises(KeyboardInterrupt), db.session() as session:
            session.add(User(username="ann"))
            session.flush()
            trap = proxy.hold(COMMIT)
            thread = threading.Thread(target=insist, args=(trap,))
            thread.start()
            begun = time.monotonic()
        took = time.monotonic() - begun
        over.set()
        thread.join(PATIENCE)
    finally:
        signal.signal(signal.SIGINT, before)

    assert took < CLEANUP + SLACK
    assert session.outcome is Outcome.UNKNOWN
    assert lent(db) == []
    trap.release()
    drive(check_nothing_left(world, db))


# ---------------------------------------------------------------- under asyncio


@on_servers_in_asyncio
def test_a_signal_in_a_commit_of_a_loop_is_raised_once_afterwards(
    world: World, proxy: Proxy
) -> None:
    sessions: list[Any] = []
    threads: list[threading.Thread] = []

    async def main() -> None:
        async with world.db as db, db.session() as session:
            sessions.append(session)
            session.add(User(username="ann"))
            await session.flush()
            trap = proxy.hold(COMMIT)
            threads.append(threading.Thread(target=strike_and_release(trap, signal.SIGINT)))
            threads[0].start()

    with pytest.raises(KeyboardInterrupt):
        run_async(main)
    threads[0].join(PATIENCE)

    assert sessions[0].outcome is Outcome.COMMITTED
    assert world.usernames() == ["ann"]
    assert lent(world.db) == []
