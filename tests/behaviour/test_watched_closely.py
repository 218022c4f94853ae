"""Watching at the places where it could be in the way, or tell what is not so."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import selectinload

from hermetic import Database, FindingError, Outcome, ScopeControls, Watch
from tests.behaviour.aftermath import check_nothing_left, on
from tests.behaviour.test_watched import AT_ONCE, codes, filled, only, watched
from tests.models import User
from tests.worlds import PATIENCE, World

on_all_kinds = on(
    lambda backend: backend.name in ("psycopg", "psycopg_async", "asyncpg", "pymysql", "sqlite")
)
on_one = on(lambda backend: backend.name == "sqlite")
on_psycopg = on(lambda backend: backend.name == "psycopg")


# ---------------------------------------------------------------- strict, where it must not tear


@on_all_kinds
async def test_a_savepoint_is_taken_down_whatever_was_found(world: World) -> None:
    db = watched(world, held=AT_ONCE, strict=True)
    with pytest.raises(FindingError):
        async with world.session(db) as outer:
            await outer.execute("SELECT 1")
            async with world.session(db, propagation="nested") as inner:
                inner.add(User(username="ann"))
                await inner.flush()
                db.watch.look()

    assert world.usernames() == []
    await check_nothing_left(world, db)


@on_all_kinds
async def test_many_rows_are_whole_where_a_finding_is_due(world: World) -> None:
    db = watched(world, chatty=1, strict=True)
    async with world.session(db) as session:
        await session.execute("SELECT 1")
        with pytest.raises(FindingError):
            await session.execute("SELECT 2")
        rows = [{"username": f"user {n}", "balance": 0} for n in range(5)]
        await session.run_sync(lambda plain: plain.insert_many(User, rows, batch=2))

    assert len(world.usernames()) == 5


@on_all_kinds
@pytest.mark.parametrize("how", ["text", "get"])
async def test_what_was_refused_at_first_leaves_a_commit_of_nothing(world: World, how: str) -> None:
    db = watched(world, strict=True, chatty=100)
    async with world.session(db) as session:
        session.scope.trace.due = db.watch.findings.add(_any_finding())
        with pytest.raises(FindingError):
            if how == "text":
                await session.execute("SELECT 1")
            else:
                await session.get(User, 1)

    assert session.outcome is Outcome.COMMITTED
    await check_nothing_left(world, db)


def _any_finding() -> Any:
    from hermetic import Finding

    return Finding("held-too-long", "It was held.", "Let go.", "nowhere")


@on_all_kinds
async def test_a_refused_control_statement_leaves_a_commit_of_nothing(world: World) -> None:
    async with world.session() as session:
        with pytest.raises(ScopeControls):
            await session.execute("COMMIT")

    assert session.outcome is Outcome.COMMITTED


@on_psycopg
def test_who_waits_for_the_pool_is_not_slow(world: World) -> None:
    db = watched(world, slow=1.0, strict=True)
    db.resize(pool_size=1)
    came = threading.Event()

    def wait() -> None:
        with db.session(name="waiting") as session:
            came.set()
            session.execute("SELECT 1")

    with db.session() as holder:
        holder.execute("SELECT 1")
        party = threading.Thread(target=wait)
        party.start()
        assert came.wait(PATIENCE)
        until = time.monotonic() + PATIENCE
        while not db.snapshot().pools[0].waiting and time.monotonic() < until:
            time.sleep(0.005)
        until = time.monotonic() + 1.1
        while time.monotonic() < until:
            time.sleep(0.01)
        db.watch.look()
        (waiting,) = [each for each in db.snapshot().scopes if each.name == "waiting"]
        assert db.registry.scopes[waiting.number].trace.due is None
        assert holder.scope is not None
        holder.scope.trace.due = None
    party.join(PATIENCE)

    waited = next(each for each in db.watch.recent() if each.name == "waiting")
    assert waited.waited >= 1.1
    assert waited.outcome is Outcome.COMMITTED


# ---------------------------------------------------------------- threads, signals, forks


@on_one
def test_a_listener_may_ask_what_is_seen(world: World) -> None:
    db = watched(world, slow=AT_ONCE)
    seen: list[Any] = []
    db.listen(lambda event: seen.append(db.watch.slow()))
    with db.session() as session:
        session.execute("SELECT 1")
    db.watch.look()

    assert seen


@on_one
def test_a_signal_handler_may_ask_what_is_seen(world: World) -> None:
    db = watched(world)
    before = signal.signal(signal.SIGUSR1, lambda *_: db.watch.by_name())
    try:
        with db.watch._lock:
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)


@on_one
def test_a_look_that_fails_is_not_the_last(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from hermetic.registry import sessions_in_transaction
    from hermetic.watching import looking

    db = world.database(watch=Watch(every=0.01, held=AT_ONCE))
    failed = threading.Event()
    read = sessions_in_transaction

    def once(now: float) -> Any:
        if not failed.is_set():
            failed.set()
            raise RuntimeError("dictionary changed size during iteration")
        return read(now)

    monkeypatch.setattr(looking, "sessions_in_transaction", once)
    with db.session() as session:
        session.execute("SELECT 1")
        assert failed.wait(PATIENCE)
        until = time.monotonic() + PATIENCE
        while not db.watch.findings() and time.monotonic() < until:
            time.sleep(0.01)

    assert "held-too-long" in [finding.code for finding in db.watch.findings()]


@on_one
def test_a_forked_child_is_looked_at(world: World) -> None:
    db = world.database(watch=Watch(every=0.01, held=AT_ONCE))
    with db.session() as session:
        session.execute("SELECT 1")
    child = os.fork()
    if not child:
        code = 1
        try:
            with db.session() as session:
                session.execute("SELECT 1")
                until = time.monotonic() + PATIENCE
                while not db.watch.findings() and time.monotonic() < until:
                    time.sleep(0.01)
            code = 0 if db.watch.findings() else 1
        finally:
            os._exit(code)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# ---------------------------------------------------------------- figures


@on_all_kinds
async def test_what_goes_back_to_a_savepoint_is_no_time_at_work(world: World) -> None:
    db = watched(world)
    async with world.session(db) as session:
        with pytest.raises(Exception, match="nowhere"):
            async with world.session(db, propagation="nested"):
                await session.execute("SELECT 1 FROM nowhere")

    seen = db.watch.recent()[0]
    assert seen.working <= seen.seconds
    (step,) = seen.steps
    assert step.seconds is None


@on_one
async def test_a_second_record_has_a_scope_that_the_first_one_had_seen(world: World) -> None:
    async with world.session(name="outer") as session:
        with world.db.record():
            await session.execute("SELECT 1")
        record = world.db.record()
        record.__enter__()
        await session.execute("SELECT 2")
    record.__exit__(None, None, None)

    assert [step.statement for step in record.statements] == ["SELECT 2"]


@on_one
async def test_a_record_is_not_cut_where_watching_is(world: World) -> None:
    db = watched(world, steps=2)
    async with world.session(db) as session:
        for _ in range(4):
            await session.execute("SELECT 1")
        with db.record() as record:
            for _ in range(4):
                await session.execute("SELECT 2")

    assert [step.statement for step in record.statements] == ["SELECT 2"] * 4
    record.assert_statements(exactly=4)


@on_one
async def test_a_record_finds_nothing(world: World) -> None:
    told: list[Any] = []
    world.db.listen(told.append)
    with world.db.record():
        async with world.session() as session:
            for _ in range(30):
                await session.execute("SELECT 1")

    assert "Found" not in [type(event).__name__ for event in told]


@on_one
def test_a_count_without_a_limit_is_refused(world: World) -> None:
    with pytest.raises(ValueError, match="max="), world.db.assert_statements():
        pass


# ---------------------------------------------------------------- nothing invented


@on_all_kinds
async def test_bulk_work_is_not_repetition(world: World) -> None:
    db = watched(world, repeats=2, chatty=5)
    rows = [{"username": f"user {n}", "balance": 0} for n in range(40)]
    async with world.session(db) as session:
        await session.run_sync(lambda plain: plain.insert_many(User, rows, batch=4))
        users = [User(username=f"more {n}") for n in range(20)]
        session.add_all(users)

    assert codes(db) == []


@on_psycopg
async def test_selectinload_in_portions_is_not_repetition(world: World) -> None:
    db = watched(world, repeats=1)
    world.do(
        "INSERT INTO users (username, balance) SELECT 'u' || n, 0 FROM generate_series(1, 1600) n"
    )
    async with world.session(db) as session:
        found = await session.scalars(select(User).options(selectinload(User.orders)))
        assert len(found.all()) == 1600

    assert codes(db) == []


@on_psycopg
async def test_who_reads_row_by_row_is_not_idle(world: World) -> None:
    db = watched(world, idle=AT_ONCE)
    await filled(world, db, 3)
    async with world.session(db) as session:
        rows = await session.execute(select(User.id), execution_options={"yield_per": 1})
        next(rows)
        db.watch.look()
        rows.close()

    assert codes(db) == []


@on_one
async def test_sessions_of_another_database_are_not_its(world: World) -> None:
    from hermetic import sessionmaker

    other = Database("sqlite://")
    db = watched(world, held=AT_ONCE)
    with sessionmaker(other.engine)() as session:
        session.execute("SELECT 1")
        assert codes(db) == []
    other.close()


@on_one
async def test_what_comes_from_one_line_is_one_finding(world: World) -> None:
    db = watched(world, slow=AT_ONCE)
    for number in range(20):
        async with world.session(db) as session:
            await session.execute(f"SELECT {number}")

    assert codes(db) == ["slow-scope"]
    assert only(db, "slow-scope").count == 20


@on_one
async def test_the_end_of_a_test_raises_what_was_found(world: World) -> None:
    db = watched(world, slow=AT_ONCE)
    db.watch.check()
    async with world.session(db) as session:
        await session.execute("SELECT 1")

    with pytest.raises(FindingError):
        db.watch.check()
    db.watch.findings.forget()
    db.watch.check()


@on_one
async def test_what_is_kept_of_long_texts_is_bounded(world: World) -> None:
    db = watched(world)
    async with world.session(db) as session:
        await session.execute("SELECT '" + "x" * 3000 + "'")

    assert len(db.watch.recent()[0].steps[0].statement) == 2001


@on_one
async def test_names_without_end_do_not_push_the_new_ones_out(world: World) -> None:
    db = watched(world)
    for number in range(250):
        async with world.session(db, name=f"job {number}"):
            pass

    names = db.watch.by_name()
    assert "job 249" in names
    assert len(names) <= 200


@on_one
async def test_open_scopes_can_be_asked_for_while_they_end(world: World) -> None:
    db = watched(world)
    over = threading.Event()
    raised: list[BaseException] = []

    def ask() -> None:
        while not over.is_set():
            try:
                db.watch.open()
                with db.record():
                    pass
            except BaseException as error:
                raised.append(error)
                return

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(100):
            async with world.session(db) as session:
                await session.execute("SELECT 1")
            if world.is_async:
                await asyncio.sleep(0)
    finally:
        over.set()
        asking.join(PATIENCE)

    assert raised == []
    assert db.watch.recorders == ()
