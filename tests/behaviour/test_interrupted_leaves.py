"""A block that is interrupted while it is left ends all the same, and the next one is its own."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from types import FunctionType, NoneType
from typing import Any

import pytest

from hermetic import Database, Outcome, RolledBack, Session
from hermetic.attempt import Attempt
from hermetic.block import Block
from hermetic.current import current_scope
from tests.behaviour.aftermath import check_nothing_left, lent, on, on_asyncio
from tests.behaviour.striking import Strike
from tests.models import User
from tests.worlds import World, drive

on_sqlite_in_threads = on(lambda backend: backend.name == "sqlite")

pytestmark = pytest.mark.slow

# where Python itself calls them nothing of ours runs yet (docs/limits.md); compiled ones have no
# such step
BESIDE = frozenset(
    function.__code__
    for function in (Block.__exit__, Attempt.__exit__)
    if isinstance(function, FunctionType)
)

Leave = Callable[[Database, str, Strike], object]


@pytest.fixture(autouse=True)
def unheard(monkeypatch: pytest.MonkeyPatch) -> None:
    """What strikes in a callback of the collector is swallowed; pytest would keep its frames."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)


def block(db: Database, name: str, strike: Strike) -> None:
    with db.session() as session:
        session.add(User(username=name))
        session.flush()
        strike.__enter__()
    strike.__exit__()


def pending(db: Database, name: str, strike: Strike) -> None:
    with db.session() as session:
        session.execute("SELECT 1")
        session.add(User(username=name))
        strike.__enter__()
    strike.__exit__()


def failing(db: Database, name: str, strike: Strike) -> None:
    with db.session() as session:
        session.add(User(username=name))
        session.flush()
        strike.__enter__()
        raise LookupError(name)


def empty(db: Database, name: str, strike: Strike) -> None:
    with db.session():
        strike.__enter__()
    strike.__exit__()


def decorated(db: Database, name: str, strike: Strike) -> None:
    @db.session()
    def work(session: Session) -> None:
        session.add(User(username=name))
        session.flush()
        strike.__enter__()

    work()
    strike.__exit__()


def attempts(db: Database, name: str, strike: Strike) -> None:
    for attempt in db.attempts(retry=2):
        with attempt as session:
            session.add(User(username=name))
            session.flush()
            strike.__enter__()
        strike.__exit__()


def struck(db: Database, leave: Leave) -> Iterator[tuple[Strike, str, type[Any]]]:
    """Leave again and again, interrupted at each step.

    The error is kept meanwhile, as a console does, and with it all that its frames have.
    """
    step = 0
    while True:
        step += 1
        strike = Strike(step, beside=BESIDE)
        name = f"user {step}"
        kept: BaseException | None = None
        try:
            leave(db, name, strike)
        except (KeyboardInterrupt, LookupError, RolledBack) as error:
            kept = error
        finally:
            sys.setprofile(None)
        yield strike, name, type(kept)
        if strike.where is None:
            return


def check_next(db: Database, name: str, strike: Strike) -> None:
    """The next scope is nobody's part, and commits; nothing is open or lent besides."""
    with db.session() as session:
        assert session.scope is not None
        assert session.scope.root is session.scope, strike.where
        assert session.scope.parent is None, strike.where
        assert len(db.snapshot().scopes) == 1, strike.where
        session.add(User(username=f"after {name}"))
    assert session.outcome is Outcome.COMMITTED, strike.where
    assert current_scope.get() is None, strike.where
    if lent(db):
        gc.collect()
    assert lent(db) == [], strike.where


# ---------------------------------------------------------------- a scope inside another


def joined(db: Database, name: str, strike: Strike) -> None:
    with db.session() as session:
        session.add(User(username=f"outer of {name}"))
        with db.session():
            session.add(User(username=name))
            session.flush()
            strike.__enter__()
        strike.__exit__()


def nested(db: Database, name: str, strike: Strike) -> None:
    with db.session() as session:
        session.add(User(username=f"outer of {name}"))
        with db.session(propagation="nested"):
            session.add(User(username=name))
            session.flush()
            strike.__enter__()
        strike.__exit__()


def nested_pending(db: Database, name: str, strike: Strike) -> None:
    with db.session() as session:
        session.add(User(username=f"outer of {name}"))
        with db.session(propagation="nested"):
            session.execute("SELECT 1")
            session.add(User(username=name))
            strike.__enter__()
        strike.__exit__()


def forgiving(leave: Leave) -> Leave:
    """The outer scope goes on, as if nothing had happened."""

    def work(db: Database, name: str, strike: Strike) -> None:
        with db.session() as session:
            try:
                leave(db, name, strike)
            except KeyboardInterrupt:
                strike.__exit__()
                assert current_scope.get() is session.scope, strike.where

    return work


@on_sqlite_in_threads
@pytest.mark.parametrize("inner", [joined, nested, nested_pending])
@pytest.mark.parametrize("forgiven", [False, True], ids=["passed on", "caught"])
def test_a_scope_inside_another_never_commits_what_an_interrupt_struck(
    world: World, inner: Leave, forgiven: bool
) -> None:
    db = world.database(pool_size=1)
    there: list[str] = []

    leave = forgiving(inner) if forgiven else inner
    for strike, name, raised in struck(db, leave):
        through = raised is NoneType  # nobody hears of what strikes in a callback of the collector
        if not through:
            assert raised is (RolledBack if forgiven else KeyboardInterrupt), strike.where
        check_next(db, name, strike)
        there.append(f"after {name}")
        if through:
            there += [name, f"outer of {name}"]

    assert world.usernames() == sorted(there)
    gc.collect()
    drive(check_nothing_left(world, db))


# ---------------------------------------------------------------- scopes of their own


def check_leaves(world: World, leave: Leave) -> None:
    db = world.database(pool_size=1)
    there: list[str] = []

    for strike, name, _ in struck(db, leave):
        check_next(db, name, strike)
        there.append(f"after {name}")
        if world.seen("SELECT 1 FROM users WHERE username = :name", name=name):
            there.append(name)

    assert world.usernames() == sorted(there)
    gc.collect()
    drive(check_nothing_left(world, db))


@on_sqlite_in_threads
@pytest.mark.parametrize("leave", [block, pending, failing, empty, decorated, attempts])
def test_a_block_interrupted_while_it_is_left_has_ended(world: World, leave: Leave) -> None:
    check_leaves(world, leave)


@on(lambda backend: backend.name == "psycopg")
@pytest.mark.parametrize("leave", [block, failing])
def test_a_block_on_a_server_interrupted_while_it_is_left_has_ended(
    world: World, leave: Leave
) -> None:
    check_leaves(world, leave)


# ---------------------------------------------------------------- asyncio


@on_asyncio
async def test_a_block_whose_leave_was_never_awaited_ends_before_the_next(world: World) -> None:
    db = world.database(pool_size=1)
    for number, commits in enumerate((True, False)):
        unit = db.session()
        session = await unit.__aenter__()
        session.add(User(username="never"))
        await session.flush()
        error = None if commits else LookupError()
        # where Python looks for an interrupt between the call and the wait
        unit.__aexit__(None if error is None else LookupError, error, None).close()

        async with db.session() as following:
            scope = following.sync_session.scope
            assert scope is not None
            assert scope.root is scope
            assert session.outcome is Outcome.NOT_COMMITTED
            following.add(User(username=f"after {number}"))
        assert following.outcome is Outcome.COMMITTED
        assert current_scope.get() is None
        assert lent(db) == []

    assert world.usernames() == ["after 0", "after 1"]
