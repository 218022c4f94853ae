"""A COMMIT whose answer was lost ends COMMITTED or NOT_COMMITTED: the database is asked."""

from __future__ import annotations

import asyncio
import dataclasses
import pickle
import re
import time
from typing import Any

import pytest
from sqlalchemy import event, inspect

from hermetic import (
    CommitProof,
    CommitResolved,
    CommitUnknown,
    ConnectionLost,
    Database,
    DeadlineExceeded,
    InvalidOption,
    InvalidStatement,
    Outcome,
)
from hermetic.proof import new_token
from tests.behaviour.aftermath import (
    check_nothing_left,
    eventually,
    on,
    on_postgresql,
    on_servers,
    on_sqlite,
)
from tests.models import User
from tests.proxy import Proxy
from tests.worlds import PATIENCE, World

MODES = pytest.mark.parametrize("mode", ["token", "status"])
_STATUS = re.compile(rb"txid_status")


async def make_table(world: World, db: Database) -> None:
    if world.is_async:
        await db.acreate_commit_table()
    else:
        db.create_commit_table()


async def resolve(world: World, db: Database, unknown: Any, timeout: float = PATIENCE) -> Outcome:
    if world.is_async:
        return await db.aresolve_commit(unknown, timeout)
    return db.resolve_commit(unknown, timeout)


async def resolving(world: World, mode: str, **options: Any) -> Database:
    """A Database that resolves, by a way that the case's family has."""
    if mode == "status" and world.backend.family != "postgresql":
        pytest.skip("only PostgreSQL remembers how its transactions ended")
    db = world.database(resolve_commits=mode, **options)
    if mode == "token":
        await make_table(world, db)
    return db


async def write(session: Any) -> None:
    """Something that a COMMIT can be lost of."""
    session.add(User(username="ann"))
    await session.flush()


def tokens(world: World) -> int:
    return int(world.seen("SELECT count(*) FROM hermetic_commits WHERE fence < 2")[0][0])


# ---------------------------------------------------------------- what it ends as


@on_servers
@MODES
async def test_a_commit_that_arrived_is_committed(world: World, proxy: Proxy, mode: str) -> None:
    db = await resolving(world, mode)
    heard: list[Any] = []
    db.listen(heard.append)
    hooks: list[str] = []

    async with world.session(db) as session:
        ann = User(username="ann")
        session.add(ann)
        await session.flush()
        session.on_commit(lambda: hooks.append("committed"))
        session.on_rollback(lambda: hooks.append("rolled back"))
        trap = proxy.cut_after()

    assert trap.reached.is_set()
    assert session.outcome is Outcome.COMMITTED
    assert hooks == ["committed"]
    assert world.usernames() == ["ann"]
    assert (ann.id, ann.username) == (world.seen("SELECT id FROM users")[0][0], "ann")
    assert [e.outcome for e in heard if isinstance(e, CommitResolved)] == [Outcome.COMMITTED]
    assert db.snapshot().counters["resolved"] == db.snapshot().counters["committed"] == 1
    await check_nothing_left(world, db)


@on_servers
@MODES
async def test_a_commit_that_was_lost_on_its_way_is_not_committed(
    world: World, proxy: Proxy, mode: str
) -> None:
    db = await resolving(world, mode)
    hooks: list[str] = []

    with pytest.raises(ConnectionLost) as caught:
        async with world.session(db) as session:
            ann = User(username="ann")
            session.add(ann)
            await session.flush()
            session.on_commit(lambda: hooks.append("committed"))
            session.on_rollback(lambda: hooks.append("rolled back"))
            proxy.cut_before()

    assert caught.value.outcome is session.outcome is Outcome.NOT_COMMITTED
    assert hooks == ["rolled back"]
    assert world.usernames() == []
    assert inspect(ann).transient
    await check_nothing_left(world, db)


@on_servers
@MODES
@pytest.mark.parametrize("arrives", [True, False], ids=["cut_after", "cut_before"])
async def test_a_unit_runs_again_only_where_it_was_not_committed(
    world: World, proxy: Proxy, mode: str, arrives: bool
) -> None:
    db = await resolving(world, mode)
    bodies = 0

    @world.unit(db, retry=5)
    async def add(session: Any, user: User) -> str:
        nonlocal bodies
        bodies += 1
        session.add(user)
        await session.flush()
        if bodies == 1:
            (proxy.cut_after if arrives else proxy.cut_before)()
        return f"run {bodies}"

    answer = await add(User(username="ann"))

    assert answer == ("run 1" if arrives else "run 2")
    assert world.usernames() == ["ann"]
    assert db.snapshot().counters["retries"] == (0 if arrives else 1)
    await check_nothing_left(world, db)


