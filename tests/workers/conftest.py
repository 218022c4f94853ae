"""What tests of workers share: a PostgreSQL behind a proxy, and a Redis, for a module each."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine, create_engine, text

from hermetic import Database
from hermetic.outbox import Inbox
from tests.conftest import _DATABASES, in_ci, shared_server
from tests.databases import TestDatabases
from tests.missing import left_out
from tests.models import Base
from tests.proxy import Proxy
from tests.servers import ServerUnavailable
from tests.servers.process import wait_until
from tests.servers.redis import RedisServer
from tests.worlds import PATIENCE

if TYPE_CHECKING:
    import redis

collect_ignore_glob = ["test_*.py"] if left_out("workers") else []

_ROOT = Path(__file__).parents[2]


class Bench:
    """A database that workers reach through a proxy, what is in it, and who works on it."""

    def __init__(self, url: str, proxy: Proxy, broker: str, folder: Path) -> None:
        import redis

        self.proxy = proxy
        self.broker = broker
        self.url = proxy.url.replace("postgresql://", "postgresql+psycopg://")
        self.observer: Engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
        self.redis: redis.Redis = redis.Redis.from_url(broker)
        self._folder = folder
        self.environment = {
            "BENCH_URL": self.url,
            "BENCH_BROKER": broker,
            "BENCH_FOLDER": str(folder),
        }
        self._processes: list[subprocess.Popen[bytes]] = []
        Base.metadata.create_all(self.observer)
        with Database(url) as db:
            Inbox(db).create()

    def usernames(self) -> list[str]:
        """The committed users, as another connection sees them."""
        with self.observer.connect() as connection:
            return list(connection.scalars(text("SELECT username FROM users ORDER BY username")))

    def runs(self, name: str) -> int:
        """How often a task was begun."""
        return int(self.redis.get(f"runs {name}") or 0)

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """A worker, as a process that knows of this bench."""
        with (self._folder / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=_ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self.environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    @contextlib.contextmanager
    def known(self) -> Iterator[None]:
        """A block in which a program can be imported that knows of this bench."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            yield

    @property
    def log(self) -> str:
        return (self._folder / "worker.log").read_text(errors="replace")[-8000:]

    def until(self, condition: Any, what: str) -> None:
        # a new process, on a machine that may be busy
        assert wait_until(condition, 4 * PATIENCE), f"{what}; the worker's log ends:\n{self.log}"

    def clear(self) -> None:
        self.proxy.disarm()
        with self.observer.begin() as connection:
            connection.execute(text("DELETE FROM users"))

    def stop(self) -> None:
        """Kill the workers."""
        while self._processes:
            process = self._processes.pop()
            with contextlib.suppress(ProcessLookupError):
                # with what it has forked
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def close(self) -> None:
        self.stop()
        self.redis.close()
        self.observer.dispose()


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    try:
        with RedisServer() as running:
            yield running.url
    except ServerUnavailable as missing:
        if in_ci():
            pytest.fail(str(missing), pytrace=False)
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def shared_bench(
    request: pytest.FixtureRequest, broker: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("workers")
    databases = TestDatabases(
        request.config.stash[_DATABASES],
        lambda family: shared_server(request.config, family),
        folder,
    )
    url = databases.family_url("postgresql", "tasks")
    with Proxy(url) as proxy:
        bench = Bench(url, proxy, broker, folder)
        yield bench
        bench.close()
    assert databases.finish() == []


@pytest.fixture
def bench(shared_bench: Bench) -> Bench:
    shared_bench.clear()
    return shared_bench
