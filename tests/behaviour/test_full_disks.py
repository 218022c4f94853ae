"""The disk under the database is full, may not be written, or fails."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pymysql
import pytest
from sqlalchemy import text

from hermetic import (
    CannotConnect,
    CommitUnknown,
    ConnectionLost,
    Database,
    FaultError,
    Outcome,
    OutOfResources,
)
from tests.backends import Backend
from tests.behaviour.aftermath import check_nothing_left, eventually, lent, on, on_postgresql
from tests.conftest import in_ci
from tests.disk import DiskUnavailable, SmallDisk
from tests.models import User
from tests.servers import LocalServer, MariaDBServer, PostgreSQLServer, ServerUnavailable
from tests.servers.process import Account, wait_until
from tests.worlds import PATIENCE, World

pytestmark = [pytest.mark.slow]

# What each database takes by itself, and some more.
MEGABYTES = {"sqlite": 4, "postgresql": 120}
# Nothing that a server could make smaller.
BIG = [{"id": n, "body": random.Random(n).randbytes(500).hex()} for n in range(2000)]


class SmallTablespace:
    """InnoDB's own file, with a greatest size: where a disk is full InnoDB ends its process."""

    settings: Final = {
        "innodb-file-per-table": "0",
        "innodb-data-file-path": "ibdata1:12M:autoextend:max:18M",
    }

    def __init__(self, server: MariaDBServer) -> None:
        self._server = server

    def fill(self, *, leaving: int = 0) -> None:
        rows = "SELECT seq, repeat(md5(seq), 30) FROM seq_1_to_"
        self._server._query("CREATE TABLE app.filler (n INTEGER, body TEXT)")
        # InnoDB goes on to purge what an earlier test has dropped: until nothing comes free
        fitted = True
        while fitted:
            self._purged()
            fitted = False
            for chunk in (1000, 30):
                with contextlib.suppress(pymysql.err.OperationalError):
                    while True:
                        self._server._query("USE app", f"INSERT INTO filler {rows}{chunk}")
                        fitted = True

    def _purged(self) -> None:
        length = "SHOW GLOBAL STATUS LIKE 'Innodb_history_list_length'"
        assert wait_until(lambda: str(self._server._query(length)[0][1]) == "0", PATIENCE)

    def free(self) -> None:
        self._server._query("DROP TABLE IF EXISTS app.filler")


class OnSmallDisk:
    """SQLite, or a server, with its data where there is not much room."""

    def __init__(self, family: str, ends: ExitStack) -> None:
        self.family = family
        self.server: LocalServer | None = None
        self.disk: SmallDisk | SmallTablespace
        if family == "mariadb":
            mariadb = MariaDBServer(durable=True, settings=SmallTablespace.settings)
            self.server, self.disk = mariadb, SmallTablespace(mariadb)
        else:
            self.disk = ends.enter_context(SmallDisk(MEGABYTES[family]))
            if family == "postgresql":
                self.server = _on(self.disk.path)
                account = Account.for_server(self.server.system_user)
                if account is not None:
                    shutil.chown(self.disk.path, account.uid, account.gid)
        if self.server is not None:
            self.server.start()
            ends.callback(self.server.stop)
            ends.callback(self.disk.free)
            self.server.create_database("app")

    def world(self, backend: Backend) -> World:
        if self.server is None:
            assert isinstance(self.disk, SmallDisk)
            for each in self.disk.path.iterdir():
                each.unlink()
            path = f"{self.disk.path}/app.db"
            world = World(backend, f"{backend.scheme}:///{path}", f"sqlite:///{path}")
        else:
            if self.server.pid is None:
                self.server.start()
            self.server.empty_database("app")
            world = World(backend, self.server.url("app", backend.scheme), self.server.url("app"))
        world.do("CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT)")
        return world


def _on(disk: Path) -> PostgreSQLServer:
    class Here(PostgreSQLServer):
        @property
        def data_path(self) -> Path:
            return disk / "data"

    return Here(durable=True, settings={"wal_recycle": "off", "min_wal_size": "32MB"})


@pytest.fixture(scope="module")
def small_disks() -> Iterator[Callable[[str], OnSmallDisk]]:
    made: dict[str, OnSmallDisk] = {}
    with ExitStack() as ends:

        def get(family: str) -> OnSmallDisk:
            if family not in made:
                try:
                    made[family] = OnSmallDisk(family, ends)
                except (DiskUnavailable, ServerUnavailable) as error:
                    if in_ci() and not getattr(error, "refused", False):
                        pytest.fail(str(error), pytrace=False)
                    pytest.skip(f"NOT TESTED: {error}")
            return made[family]

        yield get


@pytest.fixture
def small(backend: Backend, small_disks: Callable[[str], OnSmallDisk]) -> OnSmallDisk:
    return small_disks(backend.family)


@pytest.fixture
def world(backend: Backend, small: OnSmallDisk) -> Iterator[World]:
    made = small.world(backend)
    yield made
    small.disk.free()
    if made.is_async:
        made.close_observer()
    else:
        made.close()


async def write_much(session: Any) -> None:
    await session.execute(text("INSERT INTO notes (id, body) VALUES (:id, :body)"), BIG)


def notes(world: World) -> int:
    return int(world.seen("SELECT count(*) FROM notes")[0][0])


