"""How a driver inserts many rows whose keys have to come back."""

from __future__ import annotations


def takes_arrays(driver: str) -> bool:
    """Whether an INSERT may be given an array for each column, as text, and keeps their order."""
    return driver in ("psycopg", "psycopg_async")


def knows_last_row(driver: str) -> bool:
    """Whether a row is inserted in this process, and the cursor knows its number."""
    return driver == "pysqlite"
