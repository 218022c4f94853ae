"""Celery's tasks: how many per second, and what becomes of them in trouble, side by side.

    python bench/workers.py [TASKS] [ROUNDS] [FAULTS]

Starts PostgreSQL, and for each application of ``worker_apps`` a Redis and a worker with a forked
process. In turns, ROUNDS times (default 5), TASKS tasks (default 100) write one row each: how many
per second, and what processor's time one costs the worker. Then FAULTS tasks (default 32) are sent
one after the other, of which every second one meets trouble, each kind in turn: its COMMIT is cut
off before the server has seen it, or after; its process is killed before its commit, or after it.
Then the table is looked at: *not done* are tasks of which there is no row, *twice* those of which
there are two, *false* those whose result says something else than the table.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from functools import partial
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from celery.result import AsyncResult
from kombu.exceptions import DecodeError
from sqlalchemy import Engine, create_engine, make_url, text

from bench.worker_apps import APPS, Base, make
from hermetic import Database
from hermetic.outbox import Inbox
from tests.proxy import COMMIT, Proxy
from tests.servers import PostgreSQLServer
from tests.servers.process import wait_until
from tests.servers.redis import RedisServer

_ROOT = Path(__file__).resolve().parents[1]
# seconds that any task may take, one that is run again too
_PATIENCE = 60.0
_KINDS = ("cut before", "cut after", "kill before", "kill after")


class Worker:
    """A worker of one application, and the application here."""

    def __init__(self, name: str, url: str, broker: str, folder: str) -> None:
        given = {"APP": name, "URL": url, "BROKER": broker, "FOLDER": folder}
        self.app = make(name, url, broker, folder)
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "celery", "-A", "bench.worker_apps", "worker"),
                *("--concurrency=1", "--without-gossip", "--without-mingle"),
            ],
            cwd=_ROOT,
            env={**os.environ, **{f"WORKER_{key}": value for key, value in given.items()}},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def send(self, name: str, kill: str = "") -> AsyncResult:
        return self.app.send_task("add", [name, kill])

    def cpu(self) -> float:
        """Seconds of processor that the worker and its process have used."""
        pids = [self._process.pid]
        children = Path(f"/proc/{pids[0]}/task/{pids[0]}/children")
        pids += [int(each) for each in children.read_text().split()]
        return sum(map(_used, pids))

    def stop(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.app.close()


def _used(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_ready(sent: AsyncResult) -> bool:
    try:
        return sent.ready()
    except DecodeError:
        return False  # the file is being written


def rate(worker: Worker, engine: Engine, tasks: int, round_: int) -> tuple[float, float]:
    """Tasks per second, and milliseconds of processor for each."""
    begun, used = time.monotonic(), worker.cpu()
    for number in range(tasks):
        worker.send(f"rate-{round_}-{number}")
    done = partial(_count, engine, f"rate-{round_}-%")
    assert wait_until(lambda: done() >= tasks, _PATIENCE), "tasks are missing"
    return tasks / (time.monotonic() - begun), 1000 * (worker.cpu() - used) / tasks


def _count(engine: Engine, pattern: str) -> int:
    with engine.connect() as connection:
        statement = text("SELECT count(DISTINCT name) FROM done WHERE name LIKE :pattern")
        return int(connection.scalar(statement, {"pattern": pattern}) or 0)


def trouble(worker: Worker, proxy: Proxy, faults: int) -> dict[str, str]:
    """What each task's result says."""
    said = {}
    for number in range(faults):
        kind = _KINDS[number // 2 % len(_KINDS)] if number % 2 else "none"
        name, what, _, side = f"{kind}-{number}", *kind.partition(" ")
        if what == "cut":
            (proxy.cut_before if side == "before" else proxy.cut_after)(COMMIT)
        sent = worker.send(name, side if what == "kill" else "")
        wait_until(partial(is_ready, sent), _PATIENCE)
        failed = "" if sent.state == "SUCCESS" else type(sent.result).__name__
        said[name] = f"{sent.state} {failed}".strip()
        proxy.disarm()
    return said


def judged(said: dict[str, str], there: Counter[str]) -> tuple[int, int, int]:
    """How many were not done, done twice, and spoken of falsely."""
    missing = sum(name not in there for name in said)
    twice = sum(there[name] > 1 for name in said)
    false = sum(
        (state == "SUCCESS") != (name in there) and "CommitUnknown" not in state
        for name, state in said.items()
    )
    return missing, twice, false


class Place:
    """One application, with a database, a queue and a folder of its own."""

    def __init__(self, name: str, server: PostgreSQLServer, stack: ExitStack) -> None:
        database = f"workers{list(APPS).index(name)}"
        server.create_database(database)
        url = server.url(database, "postgresql+psycopg")
        self.engine = create_engine(url)
        stack.callback(self.engine.dispose)
        Base.metadata.create_all(self.engine)
        with Database(url) as db:
            Inbox(db).create()
        self.proxy = stack.enter_context(Proxy(url))
        broker = stack.enter_context(RedisServer()).url
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        given = make_url(self.proxy.url).set(drivername="postgresql+psycopg")
        self.worker = Worker(name, given.render_as_string(hide_password=False), broker, folder)
        stack.callback(self.worker.stop)
        first = self.worker.send("warm")
        assert wait_until(lambda: is_ready(first), _PATIENCE), f"{name} does not start"

    def there(self) -> Counter[str]:
        with self.engine.connect() as connection:
            return Counter(connection.scalars(text("SELECT name FROM done")).all())


def main(tasks: int, rounds: int, faults: int) -> None:
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in APPS}
    print("| | tasks/s | CPU ms | not done | twice | false |")
    print("| --- | --- | --- | --- | --- | --- |")
    with PostgreSQLServer() as server, ExitStack() as stack:
        places = {name: Place(name, server, stack) for name in APPS}
        for round_ in range(rounds):
            for name, place in places.items():
                rates[name].append(rate(place.worker, place.engine, tasks, round_))
        for name, place in places.items():
            said = trouble(place.worker, place.proxy, faults)
            per_second, cpu = map(statistics.median, zip(*rates[name], strict=True))
            cells = [f"{per_second:,.0f}", f"{cpu:.1f}", *judged(said, place.there())]
            print(f"| {name} | {' | '.join(map(str, cells))} |", flush=True)
    print(
        f"\nMedians of {rounds} rounds; {faults} tasks, {faults // 2} in trouble, in equal parts."
    )


if __name__ == "__main__":
    given = [int(each) for each in sys.argv[1:]]
    main(*given, *(100, 5, 32)[len(given) :])
