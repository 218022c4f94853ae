"""The small works of the raw drivers under asyncio; what ``raw_threads`` says holds here too."""

from __future__ import annotations

from typing import Any

from bench.contenders import AsyncWorks
from bench.entity import COLUMNS, Sizes, values
from bench.works import CHANGE, GET, INSERT, NESTED, READONLY, SELECT

_SELECT = f"SELECT id, {COLUMNS} FROM bench_users WHERE id = "


def aiosqlite_reads(connection: Any, sizes: Sizes) -> AsyncWorks:
    """aiosqlite in autocommit mode; ``execute_fetchall`` is one hop to its thread and back."""
    execute = connection.execute_fetchall
    select = _SELECT + "?"

    async def get(count: int) -> None:
        for number in range(count):
            await execute("BEGIN IMMEDIATE")
            await execute(select, (1 + number % sizes.small,))
            await execute("COMMIT")

    async def readonly(count: int) -> None:
        for number in range(count):
            await execute(select, (1 + number % sizes.small,))

    async def nested(count: int) -> None:
        for _ in range(count):
            await execute("BEGIN IMMEDIATE")
            await execute("SAVEPOINT one")
            await execute(select, (1,))
            await execute("RELEASE one")
            await execute("COMMIT")

    return {GET: get, SELECT: get, READONLY: readonly, NESTED: nested}


def aiosqlite_writes(connection: Any, sizes: Sizes) -> AsyncWorks:
    """As ``aiosqlite_reads``."""
    execute = connection.execute_fetchall
    insert_one = f"INSERT INTO bench_people ({COLUMNS}) VALUES (?, ?, ?, ?, ?)"

    async def insert(count: int) -> None:
        for number in range(count):
            await execute("BEGIN IMMEDIATE")
            await execute(insert_one, tuple(values(number).values()))
            await execute("COMMIT")

    async def change(count: int) -> None:
        for number in range(count):
            key = 1 + number % sizes.small
            await execute("BEGIN IMMEDIATE")
            (row,) = await execute(_SELECT + "?", (key,))
            await execute("UPDATE bench_users SET age = ? WHERE id = ?", (row[3] + 1, key))
            await execute("COMMIT")

    return {INSERT: insert, CHANGE: change}


def psycopg_reads(connection: Any, reader: Any, sizes: Sizes) -> AsyncWorks:
    """psycopg's own transactions; the reader is in autocommit mode."""
    select = _SELECT + "%s"

    async def get(count: int) -> None:
        for number in range(count):
            await (await connection.execute(select, (1 + number % sizes.small,))).fetchone()
            await connection.commit()

    async def readonly(count: int) -> None:
        for number in range(count):
            await (await reader.execute(select, (1 + number % sizes.small,))).fetchone()

    async def nested(count: int) -> None:
        for _ in range(count):
            async with connection.transaction(), connection.transaction():
                await (await connection.execute(select, (1,))).fetchone()

    return {GET: get, SELECT: get, READONLY: readonly, NESTED: nested}


def psycopg_writes(connection: Any, sizes: Sizes) -> AsyncWorks:
    """As ``psycopg_reads``; an INSERT returns its key, as every contender's does."""
    insert_one = f"INSERT INTO bench_people ({COLUMNS}) VALUES (%s, %s, %s, %s, %s) RETURNING id"
    update = "UPDATE bench_users SET age = %s WHERE id = %s"

    async def insert(count: int) -> None:
        for number in range(count):
            cursor = await connection.execute(insert_one, tuple(values(number).values()))
            await cursor.fetchone()
            await connection.commit()

    async def change(count: int) -> None:
        for number in range(count):
            key = 1 + number % sizes.small
            row = await (await connection.execute(_SELECT + "%s", (key,))).fetchone()
            await connection.execute(update, (row[3] + 1, key))
            await connection.commit()

    return {INSERT: insert, CHANGE: change}


def asyncpg_reads(connection: Any, sizes: Sizes) -> AsyncWorks:
    """asyncpg's own transactions, and its cache of prepared statements."""
    select = _SELECT + "$1"

    async def get(count: int) -> None:
        for number in range(count):
            async with connection.transaction():
                await connection.fetchrow(select, 1 + number % sizes.small)

    async def readonly(count: int) -> None:
        for number in range(count):
            await connection.fetchrow(select, 1 + number % sizes.small)

    async def nested(count: int) -> None:
        for _ in range(count):
            async with connection.transaction(), connection.transaction():
                await connection.fetchrow(select, 1)

    return {GET: get, SELECT: get, READONLY: readonly, NESTED: nested}


def asyncpg_writes(connection: Any, sizes: Sizes) -> AsyncWorks:
    """As ``asyncpg_reads``."""
    insert_one = f"INSERT INTO bench_people ({COLUMNS}) VALUES ($1, $2, $3, $4, $5) RETURNING id"
    update = "UPDATE bench_users SET age = $1 WHERE id = $2"

    async def insert(count: int) -> None:
        for number in range(count):
            async with connection.transaction():
                await connection.fetchval(insert_one, *values(number).values())

    async def change(count: int) -> None:
        for number in range(count):
            key = 1 + number % sizes.small
            async with connection.transaction():
                row = await connection.fetchrow(_SELECT + "$1", key)
                await connection.execute(update, row[3] + 1, key)

    return {INSERT: insert, CHANGE: change}
