"""Frames: read and written, beside pandas, ADBC, COPY and the drivers, in one run.

    python bench/frames.py                      # 500 000 rows of 7 columns
    python bench/frames.py --rows 100000 --rounds 2
    python bench/frames.py --batches 10000000   # rows of the run that memory is watched in
    python bench/frames.py --only mariadb       # the other figures stay those of the last run

Starts PostgreSQL and MariaDB. All of a case take turns, after a warm-up; ratios are those of the
medians. Writing is in one transaction, which is rolled back after the time was taken. ADBC is on a
connection of its own. Writes ``bench/results/frames.json``, of which
``python -m tools.frames_page`` makes the table of docs/frames.md.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

import pandas as pd  # noqa: E402
import psycopg  # noqa: E402
import pyarrow as pa  # noqa: E402
from sqlalchemy import create_engine, make_url, text  # noqa: E402
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column  # noqa: E402

from hermetic import Database  # noqa: E402
from hermetic.fast.modules import uncompiled  # noqa: E402
from hermetic.frames import batches, read, write  # noqa: E402
from tests.servers import MariaDBServer, PostgreSQLServer  # noqa: E402

RESULTS = ROOT / "bench" / "results" / "frames.json"
_COPIED = 1 << 17


class Base(DeclarativeBase):
    pass


class Person(Base):
    """Seven columns of types that every database has."""

    __tablename__ = "people"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    email: Mapped[str]
    points: Mapped[int]
    ratio: Mapped[float]
    score: Mapped[float]
    note: Mapped[str | None]


# PostgreSQL's have a decimal, a date and a moment among them
_PEOPLE = """
CREATE TABLE people (id int PRIMARY KEY, name text, email text, balance numeric(12, 2), born date,
                     seen timestamptz, score float8)
"""
_FILLED = """
INSERT INTO people
SELECT i, 'name' || i, 'mail' || i || '@example.org', mod(i, 100000) / 100.0,
       date '1970-01-01' + mod(i, 20000), timestamptz 'epoch' + i * interval '1 second', i / 3.0
FROM generate_series(1, :rows) AS s (i)
"""


def plain_people(rows: int) -> Any:
    numbers = range(1, rows + 1)
    return pa.table(
        {
            "id": pa.array(numbers, pa.int32()),
            "name": [f"name{n}" for n in numbers],
            "email": [f"mail{n}@example.org" for n in numbers],
            "points": pa.array([n % 100_000 for n in numbers], pa.int32()),
            "ratio": [n / 7 for n in numbers],
            "score": [n / 3 for n in numbers],
            "note": [None if n % 5 else "x" * (n % 20) for n in numbers],
        }
    )


def in_turns(rounds: int, works: dict[str, Callable[[], float]]) -> dict[str, float]:
    """The median of each, in seconds."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        names = list(works)
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            seconds = works[name]()
            if number:
                taken[name].append(seconds)
    return {name: statistics.median(each) for name, each in taken.items()}


def timed(work: Callable[[], Any]) -> Callable[[], float]:
    def run() -> float:
        began = time.perf_counter()
        found = work()
        seconds = time.perf_counter() - began
        del found
        return seconds

    return run


def reading(db: Database, form: Any) -> Callable[[], float]:
    def run() -> float:
        with db.session() as session:
            session.connection()
            return timed(lambda: read(session, "SELECT * FROM people", form))()

    return run


def writing(db: Database, frame: Any, target: Any) -> Callable[[], float]:
    def run() -> float:
        with db.session() as session:
            session.connection()
            seconds = timed(lambda: write(session, frame, target))()
            session.rollback_only()
        return seconds

    return run


def by_pandas(engine: Any) -> Callable[[], float]:
    def run() -> float:
        with engine.connect() as connection:
            return timed(lambda: pd.read_sql("SELECT * FROM people", connection))()

    return run


