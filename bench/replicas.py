"""Replicas: whether what was written is read, how much is read, what a position costs.

    python bench/replicas.py [FLOWS] [SECONDS] [PROMOTIONS]

Starts PostgreSQL with two standbys, whose replay is stopped and let go by chance all the time,
while FLOWS flows write and read (default 20000): each writes a row, and reads it twice. Without a
flow the same is done for a tenth as many, which shows that the check is able to fail. Then, with
the standbys left alone, reads are counted for SECONDS (default 5) from the primary alone, and with
two replicas; and a small write is timed with and without its position. At last, PROMOTIONS times
(default 3), a primary is killed under units with a retry policy, and its standby promoted.
"""

from __future__ import annotations

import contextlib
import random
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hermetic import Database, FaultError
from tests.servers import PostgreSQLReplica, PostgreSQLServer

_WORKERS = 4
_ADD = "UPDATE counters SET n = n + 1 WHERE id = :id RETURNING n"
_READ = "SELECT n, inet_server_port() FROM counters WHERE id = :id"


class Tally:
    """What the flows have seen."""

    def __init__(self) -> None:
        self.flows = self.stale = self.back = self.failed = 0
        self.served: Counter[int] = Counter()

    def __str__(self) -> str:
        return (
            f"{self.flows} flows, {self.stale} did not see their write, {self.back} went back, "
            f"{self.failed} failed; reads by port: {dict(self.served)}"
        )


def _flow(db: Database, key: int, tally: Tally, *, flow: bool) -> None:
    with db.flow() if flow else contextlib.nullcontext():
        with db.session() as session:
            wrote: int = session.scalar(_ADD, {"id": key})
        last = 0
        for _ in range(2):
            with db.session(readonly=True) as session:
                found, port = session.execute(_READ, {"id": key}).one()
            tally.served[port] += 1
            tally.stale += found < wrote
            tally.back += found < last
            last = found
    tally.flows += 1


def _work(db: Database, key: int, count: int, tally: Tally, *, flow: bool) -> None:
    for _ in range(count):
        try:
            _flow(db, key, tally, flow=flow)
        except FaultError:
            tally.failed += 1


