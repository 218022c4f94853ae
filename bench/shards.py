"""Shards: reading from several at once, beside one after the other, and what a scope costs.

    python bench/shards.py [ROUNDS] [MILLISECONDS]

Starts PostgreSQL with four databases. Each is read ROUNDS times (default 200) by a statement that
takes MILLISECONDS there (default 5): one after the other by scopes, side by side by ``gather`` and
``agather``, and by SQLAlchemy's ``ShardedSession``. Then a small read by key is timed, by a
Database of its own and by a shard, and a flush of one object whose key is declared and of one whose
key is not. Medians of the rounds, taken in turns.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sqlalchemy import create_engine, literal_column, select
from sqlalchemy.ext.horizontal_shard import ShardedSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from hermetic.shards import Shards
from tests.servers import PostgreSQLServer

_SHARDS = ("one", "two", "three", "four")


class Base(DeclarativeBase):
    pass


class Declared(Base):
    __tablename__ = "declared"

    id: Mapped[int] = mapped_column(primary_key=True)
    n: Mapped[int] = mapped_column(default=0)


class Plain(Base):
    __tablename__ = "plain"

    id: Mapped[int] = mapped_column(primary_key=True)
    n: Mapped[int] = mapped_column(default=0)


def in_turns(rounds: int, works: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """The median of each, in milliseconds."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 5):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            if number >= 5:  # connections are made in the first
                taken[name].append((time.perf_counter() - began) * 1000)
    return {name: statistics.median(each) for name, each in taken.items()}


def reading(urls: dict[str, str], rounds: int, milliseconds: float) -> None:
    statement = f"SELECT pg_sleep({milliseconds / 1000})"
    slow = select(Plain.id, literal_column(f"pg_sleep({milliseconds / 1000})"))
    engines = {name: create_engine(url) for name, url in urls.items()}

    def sharded() -> None:
        with ShardedSession(
            shards=engines,
            shard_chooser=lambda *_: "one",
            identity_chooser=lambda *_, **__: _SHARDS,
            execute_chooser=lambda _: _SHARDS,
        ) as session:
            session.execute(slow).all()

    with Shards(urls) as shards, asyncio.Runner() as runner:

        def in_turn() -> None:
            for name in _SHARDS:
                with shards.session(shard=name, readonly=True) as session:
                    session.execute(statement).all()

        found = in_turns(
            rounds,
            {
                "one after the other": in_turn,
                "ShardedSession": sharded,
                "gather": lambda: shards.gather(statement),
                "agather": lambda: runner.run(shards.agather(statement)),
            },
        )
        runner.run(shards.aclose())
    for engine in engines.values():
        engine.dispose()
    for name, each in found.items():
        times = found["one after the other"] / each
        print(f"4 shards of {milliseconds:g} ms, {name}: {each:.2f} ms, {times:.2f} times as fast")


def small(urls: dict[str, str], rounds: int) -> None:
    with Shards(urls, keys={Declared: "id"}) as shards:
        for db in shards.databases.values():
            Base.metadata.create_all(db.engine)
        key = next(each for each in range(100) if shards.of(each) == "one")
        db = shards.databases["one"]
        with db.session() as session:
            session.merge(Plain(id=key))
            session.merge(Declared(id=key))

        def read(unit: Callable[[], Any]) -> None:
            with unit() as session:
                session.get(Plain, key)

        def write(mapped: Any) -> None:
            with shards.session(key) as session:
                session.get(mapped, key).n += 1

        found = in_turns(
            rounds,
            {
                "a read, by a Database": lambda: read(db.session),
                "a read, by a shard": lambda: read(lambda: shards.session(key)),
                "a change, no key declared": lambda: write(Plain),
                "a change, its key declared": lambda: write(Declared),
            },
        )
    for name, each in found.items():
        print(f"{name}: {each * 1000:.0f} µs")


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    milliseconds = float(sys.argv[2]) if len(sys.argv) > 2 else 5.0
    with PostgreSQLServer() as server:
        urls = {}
        for name in _SHARDS:
            server.create_database(name)
            urls[name] = server.url(name, "postgresql")
            engine = create_engine(server.url(name, "postgresql+psycopg"))
            Base.metadata.create_all(engine)
            with engine.begin() as connection:
                connection.execute(Plain.__table__.insert(), {"id": 1000, "n": 0})
            engine.dispose()
        reading(urls, rounds, milliseconds)
        small(urls, 5 * rounds)


if __name__ == "__main__":
    main()
