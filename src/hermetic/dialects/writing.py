"""How a driver inserts many rows whose keys have to come back."""

from __future__ import annotations


def takes_arrays(driver: str) -> bool:
    """Whether an INSERT may be given an array for each column, as text, and keeps their order."""
    return driver in ("psycopg", "psycopg_async")


def knows_last_row(driver: str) -> bool:
    """Whether a row is inserted in this process, and the cursor knows its number."""
    return driver == "pysqlite"


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
