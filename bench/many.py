"""Many rows written by ``insert_many``, ``update_many``, ``delete_many``, beside the drivers.

    python bench/many.py [ROWS] [ROUNDS]

ROWS (default 50000) are given as dicts and as NamedTuples. The drivers have them as tuples, by
their best way: ``executemany`` on SQLite and with PyMySQL, which makes one INSERT of many; COPY
with psycopg, by ``write_row``, and asyncpg, by ``copy_records_to_table``. What PostgreSQL's drivers
have no way for (an UPDATE of many rows, rows in conflict) is the statement with arrays that one
would write by hand. SQLAlchemy's is ``session.execute(insert(Class), dicts)``. Contenders take
turns; each round is a transaction, committed. The ratios are to the driver of the same round; their
medians count.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

from sqlalchemy import create_engine, delete, insert, make_url, update  # noqa: E402
from sqlalchemy.orm import Session  # noqa: E402

from bench.entity import COLUMNS, Entities, declare, values  # noqa: E402
from hermetic import Database  # noqa: E402
from tests.servers import MariaDBServer, PostgreSQLServer  # noqa: E402

_TABLE = "bench_people"
_NAMES = COLUMNS.split(", ")
# the aim: at most so many times the driver's own time
GOAL = 1.3

Turn = Callable[[], Any]


class Person(NamedTuple):
    username: str
    email: str
    age: int
    active: bool
    score: float


class Rows:
    """The same rows in every form."""

    def __init__(self, count: int) -> None:
        self.dicts = [values(number) for number in range(1, count + 1)]
        self.records = [Person(**each) for each in self.dicts]
        self.tuples = [tuple(each) for each in self.records]
        self.keyed = [{"id": number, **each} for number, each in enumerate(self.dicts, 1)]
        self.changes = [{"id": number, "age": number % 90} for number in range(1, count + 1)]
        self.pairs = [(each["age"], each["id"]) for each in self.changes]
        self.keys = list(range(1, count + 1))


def _marks(mark: str) -> str:
    return ", ".join([mark] * len(_NAMES))


# ---------------------------------------------------------------- the drivers


def raw_sqlite(connection: Any, rows: Rows) -> dict[str, Turn]:
    def do(sql: str, given: Any) -> Turn:
        def turn() -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(sql, given)
            connection.execute("COMMIT")

        return turn

    def keys() -> None:
        connection.execute("BEGIN IMMEDIATE")
        cursor = connection.cursor()
        found = []
        for row in rows.tuples:
            cursor.execute(sql, row)
            found.append(cursor.lastrowid)
        connection.execute("COMMIT")

    sql = f"INSERT INTO {_TABLE} ({COLUMNS}) VALUES ({_marks('?')})"
    insert_ = do(sql, rows.tuples)
    upsert = f"INSERT INTO {_TABLE} (id, {COLUMNS}) VALUES (?, {_marks('?')}) ON CONFLICT (id) DO "
    keyed = [tuple(each.values()) for each in rows.keyed]
    return {
        "insert dicts": insert_,
        "insert tuples": insert_,
        "insert, keys back": keys,
        "insert or update": do(upsert + "UPDATE SET age = excluded.age", keyed),
        "update": do(f"UPDATE {_TABLE} SET age = ? WHERE id = ?", rows.pairs),
        "delete": do(f"DELETE FROM {_TABLE} WHERE id = ?", [(key,) for key in rows.keys]),
    }


_ARRAYS = "unnest({0}::text[], {1}::text[], {2}::int[], {3}::bool[], {4}::float[])"


def _statements(marks: list[str]) -> dict[str, str]:
    taken = _ARRAYS.format(*marks)
    return {
        "insert, keys back": f"INSERT INTO {_TABLE} ({COLUMNS}) SELECT * FROM {taken} RETURNING id",
        "insert or update": f"INSERT INTO {_TABLE} (id, {COLUMNS}) SELECT * FROM unnest("
        f"{marks[5]}::int[], {taken.removeprefix('unnest(')} ON CONFLICT (id) "
        "DO UPDATE SET age = excluded.age",
        "update": f"UPDATE {_TABLE} SET age = given.age FROM unnest({marks[0]}::int[], "
        f"{marks[1]}::int[]) AS given (age, id) WHERE {_TABLE}.id = given.id",
        "delete": f"DELETE FROM {_TABLE} WHERE id = ANY({marks[0]}::int[])",
    }


def _arrays(rows: Rows) -> dict[str, list[Any]]:
    columns = [list(each) for each in zip(*rows.tuples, strict=True)]
    return {
        "insert, keys back": columns,
        "insert or update": [*columns, rows.keys],
        "update": [list(each) for each in zip(*rows.pairs, strict=True)],
        "delete": [rows.keys],
    }


def raw_psycopg(connection: Any, rows: Rows) -> dict[str, Turn]:
    def copy() -> None:
        with connection.cursor().copy(f"COPY {_TABLE} ({COLUMNS}) FROM STDIN") as sink:
            for row in rows.tuples:
                sink.write_row(row)
        connection.commit()

    def do(sql: str, given: Any) -> Turn:
        named = {f"a{at}": each for at, each in enumerate(given)}

        def turn() -> None:
            cursor = connection.execute(sql, named)
            if cursor.description:
                cursor.fetchall()
            connection.commit()

        return turn

    statements = _statements([f"%(a{at})s" for at in range(6)])
    arrays = _arrays(rows)
    return {
        "insert dicts": copy,
        "insert tuples": copy,
        **{work: do(sql, arrays[work]) for work, sql in statements.items()},
    }


def raw_pymysql(connection: Any, rows: Rows) -> dict[str, Turn]:
    def do(sql: str, given: Any) -> Turn:
        def turn() -> None:
            connection.begin()
            connection.cursor().executemany(sql, given)
            connection.commit()

        return turn

    def in_parts() -> None:
        connection.begin()
        for start in range(0, len(rows.keys), 5000):
            part = rows.keys[start : start + 5000]
            marks = ", ".join(["%s"] * len(part))
            connection.cursor().execute(f"DELETE FROM {_TABLE} WHERE id IN ({marks})", part)
        connection.commit()

    insert_ = do(f"INSERT INTO {_TABLE} ({COLUMNS}) VALUES ({_marks('%s')})", rows.tuples)
    keyed = [tuple(each.values()) for each in rows.keyed]
    return {
        "insert dicts": insert_,
        "insert tuples": insert_,
        "insert, keys back": insert_,
        "insert or update": do(
            f"INSERT INTO {_TABLE} (id, {COLUMNS}) VALUES (%s, {_marks('%s')}) "
            "ON DUPLICATE KEY UPDATE age = VALUES(age)",
            keyed,
        ),
        "update": do(f"UPDATE {_TABLE} SET age = %s WHERE id = %s", rows.pairs),
        "delete": in_parts,
    }


def raw_asyncpg(connection: Any, rows: Rows) -> dict[str, Turn]:
    async def copy() -> None:
        async with connection.transaction():
            await connection.copy_records_to_table(_TABLE, records=rows.tuples, columns=_NAMES)

    def do(sql: str, given: Any) -> Callable[[], Awaitable[None]]:
        async def turn() -> None:
            async with connection.transaction():
                await connection.fetch(sql, *given)

        return turn

    statements = _statements([f"${at + 1}" for at in range(6)])
    arrays = _arrays(rows)
    return {
        "insert dicts": copy,
        "insert tuples": copy,
        **{work: do(sql, arrays[work]) for work, sql in statements.items()},
    }


# ---------------------------------------------------------------- SQLAlchemy and hermetic


def by_sqlalchemy(engine: Any, entities: Entities, rows: Rows) -> dict[str, Turn]:
    person = entities.person

    def do(statement: Any, given: Any, *, reads: bool = False) -> Turn:
        def turn() -> None:
            with Session(engine) as session, session.begin():
                result = session.execute(statement, given)
                if reads:
                    result.all()

        return turn

    keys = insert(person).returning(person.id, sort_by_parameter_order=True)
    return {
        "insert dicts": do(insert(person), rows.dicts),
        "insert, keys back": do(keys, rows.dicts, reads=True),
        "update": do(update(person), rows.changes),
        "delete": do(delete(person).where(person.id.in_(rows.keys)), {}),
    }


def by_hermetic(db: Database, entities: Entities, rows: Rows) -> dict[str, Turn]:
    from hermetic import OnConflict

    def do(method: str, given: Any, **options: Any) -> Turn:
        def turn() -> None:
            with db.session() as session:
                getattr(session, method)(entities.person, given, **options)

        return turn

    return _hermetic(do, rows, OnConflict(update=["age"]))


def by_async_hermetic(db: Database, entities: Entities, rows: Rows) -> dict[str, Turn]:
    from hermetic import OnConflict

    def do(method: str, given: Any, **options: Any) -> Callable[[], Awaitable[None]]:
        async def turn() -> None:
            async with db.session() as session:
                await getattr(session, method)(entities.person, given, **options)

        return turn

    return _hermetic(do, rows, OnConflict(update=["age"]))


def _hermetic(do: Callable[..., Any], rows: Rows, conflict: Any) -> dict[str, Turn]:
    return {
        "insert dicts": do("insert_many", rows.dicts),
        "insert tuples": do("insert_many", rows.records),
        "insert, keys back": do("insert_many", rows.dicts, returning=True),
        "insert or update": do("insert_many", rows.keyed, on_conflict=conflict),
        "update": do("update_many", rows.changes),
        "delete": do("delete_many", rows.keys),
    }


# ---------------------------------------------------------------- rounds

WORKS = (
    *("insert dicts", "insert tuples", "insert, keys back"),
    *("insert or update", "update", "delete"),
)
# works for which the table is empty; for the others it has the rows
_EMPTY = frozenset(WORKS[:3])


class Table:
    """The table as a work finds it."""

    def __init__(self, url: str, entities: Entities, rows: Rows) -> None:
        self._engine = create_engine(url)
        self._person = entities.person
        self._rows = rows
        entities.base.metadata.create_all(self._engine)

    def prepare(self, work: str) -> None:
        with self._engine.begin() as connection:
            if self._engine.dialect.name == "sqlite":
                connection.exec_driver_sql(f"DELETE FROM {_TABLE}")
            else:
                connection.exec_driver_sql(f"TRUNCATE TABLE {_TABLE}")
            if work not in _EMPTY:
                connection.execute(insert(self._person), self._rows.keyed)
        if self._engine.dialect.name == "postgresql" and work not in _EMPTY:
            with self._engine.connect() as connection:
                autocommit = connection.execution_options(isolation_level="AUTOCOMMIT")
                autocommit.exec_driver_sql(f"VACUUM ANALYZE {_TABLE}")

    def close(self) -> None:
        self._engine.dispose()


async def measured(
    name: str, rounds: int, table: Table, contenders: dict[str, dict[str, Turn]]
) -> dict[str, dict[str, float]]:
    """Seconds by work and contender: of the driver, and as ratios of the others."""
    found: dict[str, dict[str, float]] = {}
    for work in WORKS:
        taking = {who: turns[work] for who, turns in contenders.items() if work in turns}
        taken: dict[str, list[float]] = {who: [] for who in taking}
        for number in range(rounds + 1):
            order = list(taking)[number % len(taking) :] + list(taking)[: number % len(taking)]
            for who in order:
                table.prepare(work)
                gc.collect()
                began = time.perf_counter()
                result = taking[who]()
                if asyncio.iscoroutine(result):
                    await result
                if number:  # the first round is for connections and caches
                    taken[who].append(time.perf_counter() - began)
        driver = taken.pop("driver")
        found[f"{name}/{work}"] = {
            "seconds": statistics.median(driver),
            **{
                who: statistics.median(a / b for a, b in zip(times, driver, strict=True))
                for who, times in taken.items()
            },
        }
        _show(f"{name}/{work}", found[f"{name}/{work}"])
    return found


def _show(work: str, figures: dict[str, float]) -> None:
    ratios = {who: value for who, value in figures.items() if who != "seconds"}
    told = "  ".join(f"{who} {value:5.2f} x" for who, value in ratios.items())
    print(f"{work:32} driver {figures['seconds'] * 1000:8.1f} ms  {told}", flush=True)


async def _of_threads(
    name: str, url: str, connect: Callable[[], Any], raw: Any, rows: Rows, rounds: int
) -> dict[str, dict[str, float]]:
    ours, theirs = declare(), declare()
    table, connection, db = Table(url, theirs, rows), connect(), Database(url)
    engine = create_engine(url)
    try:
        contenders = {
            "driver": raw(connection, rows),
            "hermetic": by_hermetic(db, ours, rows),
            "SQLAlchemy": by_sqlalchemy(engine, theirs, rows),
        }
        return await measured(name, rounds, table, contenders)
    finally:
        connection.close()
        db.close()
        engine.dispose()
        table.close()


async def _of_asyncpg(url: str, rows: Rows, rounds: int) -> dict[str, dict[str, float]]:
    import asyncpg

    ours, theirs = declare(), declare()
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    table, connection = Table(url, theirs, rows), await asyncpg.connect(plain)
    db = Database(url.replace("+psycopg", "+asyncpg"))
    try:
        contenders = {
            "driver": raw_asyncpg(connection, rows),
            "hermetic": by_async_hermetic(db, ours, rows),
        }
        return await measured("asyncpg", rounds, table, contenders)
    finally:
        await connection.close()
        await db.aclose()
        table.close()


async def run(count: int, rounds: int, only: str = "") -> dict[str, dict[str, float]]:
    """All works of all drivers: seconds of the driver, ratios of the others."""
    found: dict[str, dict[str, float]] = {}
    rows = Rows(count)
    if only in ("", "sqlite"):
        found |= await _sqlite(rows, rounds)
    if only in ("", "psycopg", "asyncpg"):
        found |= await _postgresql(rows, rounds, only)
    if only in ("", "pymysql"):
        found |= await _mariadb(rows, rounds)
    return found


async def _sqlite(rows: Rows, rounds: int) -> dict[str, dict[str, float]]:
    import sqlite3
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/many.db"

        def connect() -> Any:
            made = sqlite3.connect(path, isolation_level=None)
            made.execute("PRAGMA journal_mode = WAL")
            made.execute("PRAGMA synchronous = NORMAL")
            return made

        return await _of_threads("sqlite", f"sqlite:///{path}", connect, raw_sqlite, rows, rounds)


async def _postgresql(rows: Rows, rounds: int, only: str) -> dict[str, dict[str, float]]:
    import psycopg

    found: dict[str, dict[str, float]] = {}
    with PostgreSQLServer() as server:
        server.create_database("many")
        url = server.url("many", "postgresql+psycopg")
        parts = make_url(url)
        if only in ("", "psycopg"):

            def connect() -> Any:
                return psycopg.connect(
                    **parts.translate_connect_args(username="user", database="dbname")
                )

            found |= await _of_threads("psycopg", url, connect, raw_psycopg, rows, rounds)
        if only in ("", "asyncpg"):
            found |= await _of_asyncpg(url, rows, rounds)
    return found


async def _mariadb(rows: Rows, rounds: int) -> dict[str, dict[str, float]]:
    import pymysql

    with MariaDBServer() as server:
        server.create_database("many")
        url = server.url("many", "mysql+pymysql")
        parts = make_url(url)

        def connect() -> Any:
            arguments = parts.translate_connect_args(username="user")
            return pymysql.connect(**{**arguments, "port": int(arguments["port"])})

        return await _of_threads("pymysql", url, connect, raw_pymysql, rows, rounds)


def main() -> int:
    numbers = [int(each) for each in sys.argv[1:] if each.isdigit()]
    only = next((each for each in sys.argv[1:] if not each.isdigit()), "")
    count, rounds = [*numbers, *[50_000, 5][len(numbers) :]][:2]
    found = asyncio.run(run(count, rounds, only))
    late = {work: each["hermetic"] for work, each in found.items() if each["hermetic"] > GOAL}
    for work, ratio in late.items():
        print(f"above {GOAL}: {work} {ratio:.2f}")
    folder = ROOT / "bench" / "results"
    (folder / "many.json").write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