@on_servers
async def test_many_that_lose_their_answers_at_once_are_all_resolved(
    world: World, proxy: Proxy
) -> None:
    db = await resolving(world, "token", pool_size=8)
    ready = [world.signal() for _ in range(8)]
    go = world.signal()

    async def party(number: int) -> Any:
        async with world.session(db) as session:
            session.add(User(username=f"user {number}"))
            await session.flush()
            ready[number].set()
            await go.wait()
        return session.outcome

    async def starter() -> None:
        for signal in ready:
            await signal.wait()
        # whose COMMIT it is that springs them, or whose question, is all the same
        for _ in range(4):
            proxy.cut_after()
            proxy.cut_before()
        go.set()

    def a_party(number: int) -> Any:
        return lambda: party(number)

    *results, started = await world.together(*[a_party(n) for n in range(8)], starter)

    assert started is None
    assert proxy.sprung() > 0
    there = world.usernames()
    for number, result in enumerate(results):
        if f"user {number}" in there:
            assert result is Outcome.COMMITTED
        else:
            assert isinstance(result, ConnectionLost), repr(result)
            assert result.outcome is Outcome.NOT_COMMITTED
    await check_nothing_left(world, db)


@on_servers
@MODES
async def test_those_who_listen_to_commits_hear_of_it(
    world: World, proxy: Proxy, mode: str
) -> None:
    db = await resolving(world, mode)
    heard: list[str] = []

    async with world.session(db) as session:
        sync = session.sync_session
        event.listen(sync, "before_commit", lambda _: heard.append("before"))
        event.listen(sync, "after_commit", lambda _: heard.append("after"))
        await write(session)
        proxy.cut_after()

    assert session.outcome is Outcome.COMMITTED
    assert heard == ["before", "after"]
    assert world.usernames() == ["ann"]
    await check_nothing_left(world, db)


@on_postgresql
async def test_a_search_path_of_the_scope_does_not_hide_the_token(
    world: World, proxy: Proxy
) -> None:
    db = await resolving(world, "token")
    world.do("CREATE SCHEMA apart")
    world.do("CREATE TABLE apart.hermetic_commits (LIKE hermetic_commits INCLUDING ALL)")

    async with world.session(db) as session:
        await session.execute("SET LOCAL search_path = apart, public")
        await write(session)
        proxy.cut_after()

    assert session.outcome is Outcome.COMMITTED
    assert tokens(world) == 1
    assert world.seen("SELECT * FROM apart.hermetic_commits") == []
    await check_nothing_left(world, db)


# ---------------------------------------------------------------- no answer yet, or none at all


@on_postgresql
@MODES
async def test_a_commit_that_is_under_way_is_waited_for_or_prevented(
    world: World, proxy: Proxy, mode: str
) -> None:
    """Its deferred trigger waits for a lock: the answer must not be that of a row not there."""
    db = await resolving(world, mode, resolve_timeout=PATIENCE)
    world.do(
        "CREATE FUNCTION wait_for_it() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN PERFORM pg_advisory_xact_lock(77); RETURN NULL; END$$"
    )
    world.do(
        "CREATE CONSTRAINT TRIGGER waits AFTER INSERT ON users DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION wait_for_it()"
    )
    outcome: Any = None

    async def committer() -> None:
        nonlocal outcome
        async with world.session(db) as session:
            session.add(User(username="ann"))
        outcome = session.outcome

    async def cutter() -> None:
        waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        assert await eventually(world, lambda: bool(world.seen(waiting)))
        proxy.forget()
        proxy.cut_all()
        sign = b"txid_status" if mode == "status" else b".hermetic_commits"
        assert await eventually(world, lambda: sign in proxy.sent)
        lock.exec_driver_sql("SELECT pg_advisory_unlock(77)")

    with world.observer.connect() as lock:
        lock.exec_driver_sql("SELECT pg_advisory_lock(77)")
        results = await world.together(committer, cutter)

    assert results[1] is None
    if world.usernames() == ["ann"]:
        assert results[0] is None
        assert outcome is Outcome.COMMITTED
    else:
        assert isinstance(results[0], ConnectionLost)
        assert results[0].outcome is Outcome.NOT_COMMITTED
    await check_nothing_left(world, db)