def _in_threads(work: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=work, args=(n,)) for n in range(_WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextlib.contextmanager
def _lagging(replicas: list[PostgreSQLReplica]) -> Iterator[None]:
    """Replay that stops and goes on by chance."""
    over = threading.Event()

    def strike() -> None:
        chance = random.Random(7)
        while not over.wait(chance.uniform(0.0, 0.05)):
            replica = chance.choice(replicas)
            replica.pause()
            over.wait(chance.uniform(0.0, 0.1))
            replica.resume()

    thread = threading.Thread(target=strike)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def check(url: str, replicas: list[PostgreSQLReplica], flows: int) -> None:
    """Read your writes, with lag injected."""
    urls = [replica.url("bench", "postgresql+psycopg") for replica in replicas]
    for flow, count in ((True, flows), (False, flows // 10)):
        tallies = [Tally() for _ in range(_WORKERS)]
        began = time.monotonic()
        with Database(url, replicas=urls, replica_wait=0.02) as db, _lagging(replicas):
            _in_threads(
                lambda n, db=db, count=count, tallies=tallies, flow=flow: _work(  # type: ignore[misc]
                    db, n, count // _WORKERS, tallies[n], flow=flow
                )
            )
        total = Tally()
        for tally in tallies:
            for name in ("flows", "stale", "back", "failed"):
                setattr(total, name, getattr(total, name) + getattr(tally, name))
            total.served += tally.served
        what = "in flows" if flow else "without flows"
        print(f"{what}: {total}, in {time.monotonic() - began:.0f} s", flush=True)


def throughput(url: str, replicas: list[PostgreSQLReplica], seconds: float) -> None:
    """Read-only scopes per second."""
    urls = [replica.url("bench", "postgresql+psycopg") for replica in replicas]
    query = "SELECT sum(a * b) FROM generate_series(1, 300) a, generate_series(1, 30) b"
    rates = []
    for options in ({}, {"replicas": urls}):
        with Database(url, **options) as db:
            counts = [0] * _WORKERS
            until = time.monotonic() + seconds

            def read(n: int, db: Any = db, counts: Any = counts, until: float = until) -> None:
                while time.monotonic() < until:
                    with db.session(readonly=True) as session:
                        session.scalar(query)
                    counts[n] += 1

            _in_threads(read)
            rates.append(sum(counts) / seconds)
    alone, spread = rates
    print(f"reads: {alone:.0f}/s from the primary alone, {spread:.0f}/s with two replicas "
          f"({spread / alone:.2f})", flush=True)  # fmt: skip


def position(url: str, replicas: list[PostgreSQLReplica], seconds: float) -> None:
    """A small write, with and without its position; medians of rounds taken in turn."""
    urls = [replica.url("bench", "postgresql+psycopg") for replica in replicas]
    taken: dict[str, list[float]] = {"no replicas": [], "replicas": [], "position": []}
    with Database(url) as plain, Database(url, replicas=urls) as db:
        ways = {
            "no replicas": plain.session(),
            "replicas": db.session(),
            "position": db.session(position=True),
        }
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for name, unit in ways.items():
                began = time.perf_counter()
                for _ in range(20):
                    with unit as session:
                        session.execute(_ADD, {"id": 0})
                taken[name].append((time.perf_counter() - began) / 20)
    shown = ", ".join(f"{name} {statistics.median(t) * 1e6:.0f} us" for name, t in taken.items())
    print(f"a small write: {shown}", flush=True)


def promotion() -> None:
    """How many attempts a promotion costs, and how soon units succeed again."""
    settings = {"synchronous_standby_names": "*"}  # no commit that was told is lost
    with PostgreSQLServer(settings=settings) as primary, PostgreSQLReplica(primary) as standby:
        primary.create_database("bench")
        at = f"?host=127.0.0.1:{primary.port}&host=127.0.0.1:{standby.port}"
        both = primary.url("bench", "postgresql+psycopg")
        both = both.replace(f"@127.0.0.1:{primary.port}/", "@/") + at
        runs: Counter[str] = Counter()
        done: dict[str, float] = {}
        over = threading.Event()
        with Database(both, resolve_commits="token") as db:
            db.create_commit_table()
            with db.session() as session:
                session.execute("CREATE TABLE done (id text PRIMARY KEY)")

            @db.session(retry=5)
            def write(session: Any, name: str) -> None:
                runs[name] += 1
                session.execute("INSERT INTO done VALUES (:name)", {"name": name})

            def work(number: int) -> None:
                count = 0
                while not over.is_set():
                    count += 1
                    name = f"{number}:{count}"
                    write(name)
                    done[name] = time.monotonic()

            thread = threading.Thread(target=_in_threads, args=(work,))
            thread.start()
            time.sleep(1.0)
            primary.kill()
            standby.promote()
            accepts = time.monotonic()
            time.sleep(3.0)
            over.set()
            thread.join()
            with db.session() as session:
                there = set(session.scalars("SELECT id FROM done"))
        first = min(at for at in done.values() if at > accepts) - accepts
        print(
            f"a promotion: {len(done)} units, {max(runs.values())} runs at most, first success "
            f"{first:.2f} s after the new primary accepts, {len(set(done) - there)} told and gone, "
            f"{len(there - set(done))} there and not told",
            flush=True,
        )


def main() -> None:
    flows = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 5.0
    promotions = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    with PostgreSQLServer() as primary, contextlib.ExitStack() as stack:
        replicas = [stack.enter_context(PostgreSQLReplica(primary)) for _ in range(2)]
        primary.create_database("bench")
        url = primary.url("bench", "postgresql+psycopg")
        with Database(url) as db, db.session() as session:
            session.execute("CREATE TABLE counters (id int PRIMARY KEY, n int)")
            session.execute("INSERT INTO counters SELECT i, 0 FROM generate_series(0, 9) i")
        for replica in replicas:
            replica.catch_up()
        check(url, replicas, flows)
        throughput(url, replicas, seconds)
        position(url, replicas, seconds)
    for _ in range(promotions):
        promotion()


if __name__ == "__main__":
    main()
