"""How soon the first scope succeeds after a server that was away accepts again.

    python bench/recovery.py [RESTARTS] [SECONDS AWAY]

Threads or tasks work without a pause, and each error of theirs is followed by the next scope at
once, so that nothing but hermetic decides when a connect is tried. Another process-wide loop asks
the server by the driver alone, every few milliseconds, when it accepts; the server is killed and
started anew. What is printed is seconds from that moment to the first commit, and the connects that
were begun while the server was away.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

from sqlalchemy import event, make_url  # noqa: E402

from hermetic import Database  # noqa: E402
from tests.servers import MariaDBServer, PostgreSQLServer  # noqa: E402

_WORKERS = 8
_ASK_EVERY = 0.005


class Recovery:
    """Workers of one driver, and what they see of one restart after the other."""

    def __init__(self, server: Any, driver: str, url: str) -> None:
        self._server = server
        self._url = make_url(url)
        self.driver = driver
        self.over = threading.Event()
        self.away: tuple[float, float] | None = None
        self.connects: list[float] = []
        self.commits: list[float] = []
        self.recovered: list[float] = []
        self.rates: list[float] = []

    def watch(self, engine: Any) -> None:
        event.listen(engine, "do_connect", lambda *_: self.connects.append(time.monotonic()))

    def restarts(self, count: int, seconds: float) -> None:
        try:
            for _ in range(count):
                self._restart(seconds)
        finally:
            self.over.set()

    def _restart(self, seconds: float) -> None:
        while not self.commits:
            time.sleep(0.01)
        self._server.kill()
        gone = time.monotonic()
        time.sleep(seconds)
        starting = threading.Thread(target=self._server.start)
        accepts = self._first_answer(starting)
        self.commits.clear()
        starting.join()
        while not self.commits:
            time.sleep(0.001)
        # one that was made before the driver's own was answered
        self.recovered.append(max(0.0, self.commits[0] - accepts))
        tried = sum(gone < each < accepts for each in self.connects)
        self.rates.append(tried / (accepts - gone))
        time.sleep(0.2)

    def _first_answer(self, starting: threading.Thread) -> float:
        starting.start()
        while not self._answers():
            time.sleep(_ASK_EVERY)
        return time.monotonic()

    def _answers(self) -> bool:
        url = self._url
        try:
            if "postgresql" in url.drivername:
                import psycopg

                psycopg.connect(
                    host=url.host, port=url.port, user=url.username, password=url.password,
                    dbname=url.database, connect_timeout=2,
                ).close()  # fmt: skip
            else:
                import pymysql

                pymysql.connect(
                    host=url.host or "", port=url.port or 0, user=url.username,
                    password=str(url.password or ""), connect_timeout=2,
                ).close()  # fmt: skip
        except Exception:
            return False
        return True


def _threads(recovery: Recovery, url: str, count: int, seconds: float) -> None:
    db = Database(url)
    recovery.watch(db.engine)

    def work() -> None:
        while not recovery.over.is_set():
            try:
                with db.session() as session:
                    session.execute("SELECT 1")
            except Exception:
                continue
            recovery.commits.append(time.monotonic())

    threads = [threading.Thread(target=work) for _ in range(_WORKERS)]
    for thread in threads:
        thread.start()
    recovery.restarts(count, seconds)
    for thread in threads:
        thread.join()
    db.close()


def _tasks(recovery: Recovery, url: str, count: int, seconds: float) -> None:
    async def work(db: Database) -> None:
        while not recovery.over.is_set():
            try:
                async with db.session() as session:
                    await session.execute("SELECT 1")
            except Exception:
                await asyncio.sleep(0)
                continue
            recovery.commits.append(time.monotonic())

    async def main() -> None:
        db = Database(url)
        recovery.watch(db.async_engine.sync_engine)
        workers = [asyncio.create_task(work(db)) for _ in range(_WORKERS)]
        await asyncio.to_thread(recovery.restarts, count, seconds)
        await asyncio.gather(*workers)
        await db.aclose()

    asyncio.run(main())


def main(arguments: list[str]) -> int:
    count = int(arguments[0]) if arguments else 8
    seconds = float(arguments[1]) if len(arguments) > 1 else 3.0
    out = sys.stdout
    out.write("driver              median    worst    connects per second while away\n")
    ways: list[tuple[Any, str, str, Callable[..., None]]] = [
        (PostgreSQLServer, "psycopg", "postgresql+psycopg", _threads),
        (PostgreSQLServer, "psycopg asyncio", "postgresql+psycopg", _tasks),
        (PostgreSQLServer, "asyncpg", "postgresql+asyncpg", _tasks),
        (MariaDBServer, "PyMySQL", "mariadb+pymysql", _threads),
        (MariaDBServer, "asyncmy", "mariadb+asyncmy", _tasks),
    ]
    for make, name, driver, way in ways:
        with make() as server:
            server.create_database("recovery")
            plain = make_url(server.url("recovery"))
            url = plain.set(drivername=driver).render_as_string(hide_password=False)
            recovery = Recovery(server, name, url)
            way(recovery, url, count, seconds)
        seen, rates = recovery.recovered, recovery.rates
        out.write(f"{name:18}{statistics.median(seen):8.2f}{max(seen):9.2f}{max(rates):10.2f}\n")
        out.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
