"""An interrupt may strike between any two steps of the machinery; nothing is lost by it."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Callable

import pytest

from hermetic import Database, Outcome, PoolTimeout, Session, ending
from hermetic.attempts import Run
from hermetic.fast.modules import is_compiled
from hermetic.gate import Gate, Ticket
from hermetic.pool import Admission, ThreadWaker
from tests.behaviour.aftermath import check_nothing_left, lent, on
from tests.behaviour.striking import Strike, strikes
from tests.models import User
from tests.worlds import World, drive

on_threads = on(lambda backend: not backend.is_async)
# a driver in Python has thousands of steps of its own
on_drivers_in_c = on(lambda backend: backend.name in ("sqlite", "psycopg"))

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def unheard(monkeypatch: pytest.MonkeyPatch) -> None:
    """What strikes in a callback of the collector is swallowed; pytest would keep its frames."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)


def few(steps: int) -> int:
    """Fewer than so many places to strike at would say that the sweep does not work.

    Compiled code has a fraction of them: most of what is between two steps is one step.
    """
    return 0 if is_compiled(ending) else steps


def left(db: Database) -> list[str]:
    """What is open or lent; what was interrupted may be in a cycle with its own traceback."""
    if lent(db):
        gc.collect()
    return lent(db)


def check_one_connection(db: Database, strike: Strike) -> None:
    """Every place is there, and no connection beside the pool's one."""
    assert left(db) == [], strike.where
    with db.session() as session:
        assert session.scalar("SELECT 42") == 42, strike.where
    if len(db.snapshot().connections) > 1:
        gc.collect()
    assert len(db.snapshot().connections) == 1, strike.where


@on_drivers_in_c
def test_no_place_is_lost_where_a_pooled_connection_is_taken(world: World) -> None:
    db = world.database(pool_size=1)
    with db.session() as session:
        session.execute("SELECT 1")

    def take(strike: Strike) -> None:
        with db.session() as session, strike:
            session.execute("SELECT 1")

    steps = 0
    for strike in strikes(take):
        check_one_connection(db, strike)
        steps += 1

    assert steps > few(300)
    gc.collect()
    drive(check_nothing_left(world, db))


@on(lambda backend: backend.name == "sqlite")
def test_no_place_is_lost_where_a_connection_is_made(world: World) -> None:
    db = world.database(pool_size=1)

    def take(strike: Strike) -> None:
        db.engine.dispose()
        with db.session() as session, strike:
            session.connection()

    steps = 0
    for strike in strikes(take):
        check_one_connection(db, strike)
        steps += 1

    assert steps > few(300)
    gc.collect()
    drive(check_nothing_left(world, db))


@on_threads
def test_the_end_of_a_scope_is_an_end_wherever_it_is_interrupted(world: World) -> None:
    db = world.database(pool_size=1)
    sessions: list[Session] = []

    def commit(strike: Strike) -> None:
        with db.session() as session:
            sessions.append(session)
            session.add(User(username=f"user {len(sessions)}"))
            session.flush()
            strike.__enter__()

    committed = []
    for strike in strikes(commit, ending.end.__code__):
        check_one_connection(db, strike)
        assert sessions[-1].outcome is not None, strike.where
        assert sessions[-1].outcome is not Outcome.UNKNOWN, strike.where
        if sessions[-1].outcome is Outcome.COMMITTED:
            committed.append(f"user {len(sessions)}")

    assert len(sessions) > few(100)
    assert few(1) <= len(committed) < len(sessions) - few(1)
    assert world.usernames() == sorted([*committed, f"user {len(sessions)}"])
    gc.collect()
    drive(check_nothing_left(world, db))


@on_threads
def test_an_attempt_that_is_interrupted_while_it_opens_is_joined_by_nobody(world: World) -> None:
    db = world.database(pool_size=1, retry=3)

    def open_one(strike: Strike) -> None:
        for attempt in db.attempts():
            with strike, attempt:
                pass

    steps = 0
    for strike in strikes(open_one, Run.opened.__code__):
        assert left(db) == [], strike.where
        with db.session() as session:
            pass
        assert session.outcome is Outcome.COMMITTED, strike.where
        steps += 1

    assert steps > 2


# ---------------------------------------------------------------- in line


def nobody() -> str:
    return "nobody"


def never() -> Callable[[], bool]:
    raise AssertionError("there is room")


class Line:
    """A gate of one place, which somebody else has: who stands in line there is interrupted."""

    def __init__(self) -> None:
        self.gate = Gate("doors", 1, None)
        held = self.gate.enter("holder", nobody, 0.0, never)
        assert isinstance(held, Ticket)
        self.held = held
        self.admission = Admission(self.gate, 0.0, asynchronous=False, reads_beside=False)

    def is_as_before(self, where: str | None) -> None:
        if self.gate.waiting or self.gate.lent > 1:
            gc.collect()
        assert self.gate.waiting == 0, where
        assert self.gate.holders() in ((), (self.held,)), where


@pytest.mark.parametrize("comes", [True, False], ids=["admitted", "too late"])
def test_no_place_is_lost_on_somebody_who_was_interrupted_in_line(
    monkeypatch: pytest.MonkeyPatch, comes: bool
) -> None:
    line = Line()
    wait = ThreadWaker.wait

    def wait_until_it_comes(self: ThreadWaker, seconds: float) -> None:
        if comes:
            line.gate.leave(line.held, 0.0)
        wait(self, seconds)

    monkeypatch.setattr(ThreadWaker, "wait", wait_until_it_comes)

    def stand_in_line(strike: Strike) -> None:
        nonlocal line
        line = Line()
        with contextlib.suppress(PoolTimeout), strike:
            line.admission.enter()

    steps = 0
    for strike in strikes(stand_in_line):
        line.is_as_before(strike.where)
        steps += 1

    assert steps > few(40)