def to_sql(engine: Any, frame: Any, of: int) -> Callable[[], float]:
    """pandas' writing of a part of the rows, counted as for all of them."""
    part = frame.iloc[: len(frame) // of]

    def run() -> float:
        with engine.connect() as connection:
            connection.begin()  # otherwise pandas commits
            seconds = timed(
                lambda: part.to_sql("copies", connection, if_exists="append", index=False)
            )()
            connection.rollback()
        return seconds * of

    return run


def copying(engine: Any) -> Callable[[], float]:
    """What the server needs for the same rows without anybody to send them."""

    def run() -> float:
        with engine.connect() as connection:
            connection.begin()
            insert = text("INSERT INTO copies SELECT * FROM people")
            seconds = timed(lambda: connection.execute(insert))()
            connection.rollback()
        return seconds

    return run


# ---------------------------------------------------------------- PostgreSQL


def postgresql(url: str, rows: int, rounds: int) -> dict[str, dict[str, float]]:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(_PEOPLE))
        connection.execute(text(_FILLED), {"rows": rows})
        connection.execute(text("CREATE TABLE copies (LIKE people INCLUDING ALL)"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE people"))
    made = make_url(url)
    uri = (
        f"postgresql://{made.username}:{quote(made.password or '', safe='')}"
        f"@{made.host}:{made.port}/{made.database}"
    )
    db = Database(url)
    with db.session() as session:
        table = read(session, "SELECT * FROM people", "arrow")
        frame = read(session, "SELECT * FROM people", coerce_float=True)
    with psycopg.connect(uri) as connection:
        copied = _copied_out(connection)

    def bare() -> float:
        with psycopg.connect(uri) as connection:
            seconds = timed(lambda: _copied_in(connection, copied))()
            connection.rollback()
        return seconds

    found = {
        "read": in_turns(
            rounds,
            {
                "arrow": reading(db, "arrow"),
                "polars": reading(db, "polars"),
                "pandas": reading(db, "pandas"),
                "read_sql": by_pandas(engine),
                **_adbc(uri),
            },
        ),
        "write": in_turns(
            rounds,
            {
                "arrow": writing(db, table, "copies"),
                "COPY": bare,
                "to_sql": to_sql(engine, frame, 5),
            },
        ),
    }
    db.close()
    engine.dispose()
    return found


def _adbc(uri: str) -> dict[str, Callable[[], float]]:
    try:
        import adbc_driver_postgresql.dbapi as adbc
    except ImportError:
        return {}
    connection = adbc.connect(uri)

    def run() -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM people")
            return cursor.fetch_arrow_table()

    return {"ADBC": timed(run)}


def _copied_out(connection: Any) -> bytes:
    with (
        connection.cursor() as cursor,
        cursor.copy("COPY people TO STDOUT (FORMAT binary)") as copy,
    ):
        return b"".join(copy)


def _copied_in(connection: Any, data: bytes) -> None:
    with (
        connection.cursor() as cursor,
        cursor.copy("COPY copies FROM STDIN (FORMAT binary)") as copy,
    ):
        for start in range(0, len(data), _COPIED):
            copy.write(data[start : start + _COPIED])


# ---------------------------------------------------------------- SQLite, MariaDB


def sqlite(folder: Path, rows: int, rounds: int) -> dict[str, dict[str, float]]:
    people, path = plain_people(rows), folder / "bench.db"
    db = Database(f"sqlite:///{path}")
    Base.metadata.create_all(db.engine)
    with db.session() as session:
        write(session, people, Person)
    own = folder / "own.db"
    raw = sqlite3.connect(own, isolation_level=None)
    raw.execute("PRAGMA journal_mode = WAL")
    with sqlite3.connect(path) as source:
        (made,) = source.execute("SELECT sql FROM sqlite_schema WHERE name = 'people'").fetchone()
    source.close()
    raw.execute(made)
    given = list(zip(*(column.to_pylist() for column in people.columns), strict=True))
    insert = "INSERT INTO people VALUES (?, ?, ?, ?, ?, ?, ?)"

    def bare() -> float:
        raw.execute("BEGIN")
        seconds = timed(lambda: raw.executemany(insert, given))()
        raw.execute("ROLLBACK")
        return seconds

    def emptied() -> float:
        with db.session() as session:
            session.execute("DELETE FROM people")
            seconds = timed(lambda: write(session, people, Person))()
            session.rollback_only()
        return seconds

    def fetched() -> Any:
        with sqlite3.connect(path) as source:
            found = source.execute("SELECT * FROM people").fetchall()
        source.close()
        return found

    def selected() -> float:
        with db.session() as session:
            session.connection()
            return timed(lambda: read(session, Person, "arrow"))()

    found = {
        "read": in_turns(rounds, {"arrow": selected, "fetchall": timed(fetched)}),
        "write": in_turns(rounds, {"arrow": emptied, "executemany": bare}),
    }
    raw.close()
    db.close()
    return found


def mariadb(url: str, rows: int, rounds: int) -> dict[str, dict[str, float]]:
    people = plain_people(rows)
    engine = create_engine(url)
    with engine.begin() as connection:
        for name in ("people", "copies"):
            connection.execute(
                text(
                    f"CREATE TABLE {name} (id int PRIMARY KEY, name varchar(50), "
                    "email varchar(50), points int, ratio double, score double, note varchar(50))"
                )
            )
    # MariaDB takes its time for a rollback of so many rows
    db = Database(url, cleanup_timeout=60)
    with db.session() as session:
        write(session, people, "people")
    found = {
        "read": in_turns(
            rounds, {"arrow": reading(db, "arrow"), "read_sql": by_pandas(engine)}
        ),
        "write": in_turns(
            rounds,
            {"arrow": writing(db, people, "copies"),
             "INSERT SELECT": copying(engine),
             "to_sql": to_sql(engine, people.to_pandas(), 5)},
        ),
    }  # fmt: skip
    db.close()
    engine.dispose()
    return found


# ---------------------------------------------------------------- memory


def memory(url: str, rows: int) -> dict[str, float]:
    """Megabytes that the process has grown by, after a tenth of the rows and after all."""
    statement = (
        "SELECT i, 'name' || i AS name, i / 3.0::float8 AS score FROM generate_series(1, :n) s (i)"
    )
    with Database(url) as db:
        before = _peak()
        grown: dict[str, float] = {}
        for part in (rows // 10, rows):
            with db.session() as session:
                for frame in batches(session, statement, "arrow", params={"n": part}):
                    del frame
            grown[str(part)] = _peak() - before
    return grown


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=10_000_000)
    parser.add_argument("--only", choices=("postgresql", "sqlite", "mariadb"), default="")
    given = parser.parse_args()
    if uncompiled():
        print("not compiled:", ", ".join(uncompiled()))
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    kept = json.loads(RESULTS.read_text()) if given.only and RESULTS.exists() else {}
    found: dict[str, Any] = {**kept, "rows": given.rows, "rounds": given.rounds}
    if given.only in ("", "postgresql"):
        with PostgreSQLServer() as server:
            server.create_database("bench")
            url = server.url("bench")
            found["memory"] = memory(url, given.batches)
            found["postgresql"] = postgresql(url, given.rows, given.rounds)
    if given.only in ("", "sqlite"):
        with tempfile.TemporaryDirectory(prefix="hermetic-bench-", dir=place) as folder:
            found["sqlite"] = sqlite(Path(folder), given.rows, given.rounds)
    if given.only in ("", "mariadb"):
        with MariaDBServer() as maria:
            maria.create_database("bench")
            found["mariadb"] = mariadb(maria.url("bench"), given.rows, given.rounds)
    RESULTS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
