"""Workers on MariaDB, and on a file of SQLite's, which two of their processes write at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from dramatiq import Message
from dramatiq.brokers.redis import RedisBroker
from rq import Queue, Retry
from rq.job import Job

from tests.workers.conftest import Bench, Sender, start_celery
from tests.worlds import PATIENCE

pytestmark = [pytest.mark.slow]


def on(*names: str) -> pytest.MarkDecorator:
    """Run a test on some families of databases."""
    given = [pytest.param(name, marks=getattr(pytest.mark, name)) for name in names]
    return pytest.mark.parametrize("shared_bench", given, indirect=True, scope="module")


families = on("mariadb", "sqlite")


@pytest.fixture(scope="module")
def workers(shared_bench: Bench) -> Iterator[None]:
    """One of each kind; Celery's has two processes."""
    start_celery(shared_bench, "--concurrency=2")
    shared_bench.start("-m", "tests.workers.rq_worker")
    yield
    shared_bench.stop()


def finished(bench: Bench, job: Job) -> Any:
    ended = ("finished", "failed")
    bench.until(lambda: job.get_status(refresh=True) in ended, f"{job} was not done")
    result = job.latest_result()
    assert result is not None
    return result.exc_string or result.return_value


@families
def test_two_processes_that_write_at_once(bench: Bench, workers: None, sender: Sender) -> None:
    names = [f"{bench.family} {number:02}" for number in range(20)]
    sent = [sender.send("add", name) for name in names]
    assert [sender.result(each) for each in sent] == [[1, 0]] * 20
    assert bench.usernames() == names


@families
@pytest.mark.parametrize("then", ["kill", "kill when committed"])
def test_a_process_that_is_killed_applies_its_task_once(
    bench: Bench, workers: None, sender: Sender, then: str
) -> None:
    name = f"{then} {bench.family}"
    found = sender.done("add", name, then)
    job = Queue(connection=bench.redis).enqueue(
        "tests.workers.rq_program.add", f"{name} job", then, retry=Retry(max=3)
    )
    done = finished(bench, job)
    assert bench.usernames() == [name, f"{name} job"]
    runs = bench.runs(name), bench.runs(f"{name} job")
    if then == "kill":
        assert (found, done, runs) == ([2, 0], 2, (2, 2))
    else:
        assert (found, done, runs) == (None, None, (1, 1))


@on("mariadb")
@pytest.mark.parametrize("side", ["before", "after"])
def test_a_commit_that_is_cut_off_is_neither_lost_nor_done_twice(
    bench: Bench, workers: None, sender: Sender, side: str
) -> None:
    # each process that connects has COMMITs of its own
    insert = bench.proxy.hold(re.compile(rb"INSERT INTO users"))
    sent = sender.send("add", side)
    assert insert.reached.wait(4 * PATIENCE)
    trap = bench.proxy.cut_before() if side == "before" else bench.proxy.cut_after()
    insert.release()
    found = sender.result(sent)
    assert trap.reached.is_set()
    assert bench.usernames() == [side]
    assert (found, bench.runs(side)) == (([2, 1], 2) if side == "before" else (None, 1))


@on("postgresql", "mariadb", "sqlite")
def test_a_worker_of_dramatiqs_that_is_killed_applies_its_message_once(bench: Bench) -> None:
    broker = RedisBroker(url=bench.broker)  # type: ignore[no-untyped-call]
    broker.declare_queue("default")

    def send(name: str, committed: bool) -> None:
        args = (name, committed)
        broker.enqueue(
            Message(queue_name="default", actor_name="add", args=args, kwargs={}, options={})
        )

    messages, run = "dramatiq:default.msgs", ("-m", "tests.workers.dramatiq_program")
    before, after = f"before {bench.family}", f"after {bench.family}"
    send(before, False)
    bench.start(*run).wait(4 * PATIENCE)
    assert bench.usernames() == []  # killed before its commit

    second = bench.start(*run)
    bench.until(lambda: not bench.redis.exists(messages), "it was not done")
    assert (bench.usernames(), bench.runs(before)) == ([before], 2)
    send(after, True)
    second.wait(4 * PATIENCE)
    assert bench.usernames() == [after, before]  # killed after it

    bench.start(*run)
    bench.until(lambda: not bench.redis.exists(messages), "it was not done")
    assert (bench.usernames(), bench.runs(after)) == ([after, before], 1)
    bench.stop()
    broker.close()
