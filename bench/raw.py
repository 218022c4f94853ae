"""The work of the raw drivers: one connection that is kept, SQL by hand, a tuple for a row.

It is the floor that nothing above a driver can reach, not a rival: no pool, no mapped object, no
scope. An empty scope has no counterpart here; a driver of which nothing is asked does nothing.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from bench.entity import SELECT
from bench.measure import AsyncTurn, SyncTurn
from bench.work import GET, NESTED


def sqlite_turns(connection: sqlite3.Connection) -> dict[str, SyncTurn]:
    """sqlite3 in autocommit mode, with BEGIN and COMMIT as statements."""
    execute = connection.execute
    select = SELECT + "?"

    def get(count: int) -> None:
        for _ in range(count):
            execute("BEGIN IMMEDIATE")
            execute(select, (1,)).fetchone()
            execute("COMMIT")

    def nested(count: int) -> None:
        for _ in range(count):
            execute("BEGIN IMMEDIATE")
            execute("SAVEPOINT one")
            execute(select, (1,)).fetchone()
            execute("RELEASE one")
            execute("COMMIT")

    return {GET: get, NESTED: nested}


def aiosqlite_turns(connection: Any) -> dict[str, AsyncTurn]:
    """aiosqlite in autocommit mode; ``execute_fetchall`` is one hop to its thread and back."""
    execute = connection.execute_fetchall
    select = SELECT + "?"

    async def get(count: int) -> None:
        for _ in range(count):
            await execute("BEGIN IMMEDIATE")
            await execute(select, (1,))
            await execute("COMMIT")

    async def nested(count: int) -> None:
        for _ in range(count):
            await execute("BEGIN IMMEDIATE")
            await execute("SAVEPOINT one")
            await execute(select, (1,))
            await execute("RELEASE one")
            await execute("COMMIT")

    return {GET: get, NESTED: nested}


def psycopg_turns(connection: Any) -> dict[str, SyncTurn]:
    """psycopg's own transactions: BEGIN goes with the first statement."""
    select = SELECT + "%s"

    def get(count: int) -> None:
        for _ in range(count):
            connection.execute(select, (1,)).fetchone()
            connection.commit()

    def nested(count: int) -> None:
        for _ in range(count):
            with connection.transaction(), connection.transaction():
                connection.execute(select, (1,)).fetchone()

    return {GET: get, NESTED: nested}


def async_psycopg_turns(connection: Any) -> dict[str, AsyncTurn]:
    """As ``psycopg_turns``."""
    select = SELECT + "%s"

    async def get(count: int) -> None:
        for _ in range(count):
            await (await connection.execute(select, (1,))).fetchone()
            await connection.commit()

    async def nested(count: int) -> None:
        for _ in range(count):
            async with connection.transaction(), connection.transaction():
                await (await connection.execute(select, (1,))).fetchone()

    return {GET: get, NESTED: nested}


def asyncpg_turns(connection: Any) -> dict[str, AsyncTurn]:
    """asyncpg's own transactions, and its cache of prepared statements."""
    select = SELECT + "$1"

    async def get(count: int) -> None:
        for _ in range(count):
            async with connection.transaction():
                await connection.fetchrow(select, 1)

    async def nested(count: int) -> None:
        for _ in range(count):
            async with connection.transaction(), connection.transaction():
                await connection.fetchrow(select, 1)

    return {GET: get, NESTED: nested}