@on_postgresql
async def test_a_database_that_cannot_be_asked_leaves_it_unknown_until_it_can(
    world: World, proxy: Proxy
) -> None:
    db = await resolving(world, "status", resolve_timeout=1.0)

    with pytest.raises(CommitUnknown) as caught:
        async with world.session(db) as session:
            await write(session)
            proxy.cut_after()
            traps = [proxy.cut_before(_STATUS) for _ in range(40)]

    unknown = caught.value
    assert traps[0].reached.is_set()
    assert unknown.outcome is session.outcome is Outcome.UNKNOWN
    assert unknown.proof is not None
    assert unknown.proof.transaction is not None
    assert str(unknown.proof) in str(unknown)
    assert any("in vain" in note for note in unknown.__notes__)

    proxy.disarm()
    assert await resolve(world, db, unknown) is Outcome.COMMITTED
    assert await resolve(world, db, pickle.loads(pickle.dumps(unknown))) is Outcome.COMMITTED
    await check_nothing_left(world, db)


@on_servers
@MODES
async def test_a_frozen_server_keeps_nobody_past_the_deadline(
    world: World, proxy: Proxy, mode: str
) -> None:
    db = await resolving(world, mode)

    with pytest.raises(CommitUnknown) as caught:
        async with world.session(db, timeout=1.0) as session:
            await write(session)
            began = time.monotonic()
            proxy.freeze_at()
    took = time.monotonic() - began

    unknown = caught.value
    assert isinstance(unknown.__cause__, DeadlineExceeded)
    assert session.outcome is Outcome.UNKNOWN
    assert took < 6.0
    proxy.thaw()
    outcome = await resolve(world, db, unknown)
    assert outcome is (Outcome.COMMITTED if world.usernames() else Outcome.NOT_COMMITTED)
    await check_nothing_left(world, db)


@on_postgresql
async def test_a_number_means_nothing_on_another_timeline(world: World) -> None:
    db = await resolving(world, "status")
    proof = CommitProof(server="there", transaction=100, backend=1, timeline="0000FFFF", system="1")

    assert await resolve(world, db, proof, 1.0) is Outcome.UNKNOWN


@on_postgresql
async def test_a_number_means_nothing_on_a_server_that_has_crashed(
    world: World, proxy: Proxy
) -> None:
    db = await resolving(world, "status", resolve_timeout=1.0)
    with pytest.raises(CommitUnknown) as caught:
        async with world.session(db) as session:
            await write(session)
            proxy.cut_after()
            for _ in range(40):
                proxy.cut_before(_STATUS)
    proxy.disarm()
    proof = caught.value.proof
    assert proof is not None

    # its checkpointer, its walwriter and the others were others then
    assert await resolve(world, db, proof) is Outcome.COMMITTED
    crashed = dataclasses.replace(proof, lineage="1,2,3")
    assert await resolve(world, db, crashed) is Outcome.UNKNOWN


@on_servers
async def test_a_cancellation_while_it_is_asked_is_one_and_knows_the_outcome(
    world: World, proxy: Proxy
) -> None:
    if not world.is_async:
        pytest.skip("tasks are cancelled")
    db = await resolving(world, "token", cleanup_timeout=PATIENCE)
    trap: Any = None
    session: Any = None

    async def unit() -> None:
        nonlocal trap, session
        async with db.session() as session:
            await write(session)
            trap = proxy.hold()

    task = asyncio.create_task(unit())
    assert await eventually(world, lambda: trap is not None and trap.reached.is_set())
    proxy.cut_all()
    await asyncio.sleep(0)
    task.cancel()
    trap.release()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert task.cancelled()
    assert session.outcome is Outcome.COMMITTED
    assert world.usernames() == ["ann"]
    await check_nothing_left(world, db)


@on_postgresql
async def test_who_asks_later_and_is_cancelled_is_cancelled(world: World, proxy: Proxy) -> None:
    if not world.is_async:
        pytest.skip("tasks are cancelled")
    db = await resolving(world, "token")
    trap = proxy.hold(re.compile(rb"\.hermetic_commits"))

    lost = CommitProof(server="there", token=new_token())
    task = asyncio.create_task(db.aresolve_commit(lost, PATIENCE))
    assert await eventually(world, trap.reached.is_set)
    task.cancel()
    trap.release()

    with pytest.raises(asyncio.CancelledError):
        await task


# ---------------------------------------------------------------- tokens


@on(lambda backend: True)
async def test_only_what_writes_leaves_a_token(world: World) -> None:
    db = await resolving(world, "token")

    async with world.session(db):
        pass
    async with world.session(db, readonly=True) as session:
        await session.get(User, 1)
    assert tokens(world) == 0

    async with world.session(db) as session:
        session.add(User(username="ann"))
    assert tokens(world) == 1
    with pytest.raises(LookupError):
        async with world.session(db) as session:
            session.add(User(username="bob"))
            await session.flush()
            raise LookupError
    assert tokens(world) == 1