@on(lambda backend: True)
async def test_a_full_disk_is_told_as_what_it_is(world: World, small: OnSmallDisk) -> None:
    db = world.database()
    runs = 0
    async with world.session(db) as session:
        session.add(User(username="ann"))
    small.disk.fill(leaving=200_000)

    with pytest.raises(OutOfResources) as caught:
        async with world.session(db) as session:
            runs += 1
            session.add(User(username="bob"))
            await session.flush()
            await write_much(session)

    assert session.outcome is Outcome.NOT_COMMITTED
    assert caught.value.fault is not None
    assert caught.value.fault.code in ("53100", "1114", "1021", "SQLITE_FULL")
    assert runs == 1
    assert lent(db) == []
    async with world.session(db, readonly=True) as session:
        assert await session.scalar("SELECT count(*) FROM users") == 1
    small.disk.free()
    until = time.monotonic() + PATIENCE
    while not notes(world):
        try:
            async with world.session(db) as session:
                await write_much(session)
        except OutOfResources:
            # InnoDB's purge has not come so far
            assert small.family == "mariadb"
            assert time.monotonic() < until
    assert notes(world) == len(BIG)
    assert world.usernames() == ["ann"]
    await check_nothing_left(world, db)


@on(lambda backend: True)
async def test_an_error_of_a_full_disk_that_is_swallowed_commits_no_half(
    world: World, small: OnSmallDisk
) -> None:
    db = world.database()
    async with world.session(db) as session:
        await session.execute("SELECT 1")
    small.disk.fill(leaving=200_000)

    raised: BaseException | None = None
    try:
        async with world.session(db) as session:
            session.add(User(username="bob"))
            await session.flush()
            with pytest.raises(FaultError):
                await write_much(session)
    except Exception as error:
        raised = error

    small.disk.free()
    # InnoDB takes back the statement alone (innodb-error-handling), and so may the application
    expected = [] if raised is not None else ["bob"]
    assert (session.outcome is Outcome.COMMITTED) == (raised is None)
    assert world.usernames() == expected
    assert notes(world) == 0
    await check_nothing_left(world, db)


# ---------------------------------------------------------------- PostgreSQL's WAL


async def make_table(world: World, db: Database) -> None:
    if world.is_async:
        await db.acreate_commit_table()
    else:
        db.create_commit_table()


@on_postgresql
async def test_a_server_that_panics_for_want_of_room_is_there_again(
    world: World, small: OnSmallDisk
) -> None:
    server = small.server
    assert server is not None
    db = world.database(resolve_commits="token", cleanup_timeout=1)
    await make_table(world, db)
    small.disk.fill()

    with pytest.raises((FaultError, CommitUnknown)):
        async with world.session(db) as session:
            session.add(User(username="ann"))
            for _ in range(6):
                await session.execute(
                    "SELECT pg_logical_emit_message(true, 'fill', repeat('x', 5000000))"
                )

    assert session.outcome is Outcome.NOT_COMMITTED
    assert lent(db) == []
    with pytest.raises((CannotConnect, ConnectionLost, OutOfResources)):
        async with world.session(db) as session:
            for _ in range(20):
                await session.execute(
                    "SELECT pg_logical_emit_message(true, 'fill', repeat('x', 5000000))"
                )
    small.disk.free()
    if not await eventually(world, lambda: server.pid is None or server._answers(), 5) or (
        server.pid is None
    ):
        server.kill()
        server.start()
    world.close_observer()
    world._observer = None
    async with world.session(db) as session:
        session.add(User(username="bob"))
    assert world.usernames() == ["bob"]
    await check_nothing_left(world, db)


@on_postgresql
async def test_an_error_of_the_disk_in_a_commit_leaves_its_outcome_to_be_asked_for(
    world: World, small: OnSmallDisk
) -> None:
    """The WAL cannot be flushed: the server panics, and nobody was told."""
    if shutil.which("strace") is None:
        pytest.skip("NOT TESTED: no program 'strace' here")
    server = small.server
    assert server is not None
    db = world.database(resolve_commits="token", resolve_timeout=PATIENCE)
    await make_table(world, db)
    tracer = None
    outcome = None
    try:
        async with world.session(db) as session:
            session.add(User(username="ann"))
            await session.flush()
            tracer = failing_flushes(await session.scalar("SELECT pg_backend_pid()"))
    except ConnectionLost as error:
        outcome = error.outcome
    finally:
        if tracer is not None:
            tracer.send_signal(signal.SIGTERM)
            tracer.wait(10)

    assert outcome is None or outcome is Outcome.NOT_COMMITTED
    world.close_observer()
    world._observer = None
    assert session.outcome is (Outcome.COMMITTED if outcome is None else outcome)
    assert world.usernames() == (["ann"] if session.outcome is Outcome.COMMITTED else [])
    assert lent(db) == []
    await check_nothing_left(world, db)


def failing_flushes(pid: int) -> subprocess.Popen[bytes]:
    """From now on each flush of a process fails with EIO."""
    tracer = subprocess.Popen(
        ["strace", "-qq", "-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync,fsync:error=EIO",
         "-o", "/dev/null", "-p", str(pid)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    traced = f"TracerPid:\t{tracer.pid}"
    assert wait_until(lambda: traced in Path(f"/proc/{pid}/status").read_text(), 10)
    return tracer
