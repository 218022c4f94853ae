"""COMMITTED, NOT_COMMITTED, UNKNOWN: never a fourth, never a guess."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, insert, select

from hermetic import (
    CommitUnknown,
    ConnectionLost,
    Event,
    ForeignKeyViolation,
    LockTimeout,
    Outcome,
    RolledBack,
    ScopeFinished,
    SerializationConflict,
)
from tests.behaviour.aftermath import (
    check_nothing_left,
    kill,
    on,
    on_postgresql,
    on_servers,
    on_sqlite,
)
from tests.models import User
from tests.proxy import Proxy, Trap
from tests.worlds import World

CUTS = pytest.mark.parametrize("arrives", [True, False], ids=["cut_after", "cut_before"])


def cut(proxy: Proxy, *, arrives: bool) -> Trap:
    return proxy.cut_after() if arrives else proxy.cut_before()


# ---------------------------------------------------------------- COMMIT refused


@on_postgresql
async def test_a_conflict_told_at_commit_is_not_committed(world: World) -> None:
    async def count(session: Any) -> None:
        await session.scalar(select(func.count()).select_from(User))

    with pytest.raises(SerializationConflict) as caught:
        async with world.session(isolation="SERIALIZABLE") as first:
            await count(first)
            async with world.session(
                isolation="SERIALIZABLE", propagation="requires_new"
            ) as second:
                await count(second)
                second.add(User(username="second"))
                first.add(User(username="first"))
                await first.flush()

    assert second.outcome is Outcome.COMMITTED
    assert first.outcome is caught.value.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == ["second"]
    await check_nothing_left(world)


@on(lambda backend: backend.family != "mariadb")
async def test_a_constraint_checked_at_commit_is_not_committed(world: World) -> None:
    world.do(
        "CREATE TABLE late (id INTEGER PRIMARY KEY,"
        " user_id INTEGER REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED)"
    )

    with pytest.raises(ForeignKeyViolation) as caught:
        async with world.session() as session:
            session.add(User(username="ann"))
            await session.execute("INSERT INTO late VALUES (1, 99)")

    assert session.outcome is caught.value.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    assert world.seen("SELECT * FROM late") == []
    # SQLite keeps the transaction open after such a COMMIT.
    await check_nothing_left(world)


@on_sqlite
async def test_a_commit_that_found_the_file_locked_is_not_committed(world: World) -> None:
    db = world.database(journal_mode="delete", lock_timeout=0.05)
    async with world.session(db) as session:
        session.add(User(username="ann"))

    with world.observer.connect() as reader:
        reader.exec_driver_sql("BEGIN")
        reader.exec_driver_sql("SELECT * FROM users").fetchall()
        with pytest.raises(LockTimeout) as caught:
            async with world.session(db) as session:
                session.add(User(username="bob"))
        reader.exec_driver_sql("ROLLBACK")

    assert session.outcome is caught.value.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == ["ann"]
    await check_nothing_left(world, db)


# ---------------------------------------------------------------- COMMIT without an answer


@on_servers
@CUTS
async def test_a_commit_without_an_answer_is_unknown(
    world: World, proxy: Proxy, arrives: bool
) -> None:
    with pytest.raises(CommitUnknown) as caught:
        async with world.session() as session:
            session.add(User(username="ann"))
            await session.flush()
            trap = cut(proxy, arrives=arrives)

    assert trap.reached.is_set()
    assert caught.value.outcome is session.outcome is Outcome.UNKNOWN
    assert isinstance(caught.value.__cause__, ConnectionLost)
    assert caught.value.__cause__.outcome is Outcome.UNKNOWN
    assert caught.value.scope is not None
    assert world.usernames() == (["ann"] if arrives else [])
    await check_nothing_left(world)


@on_servers
@CUTS
async def test_a_unit_of_unknown_outcome_is_not_run_again(
    world: World, proxy: Proxy, arrives: bool
) -> None:
    bodies = 0

    @world.unit(retry=5)
    async def add(session: Any) -> None:
        nonlocal bodies
        bodies += 1
        session.add(User(username=f"ann {bodies}"))
        await session.flush()
        cut(proxy, arrives=arrives)

    with pytest.raises(CommitUnknown):
        await add()

    assert bodies == 1
    assert world.db.snapshot().counters["retries"] == 0
    assert world.usernames() == (["ann 1"] if arrives else [])
    await check_nothing_left(world)


@on_servers
@CUTS
async def test_a_block_of_unknown_outcome_leaves_the_loop_of_attempts(
    world: World, proxy: Proxy, arrives: bool
) -> None:
    bodies = 0

    with pytest.raises(CommitUnknown):
        async for attempt in world.attempts(retry=5):
            async with attempt as session:
                bodies += 1
                session.add(User(username="ann"))
                await session.flush()
                cut(proxy, arrives=arrives)

    assert bodies == 1
    await check_nothing_left(world)


@on_servers
async def test_a_predicate_cannot_make_an_unknown_outcome_run_again(
    world: World, proxy: Proxy
) -> None:
    from hermetic import Retry

    asked: list[BaseException] = []

    def always(error: BaseException) -> bool:
        asked.append(error)
        return True

    with pytest.raises(CommitUnknown):
        async for attempt in world.attempts(retry=Retry(when=always)):
            async with attempt as session:
                session.add(User(username="ann"))
                await session.flush()
                proxy.cut_after()

    assert asked == []
    assert world.usernames() == ["ann"]


@on_servers
async def test_no_hook_of_a_scope_of_unknown_outcome_runs(world: World, proxy: Proxy) -> None:
    ran: list[str] = []

    with pytest.raises(CommitUnknown):
        async with world.session() as session:
            session.on_commit(lambda: ran.append("commit"))
            session.on_rollback(lambda: ran.append("rollback"))
            session.add(User(username="ann"))
            await session.flush()
            proxy.cut_after()

    assert ran == []


@on_servers
async def test_an_unknown_outcome_is_counted_and_told(world: World, proxy: Proxy) -> None:
    events: list[Event] = []
    world.db.listen(events.append)

    with pytest.raises(CommitUnknown):
        async with world.session() as session:
            session.add(User(username="ann"))
            await session.flush()
            proxy.cut_after()

    (finished,) = [event for event in events if isinstance(event, ScopeFinished)]
    assert finished.outcome is Outcome.UNKNOWN
    assert finished.error == "CommitUnknown"
    counters = world.db.snapshot().counters
    assert (counters["unknown"], counters["committed"], counters["not_committed"]) == (1, 0, 0)
    assert counters["destroyed"] == 1


@on_servers
async def test_a_connection_killed_under_its_commit_is_unknown(world: World) -> None:
    """The server ends the connection before the COMMIT arrives, which the client cannot know."""
    ask = "pg_backend_pid()" if world.backend.family == "postgresql" else "connection_id()"

    with pytest.raises(CommitUnknown):
        async with world.session() as session:
            session.add(User(username="ann"))
            await session.flush()
            kill(world, await session.scalar(f"SELECT {ask}"))

    assert session.outcome is Outcome.UNKNOWN
    assert world.usernames() == []
    await check_nothing_left(world)


# ---------------------------------------------------------------- lost before COMMIT


@on_servers
async def test_a_connection_lost_before_commit_is_not_committed(world: World, proxy: Proxy) -> None:
    with pytest.raises(ConnectionLost) as caught:
        async with world.session() as session:
            session.add(User(username="ann"))
            await session.flush()
            proxy.cut_all()
            await session.execute(insert(User).values(username="bob"))

    fault = caught.value.fault
    assert fault is not None
    assert fault.retryable
    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    await check_nothing_left(world)


@on_servers
async def test_a_lost_connection_that_was_swallowed_commits_nothing(
    world: World, proxy: Proxy
) -> None:
    with pytest.raises(RolledBack) as caught:
        async with world.session() as session:
            session.add(User(username="ann"))
            await session.flush()
            proxy.cut_all()
            with pytest.raises(ConnectionLost) as lost:
                await session.execute("SELECT 1")
            with pytest.raises(RolledBack):
                await session.execute(insert(User).values(username="bob"))

    assert caught.value.__cause__ is lost.value
    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    await check_nothing_left(world)


@on_servers
async def test_a_unit_whose_connection_was_lost_before_commit_runs_again(
    world: World, proxy: Proxy
) -> None:
    bodies = 0

    @world.unit(retry=3)
    async def add(session: Any) -> None:
        nonlocal bodies
        bodies += 1
        session.add(User(username=f"ann {bodies}"))
        await session.flush()
        if bodies == 1:
            proxy.cut_all()
        await session.execute("SELECT 1")

    await add()

    assert bodies == 2
    assert world.usernames() == ["ann 2"]
    await check_nothing_left(world)


# ---------------------------------------------------------------- read-only


# without it there is no transaction that a COMMIT would end
SNAPSHOT = "REPEATABLE READ"


@on_servers
@CUTS
async def test_a_read_only_scope_with_a_lost_commit_is_not_committed(
    world: World, proxy: Proxy, arrives: bool
) -> None:
    with pytest.raises(ConnectionLost) as caught:
        async with world.session(readonly=True, isolation=SNAPSHOT) as session:
            await session.execute("SELECT 1")
            trap = cut(proxy, arrives=arrives)

    assert trap.reached.is_set()
    assert session.outcome is caught.value.outcome is Outcome.NOT_COMMITTED
    await check_nothing_left(world)


@on_servers
async def test_a_read_only_unit_with_a_lost_commit_runs_again(world: World, proxy: Proxy) -> None:
    bodies = 0

    @world.unit(readonly=True, isolation=SNAPSHOT, retry=3)
    async def read(session: Any) -> int:
        nonlocal bodies
        bodies += 1
        answer: int = await session.scalar("SELECT 42")
        if bodies == 1:
            proxy.cut_before()
        return answer

    assert await read() == 42
    assert bodies == 2
    await check_nothing_left(world)


# ---------------------------------------------------------------- several scopes


async def test_the_outcome_is_none_while_the_scope_is_open(world: World) -> None:
    async with world.session() as session:
        session.add(User(username="ann"))
        await session.flush()
        during = session.outcome

    assert during is None
    assert session.outcome is session.scope.outcome is Outcome.COMMITTED


@on_servers
async def test_each_of_two_independent_scopes_has_its_own_outcome(world: World) -> None:
    with pytest.raises(ZeroDivisionError):
        async with world.session() as outer:
            outer.add(User(username="outer"))
            await outer.flush()
            async with world.session(propagation="requires_new") as inner:
                inner.add(User(username="inner"))
            _ = 1 / 0

    assert outer.outcome is Outcome.NOT_COMMITTED
    assert inner.outcome is Outcome.COMMITTED
    assert world.usernames() == ["inner"]
