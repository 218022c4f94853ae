"""What must be so after any end of a scope, however violent, and how cases wait for it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, Final
from uuid import uuid4

import pytest
from sqlalchemy import exc as sa_exc
from sqlalchemy import text

from hermetic import Database
from tests.backends import BACKENDS, Backend
from tests.worlds import PATIENCE, World

# A server notices the end of a connection, or of its transaction, a moment after the client.
_MOMENT: Final = 2.0

IN_TRANSACTION: Final = {
    "postgresql": "SELECT pid, state, query FROM pg_stat_activity"
    " WHERE datname = current_database() AND backend_type = 'client backend'"
    " AND state <> 'idle' AND pid <> pg_backend_pid()",
    "mariadb": "SELECT p.id, p.command, p.info FROM information_schema.processlist AS p"
    " LEFT JOIN information_schema.innodb_trx AS t ON t.trx_mysql_thread_id = p.id"
    " WHERE p.db = database() AND p.id <> connection_id()"
    " AND (t.trx_id IS NOT NULL OR p.command <> 'Sleep')",
}


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
    world: World, condition: Callable[[], object], within: float = _MOMENT, every: float = 0.01
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
    return [str(row) for row in world.seen(IN_TRANSACTION[world.backend.family])]


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
    await eventually(world, lambda: not lent(db))
    assert lent(db) == []
    # InnoDB renews its view of transactions only when nobody has looked at it for 0.1 s
    await eventually(world, lambda: not at_work(world), every=0.15)
    assert at_work(world) == []
    nonce = uuid4().hex
    async with world.session(db, propagation="requires_new") as session:
        answer = await session.scalar(text("SELECT :nonce"), {"nonce": nonce})
    assert answer == nonce
