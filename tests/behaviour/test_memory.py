"""A database in memory is there for as long as its Database is in use."""

from __future__ import annotations

import gc
import sqlite3

import pytest

from hermetic import Database

pytestmark = pytest.mark.sqlite


def open_connections() -> set[int]:
    return {id(each) for each in gc.get_objects() if isinstance(each, sqlite3.Connection)}


def test_a_database_that_nobody_uses_opens_nothing() -> None:
    gc.collect()
    before = open_connections()
    database = Database("sqlite://")

    assert open_connections() <= before
    database.close()


def test_its_rows_outlive_the_connections_of_its_pool() -> None:
    with Database("sqlite://") as database:
        with database.session() as session:
            session.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        database.engine.dispose()
        with database.session() as session:
            assert session.scalar("SELECT answer FROM kept") == 42
