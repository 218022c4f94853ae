"""A task of any worker is one unit of work, and its outcome says what becomes of it."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from typing import Any

import pytest
from sqlalchemy import make_url
from sqlalchemy.orm.exc import StaleDataError

from hermetic import (
    CommitUnknown,
    ConfigurationError,
    Database,
    DeadlineExceeded,
    InvalidOption,
    NoScope,
    Outcome,
    PoolSelfDeadlock,
    PoolTimeout,
    RetryRequested,
    RolledBack,
    ScopeRefused,
    UniqueViolation,
)
from hermetic.integrations.tasks import Sessions, TaskUnit, retried
from hermetic.integrations.verdicts import Verdict, verdict_of
from hermetic.outbox import Inbox
from tests.behaviour.aftermath import lent, on
from tests.models import User
from tests.proxy import Proxy
from tests.worlds import World, drive

on_both = on(lambda backend: backend.family == "sqlite")
in_threads = on(lambda backend: backend.name == "sqlite")
in_asyncio = on(lambda backend: backend.name == "aiosqlite")
on_servers = on(lambda backend: backend.name in ("psycopg", "pymysql", "asyncpg"))


class Telling(Sessions):
    """Tells what its worker would be told."""

    def __init__(self, database: Database, **options: Any) -> None:
        super().__init__(database, **options)
        self.told: list[Verdict] = []
        self.delivered: str | None = None

    def token(self, *args: Any) -> str | None:
        return self.delivered

    def settle(self, unit: TaskUnit, error: BaseException) -> BaseException:
        self.told.append(unit.verdict(error))
        return error


def tasks(world: World, options: dict[str, Any] | None = None, **given: Any) -> Telling:
    return Telling(world.database(**(options or {})), **given)


async def call(world: World, sessions: Sessions, body: Any, *args: Any, **scope: Any) -> Any:
    """Run ``body(session, *args)`` as a task of the world's."""
    db, marks = sessions.database, dict(vars(body))
    if world.is_async:

        async def in_loop() -> Any:
            return await body(db.current, *args)

        vars(in_loop).update(marks)
        return await sessions.task(**scope)(in_loop)()

    def in_thread() -> Any:
        return drive(body(world.face(db.current), *args))

    vars(in_thread).update(marks)
    return sessions.task(**scope)(in_thread)()


@on_both
async def test_a_task_is_one_scope_for_all_that_it_calls(world: World) -> None:
    sessions = tasks(world, name="jobs")

    async def body(session: Any) -> str:
        session.add(User(username="ann"))
        async with world.session(sessions.database) as joined:
            joined.add(User(username="bob"))
        assert world.usernames() == []
        assert sessions.unit.outcome is None
        name: str = sessions.unit.name
        return name

    assert await call(world, sessions, body) == "call.<locals>." + (
        "in_loop" if world.is_async else "in_thread"
    )
    assert world.usernames() == ["ann", "bob"]
    assert lent(sessions.database) == []
    with pytest.raises(NoScope):
        _ = sessions.unit


@on_both
async def test_an_error_rolls_it_back(world: World) -> None:
    sessions = tasks(world)

    async def body(session: Any) -> None:
        session.add(User(username="ann"))
        await session.flush()
        raise LookupError

    with pytest.raises(LookupError):
        await call(world, sessions, body)
    assert sessions.told == [Verdict.OWN]
    assert world.usernames() == []


@on_both
async def test_one_that_is_safe_is_run_again_at_once(world: World) -> None:
    sessions = tasks(world)
    runs: list[int] = []

    @retried(3)
    async def body(session: Any, enough: int) -> None:
        runs.append(1)
        session.add(User(username="ann"))
        await session.flush()
        if len(runs) < enough:
            raise RetryRequested

    await call(world, sessions, body, 3)
    assert (len(runs), world.usernames()) == (3, ["ann"])
    with pytest.raises(UniqueViolation):
        await call(world, sessions, body, 0)
    assert (len(runs), sessions.told) == (4, [Verdict.NEVER])


@pytest.mark.parametrize("side", ["before", "after"])
@on_servers
async def test_an_unknown_outcome_is_told_and_never_run_again(world: World, side: str) -> None:
    with Proxy(world.url) as proxy:
        world.url = proxy.url
        sessions = tasks(world)
        runs: list[int] = []

        @retried(3)
        async def body(session: Any) -> None:
            runs.append(1)
            session.add(User(username="ann"))

        async with world.session(sessions.database) as session:
            await session.scalar("SELECT 1")  # what connecting sends is not cut
        getattr(proxy, f"cut_{side}")()
        with pytest.raises(CommitUnknown):
            await call(world, sessions, body)
        assert (len(runs), sessions.told) == (1, [Verdict.NEVER])
        await (sessions.database.aclose() if world.is_async else _nothing(sessions.database))


