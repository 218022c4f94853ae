"""The cache of reads: what a hit costs, and whether anything old is ever read.

    python bench/cache.py [--operations N] [--region memory|redis|both] [--speed-only]

Starts PostgreSQL and Redis. First a read from the cache is timed against the same read from
PostgreSQL. Then N operations (default 20000) are done by 4 processes, half of them with asyncio;
one in twenty writes. They go by themselves; with commits that are told to nobody, which shows that
the check is able to fail; with processes that are killed between COMMIT and its end; and, in Redis,
with the server frozen, stopped and started again all the time. No read may show less than what was
acknowledged before it began.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sqlalchemy import func, select

from hermetic import Cache, Database
from tests.crowding import Crowd, run
from tests.models import Base, User
from tests.servers import PostgreSQLServer
from tests.servers.redis import RedisServer

_CACHED = {"execution_options": {"cache": True}}
_TURNS, _TIMES = 25, 40

_USER = select(User).where(User.id == 5)
_FEW, _ALL = select(User).order_by(User.id).limit(20), select(User).order_by(User.id)
_PAIRS = select(User.id, User.username).order_by(User.id)
_COUNT = select(func.count()).select_from(User)

# by whether a statement is made anew each time, as most programs do, or kept
_READS: dict[str, Callable[[Any], Any]] = {
    "session.get()": lambda session: session.get(User, 5),
    "select of one entity": lambda session: session.scalars(select(User).where(User.id == 5)).one(),
    "  kept": lambda session: session.scalars(_USER).one(),
    "select of 20 entities": lambda session: session.scalars(
        select(User).order_by(User.id).limit(20)
    ).all(),
    "  kept ": lambda session: session.scalars(_FEW).all(),
    "select of 100 entities": lambda session: session.scalars(select(User).order_by(User.id)).all(),
    "  kept  ": lambda session: session.scalars(_ALL).all(),
    "100 rows of columns": lambda session: session.execute(
        select(User.id, User.username).order_by(User.id), **_CACHED
    ).all(),
    "  kept   ": lambda session: session.execute(_PAIRS, **_CACHED).all(),
    "a count": lambda session: session.scalar(select(func.count()).select_from(User), **_CACHED),
    "  kept    ": lambda session: session.scalar(_COUNT, **_CACHED),
    "raw SQL, one row": lambda session: session.execute(
        "SELECT id, username FROM users WHERE id = :id", {"id": 5}, **_CACHED
    ).all(),
}


def _timed(db: Database, read: Callable[[Any], Any]) -> float:
    """Seconds for one read in an open scope, of objects that the session does not have."""
    with db.session(readonly=True) as session:
        read(session)
        spent = 0.0
        for _ in range(_TIMES):
            session.expunge_all()
            begun = time.perf_counter()
            read(session)
            spent += time.perf_counter() - begun
    return spent / _TIMES


def _timed_scope(db: Database, read: Callable[[Any], Any]) -> float:
    begun = time.perf_counter()
    for _ in range(_TIMES):
        with db.session(readonly=True) as session:
            read(session)
    return (time.perf_counter() - begun) / _TIMES


def speed(url: str, redis: RedisServer) -> None:
    with (
        Database(url) as plain,
        Database(url, cache=Cache(entities=(User,))) as memory,
        Database(url, cache=Cache(region=redis.url, entities=(User,), lease=1.0)) as remote,
    ):
        Base.metadata.create_all(plain.engine)
        with plain.session() as session:
            session.add_all([User(id=key, username=f"user{key}") for key in range(100)])
        time.sleep(1.5)  # nothing is cached in Redis before it is up for longer than the lease
        print(f"{'':26}{'PostgreSQL':>12}{'memory':>12}{'':>25}{'Redis':>12}")
        for name, read in _READS.items():
            _line(name, (plain, memory, remote), lambda db, read=read: _timed(db, read))
        get = _READS["session.get()"]
        _line("a scope with one get()", (plain, memory, remote), lambda db: _timed_scope(db, get))


def _line(name: str, databases: Any, timed: Callable[[Any], float]) -> None:
    turns = [[timed(db) for db in databases] for _ in range(_TURNS)]
    plain, memory, remote = (statistics.median(column) for column in zip(*turns, strict=True))
    # of the reads of one turn each, which the machine was as busy for
    ratios = [[turn[0] / turn[at] for turn in turns] for at in (1, 2)]
    low, _, high = statistics.quantiles(ratios[0], n=4)
    print(
        f"{name:26}{plain * 1e6:9.1f} µs{memory * 1e6:9.1f} µs"
        f"{statistics.median(ratios[0]):7.1f} x ({low:.1f} to {high:.1f})"
        f"{remote * 1e6:9.1f} µs{statistics.median(ratios[1]):7.1f} x",
        flush=True,
    )


def check(url: str, operations: int, redis: RedisServer | None) -> int:
    """Every run; how many of them were not as they have to be."""
    region = None if redis is None else redis.url
    where = "memory" if redis is None else "Redis"
    quick: dict[str, Any] = {"lease": 1.0}
    if redis is not None:
        # by itself a commit that Redis does not hear of in time is carried out all the same
        quick["on_failure"] = "refuse"
    runs: dict[str, tuple[Crowd, bool]] = {
        "by themselves": (Crowd(url, operations, region, options=quick), False),
        "commits told to nobody": (
            Crowd(url, operations // 10, region, forgetful=True, options=quick), False,
        ),
        "writers killed": (
            Crowd(url, operations // 2, region, dying=0.1, kills=5, options=quick), False,
        ),
    }  # fmt: skip
    if redis is not None:
        runs["Redis frozen and restarted"] = (
            Crowd(url, operations // 2, region, options={**quick, "pause": 0.2}), True,
        )  # fmt: skip
    wrong = 0
    for name, (crowd, disturbed) in runs.items():
        begun = time.monotonic()
        tally = run(crowd, redis, disturbed=disturbed)
        wrong += bool(tally["stale"]) != crowd.forgetful
        print(
            f"{where}, {name}: {tally['done']} operations, {tally['writes']} writes, "
            f"{tally['hits']} hits, {tally['killed']} killed, {tally['refused']} refused, "
            f"{tally['stale']} stale, {time.monotonic() - begun:.0f} s",
            flush=True,
        )
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, default=20_000)
    parser.add_argument("--region", choices=("memory", "redis", "both"), default="both")
    parser.add_argument("--speed-only", action="store_true")
    asked = parser.parse_args()
    wrong = 0
    with PostgreSQLServer() as server, contextlib.ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        server.create_database("bench")
        url = server.url("bench", "postgresql+psycopg")
        speed(url, redis)
        if asked.speed_only:
            return 0
        if asked.region != "redis":
            wrong += check(url, asked.operations, None)
        if asked.region != "memory":
            wrong += check(url, asked.operations, redis)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
