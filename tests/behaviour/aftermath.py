"""What must be so after any end of a scope, however violent, and how cases wait for it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias
from uuid import uuid4

import pytest
from pymysql.constants import ER
from sqlalchemy import exc as sa_exc
from sqlalchemy import text

from hermetic import Database
from tests.backends import BACKENDS, Backend
from tests.servers.mariadb import transactions
from tests.servers.process import wait_until
from tests.worlds import PATIENCE, World

_AT_WORK: Final = {
    "postgresql": "SELECT pid, state, query FROM pg_stat_activity"
    " WHERE datname = current_database() AND backend_type = 'client backend'"
    " AND state <> 'idle' AND pid <> pg_backend_pid()",
    "mariadb": "SELECT id, command, info FROM information_schema.processlist"
    " WHERE db = database() AND id <> connection_id()",
}

Ask: TypeAlias = Callable[[str], Sequence[Any]]


def on(choice: Callable[[Backend], bool]) -> pytest.MarkDecorator:
    """Run a case of the ``world`` fixture on some of the drivers only."""
    chosen = [
        pytest.param(backend, id=backend.name, marks=getattr(pytest.mark, backend.family))
        for backend in BACKENDS
        if choice(backend)
    ]
    return pytest.mark.parametrize("backend", chosen)


on_postgresql: Final = on(lambda backend: backend.family == "postgresql")
on_mariadb: Final = on(lambda backend: backend.family == "mariadb")
on_sqlite: Final = on(lambda backend: backend.family == "sqlite")
on_servers: Final = on(lambda backend: backend.family != "sqlite")
on_asyncio: Final = on(lambda backend: backend.is_async)
on_servers_in_asyncio: Final = on(lambda backend: backend.is_async and backend.family != "sqlite")


async def eventually(
    world: World, condition: Callable[[], object], within: float = PATIENCE, every: float = 0.01
) -> Any:
    """The condition's first true answer, or its last."""
    deadline = time.monotonic() + within
    pause = threading.Event()
    while not (answer := condition()) and time.monotonic() < deadline:
        if world.is_async:
            await asyncio.sleep(every)
        else:
            pause.wait(every)
    return answer


async def happened(world: World, event: threading.Event) -> None:
    """Wait for another thread's event, with the loop going on."""
    if world.is_async:
        came = await asyncio.to_thread(event.wait, PATIENCE)
    else:
        came = event.wait(PATIENCE)
    assert came, "what was waited for did not happen"


def lent(db: Database) -> list[str]:
    """Everything of a Database that is open or lent at this moment, in words."""
    snapshot = db.snapshot()
    return [
        *(f"scope {scope.name} is {scope.state}" for scope in snapshot.scopes),
        *(f"pool {pool.name} has {pool.lent} out" for pool in snapshot.pools if pool.lent),
        *(f"{pool.waiting} wait for {pool.name}" for pool in snapshot.pools if pool.waiting),
        *(
            f"connection {connection.number} is {connection.state}"
            for connection in snapshot.connections
            if connection.state != "idle"
        ),
    ]


def at_work(world: World) -> list[str]:
    """The connections that, as the server sees it, are in a transaction or a statement."""
    if world.backend.family == "sqlite":
        return _locks(world)
    return [str(row) for row in busy(world.backend.family, world.seen)]


def busy(family: str, ask: Ask) -> list[tuple[int, str, str | None]]:
    """The same of a server, by its family: number, state, statement.

    :param ask: runs a statement on a connection to the database.
    """
    rows = [(int(a), str(b), c) for a, b, c in ask(_AT_WORK[family])]
    if family != "mariadb":
        return rows
    open_now = transactions(str(ask("SHOW ENGINE INNODB STATUS")[0][2]))
    return [row for row in rows if row[1] != "Sleep" or row[0] in open_now]


def kill(world: World, connection: int) -> None:
    """Have the server end a connection by its number, and wait until it is gone.

    KILL marks a thread of MariaDB's, which may carry out one more statement before it looks.
    """
    if world.backend.family == "postgresql":
        world.seen("SELECT pg_terminate_backend(:pid, 15000)", pid=connection)
        return
    try:
        world.do(f"KILL {connection}")
    except sa_exc.OperationalError as error:
        if error.orig is None or error.orig.args[0] != ER.NO_SUCH_THREAD:
            raise
    listed = f"SELECT id FROM information_schema.processlist WHERE id = {connection}"
    assert wait_until(lambda: not world.seen(listed), PATIENCE)


def _locks(world: World) -> list[str]:
    with world.observer.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 0")
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        except sa_exc.OperationalError as error:
            return [str(error.orig)]
        finally:
            connection.exec_driver_sql("PRAGMA busy_timeout = 5000")
        connection.exec_driver_sql("ROLLBACK")
    return []


async def check_nothing_left(world: World, db: Database | None = None) -> None:
    """Nothing is open, lent or locked, and the next scope gets the answer to its own question."""
    db = db or world.db
    assert await eventually(world, lambda: not lent(db)), lent(db)
    # a server notices the end of a connection, or of its transaction, a moment after the client
    assert await eventually(world, lambda: not at_work(world)), at_work(world)
    nonce = uuid4().hex
    async with world.session(db, propagation="requires_new") as session:
        answer = await session.scalar(text("SELECT :nonce"), {"nonce": nonce})
    assert answer == nonce