@on(lambda backend: True)
async def test_a_token_that_is_there_is_committed_and_another_never_will_be(world: World) -> None:
    db = await resolving(world, "token")
    async with world.session(db) as session:
        session.add(User(username="ann"))
    known = world.seen("SELECT token FROM hermetic_commits")[0][0]
    lost = CommitProof(server="there", token=new_token())

    assert await resolve(world, db, CommitProof(server="there", token=known)) is Outcome.COMMITTED
    assert await resolve(world, db, lost) is Outcome.NOT_COMMITTED
    with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
        world.do(f"INSERT INTO hermetic_commits (token, fence) VALUES ('{lost.token}', 0)")


@on(lambda backend: True)
async def test_without_its_table_nothing_is_committed(world: World) -> None:
    db = world.database(resolve_commits="token")

    with pytest.raises(InvalidStatement) as caught:
        async with world.session(db) as session:
            session.add(User(username="ann"))

    assert any("create_commit_table" in note for note in caught.value.__notes__)
    assert session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    await make_table(world, db)
    await check_nothing_left(world, db)


async def swept(world: World, db: Database) -> int:
    return await db.asweep_commits() if world.is_async else db.sweep_commits()


@on(lambda backend: True)
async def test_old_tokens_are_swept_and_nothing_is_said_of_them_any_more(world: World) -> None:
    db = await resolving(world, "token")
    async with world.session(db) as session:
        session.add(User(username="ann"))
    old = f"{1:012x}{'0' * 20}"
    world.do(f"INSERT INTO hermetic_commits (token, fence) VALUES ('{old}', 0)")
    proof = CommitProof(server="there", token=old)

    assert await resolve(world, db, proof, 1.0) is Outcome.COMMITTED
    assert await swept(world, db) == 1
    assert tokens(world) == 1
    for _ in range(2):  # by a fence of ours, and by one that is there
        assert await resolve(world, db, proof, 1.0) is Outcome.UNKNOWN
    young = CommitProof(server="there", token=new_token())
    assert await resolve(world, db, young) is Outcome.NOT_COMMITTED


@on(lambda backend: True)
@pytest.mark.parametrize("ahead", [True, False])
async def test_no_clock_makes_a_committed_unit_look_as_if_it_never_was(
    world: World, monkeypatch: pytest.MonkeyPatch, ahead: bool
) -> None:
    """The clock of who sweeps is days ahead, or that of who commits was days behind."""
    db = await resolving(world, "token")
    clock, clock_ns, days = time.time, time.time_ns, 3 * 86_400

    with monkeypatch.context() as patched:
        if not ahead:
            patched.setattr(time, "time_ns", lambda: clock_ns() - days * 10**9)
        async with world.session(db) as session:
            session.add(User(username="ann"))
    known = world.seen("SELECT token FROM hermetic_commits")[0][0]
    with monkeypatch.context() as patched:
        if ahead:
            patched.setattr(time, "time", lambda: clock() + days)
        assert await swept(world, db) == 1

    proof = CommitProof(server="there", token=known)
    assert await resolve(world, db, proof, 1.0) is Outcome.UNKNOWN


@on_servers
async def test_a_question_whose_own_answer_was_lost_is_not_mistaken_for_the_unit(
    world: World, proxy: Proxy
) -> None:
    db = await resolving(world, "token")

    with pytest.raises(ConnectionLost) as caught:
        async with world.session(db) as session:
            await write(session)
            proxy.cut_before()  # the unit's COMMIT
            fenced = proxy.cut_after()  # the fence's

    assert fenced.reached.is_set()
    assert caught.value.outcome is session.outcome is Outcome.NOT_COMMITTED
    assert world.usernames() == []
    await check_nothing_left(world, db)


# ---------------------------------------------------------------- what is refused


@on_sqlite
async def test_what_cannot_be_is_refused_where_it_is_given(world: World) -> None:
    with pytest.raises(InvalidOption, match="lacks"):
        Database(world.url, resolve_commits="status")
    with pytest.raises(InvalidOption, match="token, status"):
        Database(world.url, resolve_commits="guess")  # type: ignore[arg-type]
    plain = world.database()
    with pytest.raises(InvalidOption, match="is needed for this"):
        plain.create_commit_table()
    db = await resolving(world, "token")
    with pytest.raises(InvalidOption, match="no proof"):
        await resolve(world, db, CommitUnknown("lost"))
    with pytest.raises(InvalidOption, match="86400"):
        db.sweep_commits(older_than=10.0) if not world.is_async else await db.asweep_commits(10.0)