async def _nothing(db: Database) -> None:
    db.close()


@on_servers
async def test_a_token_makes_it_once(world: World) -> None:
    with Proxy(world.url) as proxy:
        world.url = proxy.url
        db = world.database()
        inbox = Inbox(db)
        await (inbox.acreate() if world.is_async else _made(inbox))
        sessions = Telling(db, once=inbox)
        runs: list[int] = []

        async def body(session: Any, fail: bool = False) -> None:
            runs.append(1)
            session.add(User(username=f"u{len(runs)}"))
            if fail:
                raise LookupError

        sessions.delivered = "one"
        with pytest.raises(LookupError):
            await call(world, sessions, body, True)
        proxy.cut_after()
        with pytest.raises(CommitUnknown):
            await call(world, sessions, body)
        # it is asked about by delivering it again
        assert sessions.told[-1] is Verdict.AGAIN
        assert await call(world, sessions, body) is None
        assert (len(runs), world.usernames()) == (2, ["u2"])
        sessions.delivered = "two"
        await call(world, sessions, body)
        assert world.usernames() == ["u2", "u3"]
        await (db.aclose() if world.is_async else _nothing(db))


async def _made(inbox: Inbox) -> None:
    inbox.create()


@on_both
async def test_what_is_sent_after_the_commit(world: World) -> None:
    sessions = tasks(world)
    sent: list[Any] = []

    async def later(name: str) -> None:
        sent.append(name)

    async def body(session: Any, fail: bool) -> None:
        sessions.after_commit(sent.append, 1)
        if world.is_async:
            sessions.after_commit(later, name="two")
        assert sent == []
        if fail:
            raise LookupError

    with pytest.raises(LookupError):
        await call(world, sessions, body, True)
    assert sent == []
    await call(world, sessions, body, False)
    assert sent == ([1, "two"] if world.is_async else [1])
    sessions.after_commit(sent.append, 3)
    assert sent[-1] == 3
    with pytest.raises(NoScope):
        sessions.after_commit(later, "four")


@in_threads
def test_a_task_that_opens_its_session_itself(world: World) -> None:
    sessions = tasks(world, opens=False)
    db = sessions.database

    @sessions.task
    def opening() -> Any:
        with pytest.raises(NoScope, match="not open yet"):
            sessions.after_commit(print)
        session = sessions.session(isolation="SERIALIZABLE")
        assert session is sessions.session() is db.current
        session.add(User(username="ann"))
        with pytest.raises(ScopeRefused, match="asyncio was asked for"):
            asyncio.run(sessions.asession())
        return inner()

    @sessions.task
    def inner() -> Any:
        # a task that is called by another is part of it
        sessions.session().add(User(username="bob"))
        return sessions.unit

    unit = opening()
    assert unit.outcome is Outcome.COMMITTED
    assert world.usernames() == ["ann", "bob"]


@in_asyncio
async def test_a_cancelled_task_is_rolled_back(world: World) -> None:
    sessions = tasks(world)
    begun = asyncio.Event()

    @sessions.task
    async def waiting() -> None:
        session = await sessions.asession()
        session.add(User(username="ann"))
        await session.flush()
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(waiting())
    await asyncio.wait_for(begun.wait(), 15)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.usernames() == []
    assert lent(sessions.database) == []


@in_asyncio
async def test_a_task_that_is_started_by_another_has_its_own_unit(world: World) -> None:
    sessions = tasks(world)

    @sessions.task
    async def reading() -> TaskUnit:
        return sessions.unit

    @sessions.task
    async def starting() -> tuple[TaskUnit, ...]:
        started = await asyncio.create_task(reading())
        return sessions.unit, await reading(), started

    own, called, started = await starting()
    assert own is called
    assert started is not own


class Struck(BaseException):
    pass


@in_threads
def test_what_a_worker_throws_after_the_commit_changes_nothing(world: World) -> None:
    class Throwing(Telling):
        strikes = (Struck,)

    def strike() -> None:
        raise Struck

    sessions = Throwing(world.db)

    @sessions.task
    def adding(name: str, strikes_inside: bool) -> str:
        db = sessions.database
        db.current.add(User(username=name))
        if strikes_inside:
            strike()
        db.current.on_commit(strike)
        return name

    with pytest.raises(Struck):
        adding("ann", True)
    assert adding("bob", False) == "bob"
    assert world.usernames() == ["bob"]


@in_threads
def test_an_end_that_is_struck_itself_is_made_up_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = tasks(world)

    @sessions.task
    def adding() -> None:
        sessions.session().add(User(username="ann"))

        def struck(scope: Any, error: Any) -> None:
            monkeypatch.undo()
            raise Struck

        monkeypatch.setattr(sessions.unit.work, "_end_here", struck)

    with pytest.raises(Struck):
        adding()
    assert lent(sessions.database) == []
    assert world.usernames() == []
    with pytest.raises(NoScope):
        _ = sessions.database.current


