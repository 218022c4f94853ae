"""The small works of the raw drivers in threads: connections that are kept, SQL by hand, tuples.

They are the floor that nothing above a driver can reach, not a rival: no pool, no mapped object, no
scope. An empty scope has no counterpart here; a driver of which nothing is asked does nothing.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from bench.contenders import SyncWorks
from bench.entity import COLUMNS, Sizes, values
from bench.works import CHANGE, GET, INSERT, NESTED, READONLY, SELECT


def sqlite_reads(connection: sqlite3.Connection, sizes: Sizes) -> SyncWorks:
    """sqlite3 in autocommit mode, with BEGIN and COMMIT as statements."""
    execute = connection.execute
    select = f"SELECT id, {COLUMNS} FROM bench_users WHERE id = ?"

    def get(count: int) -> None:
        for number in range(count):
            execute("BEGIN IMMEDIATE")
            execute(select, (1 + number % sizes.small,)).fetchone()
            execute("COMMIT")

    def readonly(count: int) -> None:
        for number in range(count):
            execute(select, (1 + number % sizes.small,)).fetchone()

    def nested(count: int) -> None:
        for _ in range(count):
            execute("BEGIN IMMEDIATE")
            execute("SAVEPOINT one")
            execute(select, (1,)).fetchone()
            execute("RELEASE one")
            execute("COMMIT")

    return {GET: get, SELECT: get, READONLY: readonly, NESTED: nested}


def sqlite_writes(connection: sqlite3.Connection, sizes: Sizes) -> SyncWorks:
    """As ``sqlite_reads``."""
    execute = connection.execute

    def insert(count: int) -> None:
        for number in range(count):
            execute("BEGIN IMMEDIATE")
            execute(
                f"INSERT INTO bench_people ({COLUMNS}) VALUES (?, ?, ?, ?, ?)",
                tuple(values(number).values()),
            )
            execute("COMMIT")

    def change(count: int) -> None:
        for number in range(count):
            key = 1 + number % sizes.small
            execute("BEGIN IMMEDIATE")
            row = execute(f"SELECT id, {COLUMNS} FROM bench_users WHERE id = ?", (key,)).fetchone()
            execute("UPDATE bench_users SET age = ? WHERE id = ?", (row[3] + 1, key))
            execute("COMMIT")

    return {INSERT: insert, CHANGE: change}


def psycopg_reads(connection: Any, reader: Any, sizes: Sizes) -> SyncWorks:
    """psycopg's own transactions, BEGIN before the first statement; ``reader`` is in autocommit."""
    select = f"SELECT id, {COLUMNS} FROM bench_users WHERE id = %s"

    def get(count: int) -> None:
        for number in range(count):
            connection.execute(select, (1 + number % sizes.small,)).fetchone()
            connection.commit()

    def readonly(count: int) -> None:
        for number in range(count):
            reader.execute(select, (1 + number % sizes.small,)).fetchone()

    def nested(count: int) -> None:
        for _ in range(count):
            with connection.transaction(), connection.transaction():
                connection.execute(select, (1,)).fetchone()

    return {GET: get, SELECT: get, READONLY: readonly, NESTED: nested}


def psycopg_writes(connection: Any, sizes: Sizes) -> SyncWorks:
    """As ``psycopg_reads``; an INSERT returns its key, as every contender's does."""
    select = f"SELECT id, {COLUMNS} FROM bench_users WHERE id = %s"
    insert_one = f"INSERT INTO bench_people ({COLUMNS}) VALUES (%s, %s, %s, %s, %s) RETURNING id"

    def insert(count: int) -> None:
        for number in range(count):
            connection.execute(insert_one, tuple(values(number).values())).fetchone()
            connection.commit()

    def change(count: int) -> None:
        for number in range(count):
            key = 1 + number % sizes.small
            row = connection.execute(select, (key,)).fetchone()
            connection.execute("UPDATE bench_users SET age = %s WHERE id = %s", (row[3] + 1, key))
            connection.commit()

    return {INSERT: insert, CHANGE: change}
