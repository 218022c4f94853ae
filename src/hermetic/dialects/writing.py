"""How a driver inserts many rows whose keys have to come back."""

from __future__ import annotations

import sqlite3


def takes_arrays(driver: str) -> bool:
    """Whether an INSERT may be given an array for each column, as text, and keeps their order."""
    return driver in ("psycopg", "psycopg_async")


def knows_last_row(driver: str) -> bool:
    """Whether a row is inserted in this process, and the cursor knows its number."""
    return driver == "pysqlite"


def returns_of_lists(driver: str, returns: bool) -> bool:
    """Whether an INSERT of a list of rows, sent by its text, gives back the keys of them all.

    :param returns: whether the server has RETURNING (MariaDB 10.5).
    """
    return returns and driver in ("pymysql", "mysqldb")


def says_conflicts(database: str) -> str | None:
    """How an INSERT is told what becomes of a row whose key is there already; ``None`` where it
    cannot be told, or nobody here knows.

    :param database: SQLAlchemy's name of it.
    """
    if database in ("postgresql", "cockroachdb", "sqlite"):
        return "on conflict"  # PostgreSQL 9.5, SQLite 3.24, CockroachDB: its UPSERT is another one
    if database in ("mysql", "mariadb"):
        return "on duplicate key"
    return None


def copies(database: str, driver: str) -> bool:
    """Whether rows are best sent by COPY.

    :param database: the family's name, or SQLAlchemy's.
    """
    return database == "postgresql" and driver in ("psycopg", "psycopg_async", "asyncpg")


def unnests(database: str, driver: str) -> bool:
    """Whether a statement may be given an array for each column, by the driver's own types."""
    return copies(database, driver)


def wants_alike(driver: str) -> bool:
    """Whether all values of an array have to be of one Python type."""
    return driver in ("psycopg", "psycopg_async")


def takes_columns(database: str, driver: str) -> bool:
    """Whether rows that are changed are best given by columns."""
    return unnests(database, driver) or joins_rows(database)


def takes_many(driver: str) -> bool:
    """Whether the driver's ``executemany`` is its best way to insert rows, given as tuples."""
    return driver in ("pysqlite", "aiosqlite", "pymysql", "asyncmy", "mysqldb")


def goes_one_by_one(driver: str) -> bool:
    """Whether ``executemany`` takes rows from an iterator, and stops at the one that is refused."""
    return driver in ("pysqlite", "aiosqlite")


def lists_numbers(driver: str) -> bool:
    """Whether one parameter, a list in JSON, is as many numbers for a statement (SQLite 3.38)."""
    return driver in ("pysqlite", "aiosqlite") and sqlite3.sqlite_version_info >= (3, 38)


def lists_values(driver: str) -> bool:
    """Whether many UPDATEs are one, joined with a list of VALUES (SQLite 3.33)."""
    return driver in ("pysqlite", "aiosqlite") and sqlite3.sqlite_version_info >= (3, 33)


def survives_refusal(database: str) -> bool:
    """Whether a statement that is refused leaves its transaction as it was before, so that the row
    in question can be looked for.
    """
    return database in ("sqlite", "mysql", "mariadb")


def joins_rows(database: str) -> bool:
    """Whether many UPDATEs by key are one with a derived table, as the driver would send each by
    itself.
    """
    return database in ("mysql", "mariadb")