@in_threads
def test_threads_have_units_of_their_own(world: World) -> None:
    sessions = tasks(world)
    units: list[TaskUnit] = []

    @sessions.task
    def noting() -> None:
        units.append(sessions.unit)

    threads = [threading.Thread(target=noting) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(unit) for unit in units}) == 2


@in_threads
def test_wrong_options_are_refused(world: World) -> None:
    db = world.db
    other = Database("sqlite://")
    for wrong in ({"retry": "often"}, {"once": True}, {"opens": 1}, {"colour": 1}):
        with pytest.raises(InvalidOption):
            Sessions(db, **wrong)
    with pytest.raises(InvalidOption, match="another Database"):
        Sessions(db, once=Inbox(other))
    with pytest.raises(InvalidOption):
        Sessions(db).task(colour=1)
    with pytest.raises(ConfigurationError):

        @Sessions(db).task
        def rows() -> Any:
            yield 1

    other.close()


def test_verdicts() -> None:
    lost = CommitUnknown("lost")
    late = DeadlineExceeded("late", timeout=1.0)
    full = PoolTimeout("full", pool="main", limit=1)
    swallowed = RolledBack("swallowed")
    swallowed.__cause__ = UniqueViolation("taken")
    no, unknown, yes = Outcome.NOT_COMMITTED, Outcome.UNKNOWN, Outcome.COMMITTED
    cases = [
        (lost, unknown, Verdict.NEVER),
        (LookupError(), unknown, Verdict.NEVER),
        (LookupError(), yes, Verdict.NEVER),
        (lost, no, Verdict.NEVER),
        (UniqueViolation("taken"), no, Verdict.NEVER),
        (swallowed, no, Verdict.NEVER),
        (StaleDataError("stale"), no, Verdict.AGAIN),
        (full, no, Verdict.AGAIN),
        (late, no, Verdict.OWN),
        (LookupError(), None, Verdict.OWN),
    ]
    assert [verdict_of(error, outcome) for error, outcome, _ in cases] == [
        verdict for *_, verdict in cases
    ]
    assert verdict_of(lost, unknown, once=True) is Verdict.AGAIN
    # of a scope that the token is not of
    assert verdict_of(lost, no, once=True) is Verdict.NEVER


@on(lambda backend: backend.name in ("psycopg", "psycopg_async"))
async def test_a_token_is_noted_with_one_more_request(world: World) -> None:
    with Proxy(world.url) as proxy:
        world.url = proxy.url
        db = world.database()
        inbox = Inbox(db)
        await (inbox.acreate() if world.is_async else _made(inbox))
        asked: list[list[bytes]] = []
        for sessions in (Telling(db), Telling(db, once=inbox)):

            async def body(session: Any, name: str) -> None:
                session.add(User(username=name))

            for number in range(8):
                sessions.delivered = name = f"{len(asked)}-{number}"
                proxy.forget()
                await call(world, sessions, body, name)
            asked.append(proxy.requests)
        plain, once = asked
        # BEGIN travels with it
        assert len(once) == len(plain) + 1
        assert once[0].startswith(b"BEGIN")
        # and what was done already is told by it alone
        proxy.forget()
        await call(world, sessions, body, "again")
        assert proxy.requests[1] == b"ROLLBACK"
        await (db.aclose() if world.is_async else _nothing(db))


@in_threads
def test_a_task_of_asyncio_that_would_wait_for_its_caller_is_refused(world: World) -> None:
    sessions = Sessions(world.db)

    @sessions.task
    async def inner() -> None:
        world.db.current.add(User(username="inner"))

    @sessions.task
    def outer() -> None:
        world.db.current.add(User(username="outer"))
        world.db.current.flush()
        asyncio.run(inner())

    with pytest.raises(PoolSelfDeadlock, match="waits for the loop") as refused:
        outer()
    said = str(refused.value)
    assert "outer" in said
    assert "inner" in said
    assert world.usernames() == []
    assert lent(world.db) == []


@pytest.mark.timing
@on_both
async def test_a_token_waits_for_whoever_else_writes(world: World) -> None:
    inbox = Inbox(world.db)
    inbox.create()
    sessions = Telling(world.db, once=inbox)

    async def body(session: Any, name: str) -> None:
        session.add(User(username=name))

    for sessions.delivered in ("first", "second"):
        await call(world, sessions, body, sessions.delivered)
    path = make_url(world.url).database
    other = sqlite3.connect(str(path), isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.2, other.execute, ("COMMIT",))
    release.start()
    sessions.delivered = "late"
    await call(world, sessions, body, "late")
    release.join()
    other.close()
    assert world.usernames() == ["first", "late", "second"]
    assert world.seen("SELECT count(*) FROM hermetic_inbox") == [(3,)]
