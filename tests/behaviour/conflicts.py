"""Conflicts on demand: real errors of real servers, of the kind that a re-run mends."""

from __future__ import annotations

from typing import Any, Final

from hermetic import Deadlock, FaultError, LockTimeout, SerializationConflict
from tests.worlds import World

CONFLICTS: Final = {
    "postgresql": "DO $$ BEGIN RAISE EXCEPTION 'conflict' USING ERRCODE = '40001'; END $$",
    "mariadb": "SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213, MESSAGE_TEXT = 'conflict'",
    # Inside a transaction that holds the file.
    "sqlite": "PRAGMA wal_checkpoint",
}

CLASSES: Final[dict[str, type[FaultError]]] = {
    "postgresql": SerializationConflict,
    "mariadb": Deadlock,
    "sqlite": LockTimeout,
}


async def conflict(world: World, session: Any) -> None:
    """Have the server refuse a statement of this session because of some other transaction."""
    await session.execute(CONFLICTS[world.backend.family])
    raise AssertionError("the server did not object")


def conflict_class(world: World) -> type[FaultError]:
    return CLASSES[world.backend.family]
