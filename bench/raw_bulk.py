"""The works on many rows by the raw drivers: lists of tuples, ``executemany``.

sqlite3 and psycopg are used alike: ``begin`` and ``mark`` are all that differs. A key of an added
row is not returned, which ``executemany`` does not do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.contenders import SyncWorks
from bench.entity import COLUMNS, Sizes, values
from bench.measure import Prepared
from bench.works import (
    ADD_ALL,
    CHANGE_MANY,
    LAZY_MANY,
    LAZY_ONE,
    LOAD,
    ROWS_DATACLASS,
    ROWS_NAMEDTUPLE,
    ROWS_STRUCT,
    SELECTIN,
)

_ALL = f"SELECT id, {COLUMNS} FROM "
_CHILDREN = f"SELECT id, parent_id, {COLUMNS} FROM bench_children WHERE "


def load_turns(connection: Any, begin: str) -> SyncWorks:
    """``fetchall``: the floor of entities and of records."""

    def load(count: int) -> None:
        for _ in range(count):
            if begin:
                connection.execute(begin)
            connection.execute(f"{_ALL} bench_users").fetchall()
            connection.commit()

    return {LOAD: load, ROWS_DATACLASS: load, ROWS_NAMEDTUPLE: load, ROWS_STRUCT: load}


def write_turns(
    connection: Any, begin: str, mark: str, sizes: Sizes, empty: Callable[[], None]
) -> SyncWorks:
    """``executemany``."""
    insert = f"INSERT INTO bench_people ({COLUMNS}) VALUES ({', '.join([mark] * 5)})"
    select = f"{_ALL} bench_users WHERE id <= {mark}"
    update = f"UPDATE bench_users SET age = {mark} WHERE id = {mark}"
    rows = [tuple(values(number).values()) for number in range(1, sizes.rows + 1)]

    def add_all(count: int, _made: None) -> None:
        for _ in range(count):
            if begin:
                connection.execute(begin)
            connection.cursor().executemany(insert, rows)
            connection.commit()

    def change_many(count: int) -> None:
        for _ in range(count):
            if begin:
                connection.execute(begin)
            found = connection.execute(select, (sizes.changed,)).fetchall()
            connection.cursor().executemany(update, [(row[3] + 1, row[0]) for row in found])
            connection.commit()

    return {ADD_ALL: Prepared(lambda _: empty(), add_all), CHANGE_MANY: change_many}


def relation_turns(connection: Any, begin: str, mark: str, sizes: Sizes) -> SyncWorks:
    """The statements that a lazy load, and an eager one, cannot do without."""

    def each(count: int, first: str, then: str, column: int) -> None:
        for _ in range(count):
            if begin:
                connection.execute(begin)
            for row in connection.execute(first).fetchall():
                connection.execute(then, (row[column],)).fetchall()
            connection.commit()

    def lazy_one(count: int) -> None:
        first = f"{_CHILDREN} id <= {sizes.parents}"
        each(count, first, f"{_ALL} bench_parents WHERE id = {mark}", 1)

    def lazy_many(count: int) -> None:
        each(count, f"{_ALL} bench_parents", f"{_CHILDREN} parent_id = {mark}", 0)

    def selectin(count: int) -> None:
        for _ in range(count):
            if begin:
                connection.execute(begin)
            keys = [row[0] for row in connection.execute(f"{_ALL} bench_parents").fetchall()]
            for start in range(0, len(keys), 500):
                part = keys[start : start + 500]
                marks = ", ".join([mark] * len(part))
                connection.execute(f"{_CHILDREN} parent_id IN ({marks})", part).fetchall()
            connection.commit()

    return {LAZY_ONE: lazy_one, LAZY_MANY: lazy_many, SELECTIN: selectin}
