"""What tests of workers share: a PostgreSQL behind a proxy, and a Redis, for a module each."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine, create_engine, make_url, text

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


_DRIVERS = {"postgresql": "psycopg", "mysql": "pymysql", "sqlite": "pysqlite"}


class Bench:
    """A database that workers reach through a proxy, what is in it, and who works on it.

    :param proxy: ``None`` for a file of SQLite's.
    """

    def __init__(self, url: str, proxy: Proxy | None, broker: str, folder: Path) -> None:
        import redis

        self._proxy = proxy
        self.broker = broker
        given = make_url(url)
        self.family = name = given.get_backend_name()
        driver = f"{name}+{_DRIVERS[name]}"
        reached = given if proxy is None else make_url(proxy.url)
        self.url = reached.set(drivername=driver).render_as_string(hide_password=False)
        self.observer: Engine = create_engine(given.set(drivername=driver))
        self.redis: redis.Redis = redis.Redis.from_url(broker)
        self.folder = folder
        self.environment = {
            "BENCH_URL": self.url,
            "BENCH_BROKER": broker,
            "BENCH_FOLDER": str(folder),
        }
        self._processes: list[subprocess.Popen[bytes]] = []
        Base.metadata.create_all(self.observer)
        with Database(url) as db:
            Inbox(db).create()

    @property
    def proxy(self) -> Proxy:
        assert self._proxy is not None, "nothing stands in front of a file"
        return self._proxy

    def usernames(self) -> list[str]:
        """The committed users, as another connection sees them."""
        with self.observer.connect() as connection:
            return list(connection.scalars(text("SELECT username FROM users ORDER BY username")))

    def runs(self, name: str) -> int:
        """How often a task was begun."""
        return int(self.redis.get(f"runs {name}") or 0)

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """A worker, as a process that knows of this bench."""
        with (self.folder / "worker.log").open("ab") as log:
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
        return (self.folder / "worker.log").read_text(errors="replace")[-8000:]

    def until(self, condition: Any, what: str) -> None:
        # a new process, on a machine that may be busy
        assert wait_until(condition, 4 * PATIENCE), f"{what}; the worker's log ends:\n{self.log}"

    def clear(self) -> None:
        if self._proxy is not None:
            self._proxy.disarm()
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


class Sender:
    """Sends tasks of ``celery_program``, which it does not import; and what became of them."""

    def __init__(self, bench: Bench) -> None:
        from celery import Celery

        self.bench = bench
        results = f"file://{bench.folder}"
        self.app = Celery("sender", broker=bench.broker, backend=results, set_as_current=False)

    def send(self, task: str, *args: Any, **options: Any) -> Any:
        return self.app.send_task(f"tests.workers.celery_program.{task}", args, **options)

    def done(self, task: str, *args: Any, **options: Any) -> Any:
        return self.result(self.send(task, *args, **options))

    def is_ready(self, sent: Any) -> bool:
        from kombu.exceptions import DecodeError

        try:
            return bool(sent.ready())
        except DecodeError:
            return False  # the file is being written

    def result(self, sent: Any) -> Any:
        self.bench.until(lambda: self.is_ready(sent), f"{sent} was not done")
        return sent.result


def start_celery(bench: Bench, *flags: str) -> subprocess.Popen[bytes]:
    """A worker of ``celery_program``."""
    app = ("-m", "celery", "-A", "tests.workers.celery_program", "worker", "--loglevel=INFO")
    # it starts the sooner
    return bench.start(*app, "--without-gossip", "--without-mingle", "--without-heartbeat", *flags)


def task_of(app: Any, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """``app.task``, typed, and of no application that comes later."""
    decorate: Callable[[Callable[..., Any]], Any] = app.task(shared=False, **options)
    return decorate


@pytest.fixture
def app() -> Iterator[Any]:
    """An application of Celery's that does its tasks where they are sent."""
    from celery import Celery

    application = Celery("eager", broker="memory://", set_as_current=False)
    application.conf.task_always_eager = True
    yield application
    application.close()


@pytest.fixture(scope="module")
def sender(shared_bench: Bench) -> Iterator[Sender]:
    made = Sender(shared_bench)
    yield made
    made.app.close()


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
    family = getattr(request, "param", "postgresql")
    url = databases.family_url(family, "tasks")
    with nullcontext() if family == "sqlite" else Proxy(url) as proxy:
        bench = Bench(url, proxy, broker, folder)
        yield bench
        bench.close()
    assert databases.finish() == []


@pytest.fixture
def bench(shared_bench: Bench) -> Bench:
    shared_bench.clear()
    return shared_bench
