"""Celery's tasks: how many per second, and what becomes of them in trouble, side by side.

    python bench/workers.py [TASKS] [ROUNDS] [FAULTS]

Starts PostgreSQL, and for each application of ``worker_apps`` a Redis and a worker with a forked
process. In turns, ROUNDS times (default 7), a queue is filled with TASKS tasks (default 200) that
write one row each, while the worker stands still; then it goes on. Tasks per second are between the
first row and the last one, as PostgreSQL's clock has them; beside them is what processor's time a
task costs the worker, which a busy machine changes less.

Then FAULTS tasks (default 32) are sent one after the other to a worker behind a proxy. Every second
one meets trouble, each kind in turn: its COMMIT is cut off before the server has seen it, or after;
its process is killed before its commit, or after it. Then the table is looked at: *not done* are
tasks of which there is no row, *twice* those of which there are two, *false* those whose result
says something else than the table.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from celery.result import AsyncResult
from kombu.exceptions import DecodeError
from sqlalchemy import create_engine, make_url, text

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
        first = self.send("warm")
        assert wait_until(lambda: is_ready(first), _PATIENCE), f"{name} does not start"

    def send(self, name: str, kill: str = "") -> AsyncResult:
        return self.app.send_task("add", [name, kill])

    def cpu(self) -> float:
        """Seconds of processor that the worker and its process have used."""
        pids = [self._process.pid]
        children = Path(f"/proc/{pids[0]}/task/{pids[0]}/children")
        pids += [int(each) for each in children.read_text().split()]
        return sum(map(_used, pids))

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """A block in which it takes nothing from its queue."""
        os.killpg(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._process.pid, signal.SIGCONT)

    def stop(self) -> None:
        if self._process.poll() is None:
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
    """One application, with a database, a queue and a folder of its own, and a worker."""

    def __init__(self, name: str, server: PostgreSQLServer, stack: ExitStack) -> None:
        self.name, self._stack = name, stack
        database = f"workers{list(APPS).index(name)}"
        server.create_database(database)
        self._url = server.url(database, "postgresql+psycopg")
        self.engine = create_engine(self._url)
        stack.callback(self.engine.dispose)
        Base.metadata.create_all(self.engine)
        with self.engine.begin() as connection:
            # none of the mapping's: its value is not asked for
            connection.execute(
                text("ALTER TABLE done ADD at timestamptz DEFAULT clock_timestamp()")
            )
        with Database(self._url) as db:
            Inbox(db).create()
        self._broker = stack.enter_context(RedisServer()).url
        self._folder = stack.enter_context(tempfile.TemporaryDirectory())
        self.worker = self._start(self._url)

    def _start(self, url: str) -> Worker:
        worker = Worker(self.name, url, self._broker, self._folder)
        self._stack.callback(worker.stop)
        return worker

    def rate(self, tasks: int, round_: int) -> tuple[float, float]:
        """Tasks per second, and milliseconds of processor for each."""
        with self.worker.standing_still():
            for number in range(tasks):
                self.worker.send(f"rate-{round_}-{number}")
            used = self.worker.cpu()
        statement = text(
            "SELECT count(*), extract(epoch FROM max(at) - min(at)) FROM done"
            " WHERE name LIKE :pattern"
        )

        def done() -> tuple[int, float]:
            with self.engine.connect() as connection:
                count, seconds = connection.execute(
                    statement, {"pattern": f"rate-{round_}-%"}
                ).one()
            return int(count), float(seconds or 0)

        assert wait_until(lambda: done()[0] >= tasks, _PATIENCE, pause=0.2), "tasks are missing"
        return (tasks - 1) / done()[1], 1000 * (self.worker.cpu() - used) / tasks

    def trouble(self, faults: int) -> tuple[int, int, int]:
        """Of so many tasks: how many were not done, done twice, and spoken of falsely."""
        with Proxy(self._url) as proxy:
            given = make_url(proxy.url).set(drivername="postgresql+psycopg")
            worker = self._start(given.render_as_string(hide_password=False))
            said = trouble(worker, proxy, faults)
        with self.engine.connect() as connection:
            there = Counter(connection.scalars(text("SELECT name FROM done")).all())
        return judged(said, there)


def main(tasks: int, rounds: int, faults: int) -> None:
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in APPS}
    print("| | tasks/s | CPU ms | not done | twice | false |")
    print("| --- | --- | --- | --- | --- | --- |")
    with PostgreSQLServer() as server, ExitStack() as stack:
        places = {name: Place(name, server, stack) for name in APPS}
        for round_ in range(rounds):
            for name, place in places.items():
                rates[name].append(place.rate(tasks, round_))
        for place in places.values():
            place.worker.stop()
        for name, place in places.items():
            found = place.trouble(faults) if faults else (0, 0, 0)
            per_second, cpu = map(statistics.median, zip(*rates[name], strict=True))
            cells = [f"{per_second:,.0f}", f"{cpu:.2f}", *found]
            print(f"| {name} | {' | '.join(map(str, cells))} |", flush=True)
    print(
        f"\nMedians of {rounds} rounds; {faults} tasks, {faults // 2} in trouble, in equal parts."
    )


if __name__ == "__main__":
    given = [int(each) for each in sys.argv[1:]]
    main(*given, *(200, 7, 32)[len(given) :])
