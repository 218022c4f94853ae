"""What is used in a way it does not allow says so, and says what to do instead."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hermetic import (
    Database,
    DatabaseClosed,
    HermeticError,
    NoScope,
    ScopeControls,
    ScopeEnded,
    Session,
    StaleInstance,
)
from tests.models import Base, User


@pytest.fixture
def db() -> Iterator[Database]:
    with Database("sqlite://") as database:
        yield database


def run_on(session: Session) -> None:
    pytest.fail("run")


# ---------------------------------------------------------------- a Database that is closed


def test_a_closed_database_takes_no_new_scope(db: Database) -> None:
    db.close()

    with (
        pytest.raises(DatabaseClosed, match="is closed and takes no new scopes") as caught,
        db.session(),
    ):
        pytest.fail("entered")
    assert caught.value.hint == "Make a new Database."

    with pytest.raises(DatabaseClosed):
        db.session()(run_on)()
    (attempt,) = itertools.islice(db.attempts(), 1)
    with pytest.raises(DatabaseClosed), attempt:
        pytest.fail("entered")
    with pytest.raises(DatabaseClosed):
        _ = db.engine


async def test_a_closed_database_takes_no_new_scope_under_asyncio() -> None:
    db = Database("sqlite://")
    await db.aclose()

    with pytest.raises(DatabaseClosed):
        async with db.session():
            pytest.fail("entered")
    with pytest.raises(DatabaseClosed):
        _ = db.async_engine


def test_closing_twice_is_no_error(db: Database) -> None:
    db.close()
    db.close()

    assert "closed" in repr(db)


def test_what_a_closed_database_knows_can_still_be_asked(db: Database) -> None:
    db.close()

    assert db.snapshot().scopes == ()
    assert db.explain()
    with pytest.raises(NoScope):
        _ = db.current


async def test_a_database_in_use_by_a_loop_is_not_closed_from_outside(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/a.db")
    async with db.session() as session:
        await session.execute("SELECT 1")

    with pytest.raises(HermeticError, match="running event loop") as caught:
        db.close()

    assert "await db.aclose()" in caught.value.hint
    await db.aclose()


# ---------------------------------------------------------------- outside a scope


def test_the_current_session_is_refused_where_none_is_open(db: Database) -> None:
    with pytest.raises(NoScope, match="is open here") as caught:
        _ = db.current

    assert "db.session()" in caught.value.hint


def test_the_current_session_of_another_database_is_not_this_ones(db: Database) -> None:
    with Database("sqlite://") as other, other.session(), pytest.raises(NoScope):
        _ = db.current


SCOPE_ONLY: list[Callable[[Session], object]] = [
    lambda session: session.rollback_only(),
    lambda session: session.on_commit(print),
    lambda session: session.on_rollback(print),
    lambda session: session.before_commit(print),
    lambda session: session.lend(),
]


@pytest.mark.parametrize("use", SCOPE_ONLY)
def test_what_belongs_to_scopes_is_refused_on_a_session_without_one(
    use: Callable[[Session], object],
) -> None:
    session = Session()

    with pytest.raises(NoScope, match="belongs to scopes") as caught:
        use(session)

    assert "db.session()" in caught.value.hint


def test_a_session_is_refused_after_its_scope(db: Database) -> None:
    Base.metadata.create_all(db.engine)
    with db.session(name="earlier") as session:
        session.add(User(username="ann"))
    uses: list[Callable[[], object]] = [
        lambda: session.execute("SELECT 1"),
        lambda: session.scalars("SELECT 1"),
        lambda: session.get(User, 1),
        lambda: session.add(User(username="bob")),
        lambda: session.delete(User()),
        lambda: session.merge(User(username="bob")),
        session.expire_all,
        session.connection,
        session.begin_nested,
        lambda: session.on_commit(print),
        session.rollback_only,
        session.lend,
    ]

    for use in uses:
        with pytest.raises(ScopeEnded, match=r"has ended \(committed\).*scope 'earlier'") as caught:
            use()
        assert caught.value.scope is not None
        assert caught.value.scope.opened_at.partition(":")[0] == __file__


def test_a_session_is_refused_after_its_scope_even_when_there_is_nothing_to_flush(
    db: Database,
) -> None:
    with db.session() as session:
        pass

    with pytest.raises(ScopeEnded):
        session.flush()


@pytest.mark.parametrize("control", ["commit", "rollback", "close", "begin", "reset", "invalidate"])
def test_the_end_of_a_scope_is_left_to_the_scope(db: Database, control: str) -> None:
    with db.session() as session:
        session.execute("SELECT 1")

        with pytest.raises(ScopeControls, match=rf"{control}\(\) was called") as caught:
            getattr(session, control)()
        assert caught.value.hint

    assert session.outcome is not None
    assert session.outcome.name == "COMMITTED"


def test_a_plain_scope_has_nothing_to_roll_back(db: Database) -> None:
    with db.session(propagation="supports") as session:
        with pytest.raises(ScopeControls, match="no transaction"):
            session.rollback_only()
        with db.session(propagation="supports") as joined, pytest.raises(ScopeControls):
            joined.rollback_only()


# ---------------------------------------------------------------- statements


def test_a_string_may_be_sent_with_and_without_parameters(db: Database) -> None:
    with db.session() as session:
        assert session.scalar("SELECT 1") == 1
        assert session.scalar("SELECT :x + 1", {"x": 2}) == 3


@pytest.mark.parametrize("statement", [None, 5, b"SELECT 1", {}], ids=repr)
def test_what_is_no_statement_is_refused_and_the_scope_goes_on(
    db: Database, statement: Any
) -> None:
    with db.session() as session:
        with pytest.raises(Exception, match=r"(?i)executable|statement"):
            session.execute(statement)

        assert session.scalar("SELECT 1") == 1


@pytest.mark.parametrize("statement", ["", "   ", "-- a comment alone"])
def test_a_string_without_a_statement_leaves_the_scope_alive(db: Database, statement: str) -> None:
    with db.session() as session:
        session.execute(statement)

        assert session.scalar("SELECT 1") == 1


def test_a_missing_parameter_is_an_error_that_the_scope_survives(db: Database) -> None:
    with db.session() as session:
        with pytest.raises(Exception, match=r"(?i)value is required for bind parameter 'x'"):
            session.execute("SELECT :x")

        assert session.scalar("SELECT 1") == 1


# ---------------------------------------------------------------- hooks


@pytest.mark.parametrize("adds", ["on_commit", "on_rollback", "before_commit"])
@pytest.mark.parametrize("hook", [None, "send", 5], ids=repr)
def test_a_hook_that_cannot_be_called_is_refused(db: Database, adds: str, hook: object) -> None:
    with db.session() as session, pytest.raises(TypeError, match="must be callable"):
        getattr(session, adds)(hook)


@pytest.mark.parametrize("adds", ["on_commit", "on_rollback", "before_commit"])
def test_a_coroutine_function_is_no_hook_of_a_threads_scope(db: Database, adds: str) -> None:
    async def send() -> None: ...

    for hook in (send, functools.partial(send)):
        with db.session() as session, pytest.raises(ScopeControls, match="coroutine") as caught:
            getattr(session, adds)(hook)
        assert "async with" in caught.value.hint


# ---------------------------------------------------------------- retry where it cannot be


def test_a_block_with_retry_says_what_to_write_instead(db: Database) -> None:
    with pytest.raises(ScopeControls, match="cannot be run again") as caught, db.session(retry=3):
        pytest.fail("entered")

    assert "db.attempts(" in caught.value.hint


async def test_an_async_block_with_retry_says_what_to_write_instead(db: Database) -> None:
    with pytest.raises(ScopeControls, match="cannot be run again"):
        async with db.session(retry=3):
            pytest.fail("entered")


def test_a_loop_of_attempts_is_gone_through_once(db: Database) -> None:
    loop = db.attempts()
    for attempt in loop:
        with attempt:
            pass

    with pytest.raises(ScopeControls, match="gone through already"):
        next(iter(loop))


def test_an_attempt_has_to_be_entered(db: Database) -> None:
    with pytest.raises(ScopeControls, match="not entered") as caught:
        for _ in db.attempts():
            pass

    assert "with attempt as session" in caught.value.hint


def test_an_attempt_is_entered_once(db: Database) -> None:
    for attempt in db.attempts():
        with attempt:
            pass
        with pytest.raises(ScopeControls), attempt:
            pytest.fail("entered")


def test_a_loaded_object_is_no_argument_of_a_unit_that_may_run_again(db: Database) -> None:
    Base.metadata.create_all(db.engine)
    with db.session() as session:
        ann = User(username="ann")
        session.add(ann)

    def fail(session: Session, *users: object, **more: object) -> None:
        pytest.fail("run")

    rename: Any = db.session(retry=3)(fail)
    given: list[tuple[tuple[object, ...], dict[str, object]]] = [
        ((ann,), {}),
        (([ann],), {}),
        (({"ann": ann},), {}),
        ((), {"user": ann}),
    ]

    for args, kwargs in given:
        with pytest.raises(StaleInstance, match="A User of another session") as caught:
            rename(*args, **kwargs)
        assert "primary key" in caught.value.hint
