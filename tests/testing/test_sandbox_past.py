"""Nothing goes past a sandbox: what would stay in the database, or land in another, is refused."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import sessionmaker

from hermetic import Database, Group
from hermetic.testing import (
    OutsideSandbox,
    SandboxBusy,
    SandboxError,
    SandboxLeak,
    outside,
    sandbox,
)
from tests.backends import ASYNC_BACKENDS, SYNC_BACKENDS
from tests.models import Base
from tests.testing.boxes import add, boxed, names
from tests.worlds import World

_POSTGRESQL = [each for each in SYNC_BACKENDS if each.family == "postgresql"][:1]
INSERT = text("INSERT INTO users (username, balance) VALUES ('past', 0)")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with Database(f"sqlite:///{tmp_path / 'a.db'}") as made:
        with made.session(propagation="not_supported") as session:
            Base.metadata.create_all(session.connection())
        yield made


def users(db: Database) -> int:
    with db.session() as session:
        return int(session.scalar("SELECT count(*) FROM users"))


def in_thread(work: Callable[[], object]) -> BaseException | None:
    """What a thread of its own, which is in no sandbox, fails with."""
    caught: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return caught[0] if caught else None


def write(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(INSERT)


async def test_a_sandbox_does_not_begin_inside_a_scope(world: World) -> None:
    async with world.session(name="around"):
        with pytest.raises(SandboxError, match=r"inside of scope 'around'") as caught:
            async with boxed(world):
                await add(world, "ann")
        assert caught.value.scope is not None
    assert world.usernames() == []
    async with boxed(world):
        await add(world, "ann")
    assert world.usernames() == []


def test_a_thread_that_is_in_none_has_no_connection_of_an_engine_taken_before(
    db: Database,
) -> None:
    engine = db.engine
    make = sessionmaker(engine)

    def work() -> None:
        with make() as session, session.begin():
            session.execute(INSERT)

    with sandbox(db, name="mine"):
        caught = in_thread(work)
    assert isinstance(caught, OutsideSandbox)
    assert "'mine'" in str(caught)
    assert users(db) == 0
    assert in_thread(work) is None
    assert users(db) == 1


def test_what_is_in_the_sandbox_of_another_database_is_in_none_of_this_one(
    db: Database, tmp_path: Path
) -> None:
    engine = db.engine
    with Database(f"sqlite:///{tmp_path / 'b.db'}") as other, sandbox(other) as theirs:
        with sandbox(db):
            # in a thread: around what it has here would be this one's
            caught = in_thread(lambda: _entered(theirs, engine))
        assert isinstance(caught, OutsideSandbox)
    assert users(db) == 0


async def _connect(engine: AsyncEngine) -> None:
    async with engine.connect():
        pass


def _entered(box: Any, engine: Engine) -> None:
    with box.enter():
        write(engine)


def test_hermetic_keeps_its_own_connections_meanwhile(tmp_path: Path) -> None:
    with Database(f"sqlite:///{tmp_path / 'a.db'}") as db:
        engine = db.engine
        with sandbox(db):
            assert in_thread(lambda: db.warm(1)) is None
            assert isinstance(in_thread(engine.connect), OutsideSandbox)


def test_an_engine_that_is_first_made_meanwhile_is_guarded_too(tmp_path: Path) -> None:
    with Database(f"sqlite:///{tmp_path / 'a.db'}") as db:
        with sandbox(db):
            with outside():
                engine = db.engine
                engine.connect().close()
            with pytest.raises(OutsideSandbox, match="taken past"):
                engine.connect()
        engine.connect().close()


async def test_the_same_under_asyncio(tmp_path: Path) -> None:
    async with Database(f"sqlite:///{tmp_path / 'a.db'}") as db:
        async with sandbox(db):
            with outside():
                engine = db.async_engine
            with pytest.raises(OutsideSandbox, match="taken past"):
                await _connect(engine)
        await _connect(engine)


def test_an_engine_of_one_sandbox_is_not_used_in_another(db: Database) -> None:
    with sandbox(db, name="one"):
        kept = db.engine
        write(kept)
    with pytest.raises(OutsideSandbox):
        write(kept)
    with sandbox(db, name="two") as box:
        assert isinstance(in_thread(lambda: write(kept)), OutsideSandbox)
        # its connection is lent again, and the engine with it
        assert in_thread(lambda: _entered(box, kept)) is None
        assert users(db) == 1
    assert users(db) == 0


@pytest.mark.parametrize("backend", _POSTGRESQL, indirect=True, ids=lambda each: each.name)
def test_an_engine_of_one_sandbox_is_not_used_beside_it(world: World) -> None:
    db = world.db
    kept: list[Engine] = []
    written, looked = threading.Event(), threading.Event()

    def one() -> None:
        with sandbox(db, name="one"):
            kept.append(db.engine)
            write(db.engine)
            written.set()
            looked.wait(30.0)
            assert users(db) == 1

    thread = threading.Thread(target=one)
    thread.start()
    try:
        assert written.wait(30.0)
        with sandbox(db, name="two"):
            with pytest.raises(OutsideSandbox, match="another sandbox"):
                write(kept[0])
            assert users(db) == 0
    finally:
        looked.set()
        thread.join()


def test_what_a_thread_opens_after_its_sandbox_is_not_committed(db: Database) -> None:
    ended = threading.Event()

    def late() -> None:
        ended.wait(30.0)
        with db.session() as session:
            session.execute(INSERT)

    caught: list[BaseException | None] = []
    with sandbox(db, name="mine") as box:
        work = box.let_in(late)
        thread = threading.Thread(target=lambda: caught.append(in_thread(work)))
        thread.start()
    ended.set()
    thread.join()
    assert isinstance(caught[0], OutsideSandbox)
    assert "'mine', has ended" in str(caught[0])
    assert users(db) == 0


@pytest.mark.parametrize("backend", ASYNC_BACKENDS, indirect=True, ids=lambda each: each.name)
async def test_what_a_task_opens_after_its_sandbox_is_not_committed(world: World) -> None:
    ended = asyncio.Event()

    async def late() -> None:
        await ended.wait()
        await add(world, "late")

    async with boxed(world):
        task = asyncio.create_task(late())
    ended.set()
    with pytest.raises(OutsideSandbox, match="has ended"):
        await task
    assert world.usernames() == []
    await add(world, "ann")
    assert world.usernames() == ["ann"]


async def test_flows_and_closing_are_as_ever_after_a_sandbox(world: World) -> None:
    async with boxed(world):
        with world.db.flow():
            await add(world, "gone")
    with world.db.flow() as flow:
        await add(world, "ann")
        assert await names(world) == ["ann"]
    if world.db.family.positions.known:
        assert flow._routes is world.db._own_routes()


def test_a_scope_of_a_group_does_not_outlive_the_sandbox(db: Database) -> None:
    group = Group(main=db)
    unit = group.session(name="left open")
    with pytest.raises(SandboxLeak, match="left open"), sandbox(db, name="one"):
        session = unit.__enter__()
        session.execute(INSERT)
    assert group.snapshot().scopes == ()
    with sandbox(db, name="two"):
        with pytest.raises(Exception, match=r"ended|closed"):
            session.execute(INSERT)
        assert users(db) == 0


def test_a_signal_handler_does_not_wait_for_the_statement_that_it_interrupts(
    db: Database,
) -> None:
    caught: list[SandboxBusy] = []

    def handle(*_: Any) -> None:
        with (
            pytest.raises(SandboxBusy) as told,
            db.session(propagation="requires_new") as own,
        ):
            own.execute(INSERT)
        caught.append(told.value)

    def strike() -> int:
        signal.raise_signal(signal.SIGUSR1)
        return 7

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        with sandbox(db, name="mine"), db.session() as session:
            driver: Any = session.connection().connection.driver_connection
            driver.create_function("strike", 0, strike)
            assert session.scalar("SELECT strike()") == 7
            session.execute(INSERT)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert caught[0].sandbox == "mine"
    assert users(db) == 0
