"""Celery: tasks that are ended from outside, and workers that leave in the middle of one."""

from __future__ import annotations

import signal
import subprocess
from typing import Any

import pytest
from sqlalchemy import text

from tests.workers.conftest import Bench, Sender, start_celery
from tests.worlds import PATIENCE

pytestmark = [pytest.mark.postgresql, pytest.mark.slow]


@pytest.fixture(scope="module")
def worker(shared_bench: Bench) -> subprocess.Popen[bytes]:
    """One that is there for as long as a test leaves it alone; each task has a process anew."""
    return start_celery(shared_bench, "--concurrency=1", "--max-tasks-per-child=1")


def at_work(bench: Bench) -> int:
    """How many connections of workers have a transaction open on the server."""
    with bench.observer.connect() as connection:
        found = connection.scalar(
            text(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND state <> 'idle'"
            )
        )
    return int(found or 0)


def begun(bench: Bench, name: str) -> None:
    """Wait until a task has its transaction open."""
    bench.until(lambda: bench.runs(name) == 1 and at_work(bench) == 1, "it does not begin")


def unacknowledged(bench: Bench) -> int:
    count: Any = bench.redis.hlen("unacked")
    return int(count) + int(bench.redis.llen("celery"))


def nothing_is_left(bench: Bench, name: str) -> None:
    bench.until(lambda: at_work(bench) == 0, "a transaction is open on the server")
    bench.until(lambda: unacknowledged(bench) == 0, "the message is there still")
    assert name not in bench.usernames()


def test_each_process_of_one_task_has_its_own_connection(
    bench: Bench, sender: Sender, worker: Any
) -> None:
    found = [sender.done("add", name) for name in ("ann", "bob")]
    looked = [sender.done("count") for _ in range(2)]
    assert found == [[1, 0]] * 2
    assert [count for count, _ in looked] == [2, 2]
    assert len({pid for _, pid in looked}) == 2
    # and none stays behind
    with bench.observer.connect() as connection:
        asked = text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        bench.until(lambda: (connection.scalar(asked) or 0) <= 3, "connections stay behind")


def test_at_the_hard_time_limit_nothing_is_left(bench: Bench, sender: Sender, worker: Any) -> None:
    sent = sender.send("add", "gus", "wait", time_limit=1)
    assert type(sender.result(sent)).__name__ == "TimeLimitExceeded"
    nothing_is_left(bench, "gus")
    assert bench.runs("gus") == 1
    assert sender.done("add", "hal") == [1, 0]


def test_one_that_is_revoked_while_its_commit_waits_is_committed(
    bench: Bench, sender: Sender, worker: Any
) -> None:
    sent = sender.send("add", "lea", "hold")
    begun(bench, "lea")
    trap = bench.proxy.hold()
    bench.redis.rpush("go lea", "go")
    assert trap.reached.wait(4 * PATIENCE)
    sent.revoke(terminate=True)
    bench.until(lambda: sender.is_ready(sent), "nobody was told")
    trap.release()
    bench.until(lambda: bench.usernames() == ["lea"], "it was rolled back")
    bench.until(lambda: unacknowledged(bench) == 0, "the message is there still")
    assert (sent.state, bench.runs("lea")) == ("REVOKED", 1)
    assert sender.done("add", "ned") == [1, 0]


def test_a_task_that_is_revoked_is_rolled_back(bench: Bench, sender: Sender, worker: Any) -> None:
    sent = sender.send("add", "ida", "wait")
    begun(bench, "ida")
    sent.revoke(terminate=True)
    bench.until(lambda: sender.is_ready(sent), "it goes on")
    assert sent.state == "REVOKED"
    nothing_is_left(bench, "ida")
    assert sender.done("add", "jim") == [1, 0]
    assert bench.runs("ida") == 1


def test_a_worker_that_leaves_lets_its_task_end(bench: Bench, sender: Sender, worker: Any) -> None:
    sent = sender.send("add", "kim", "hold")
    begun(bench, "kim")
    worker.send_signal(signal.SIGTERM)
    assert bench.usernames() == []
    bench.redis.rpush("go kim", "go")
    assert worker.wait(4 * PATIENCE) == 0
    assert bench.usernames() == ["kim"]
    assert (sender.result(sent), unacknowledged(bench)) == ([1, 0], 0)


def test_a_worker_that_leaves_at_once_leaves_its_task_to_the_next(
    bench: Bench, sender: Sender
) -> None:
    worker = start_celery(bench, "--concurrency=1")
    sent = sender.send("add", "max", "hold")
    begun(bench, "max")
    worker.send_signal(signal.SIGQUIT)
    worker.wait(4 * PATIENCE)
    bench.until(lambda: at_work(bench) == 0, "a transaction is open on the server")
    assert bench.usernames() == []
    assert bench.runs("max") == 1
    # it is given back, or comes when nobody has told of it for the broker's visibility timeout
    bench.redis.rpush("go max", "go")
    start_celery(bench, "--concurrency=1")
    assert sender.result(sent) == [2, 0]
    assert bench.usernames() == ["max"]
