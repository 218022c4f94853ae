"""RQ: a worker that forks for each job."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from rq import Queue, Retry
from rq.job import Job

from tests.workers.conftest import Bench
from tests.worlds import PATIENCE

pytestmark = [pytest.mark.postgresql, pytest.mark.slow]


@pytest.fixture(scope="module")
def program(shared_bench: Bench) -> Iterator[Any]:
    with shared_bench.known():
        from tests.workers import rq_program
    shared_bench.start("-m", "tests.workers.rq_worker")
    yield rq_program
    rq_program.db.close()
    rq_program.book.close()


class Desk:
    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.queue = Queue(connection=bench.redis)

    def done(self, function: Any, *args: Any, **options: Any) -> Any:
        """Have a job done; its result, or the text of what it raised."""
        return self.ended(self.queue.enqueue(function, *args, retry=Retry(max=3), **options))

    def ended(self, job: Job) -> Any:
        ended = ("finished", "failed")
        self.bench.until(lambda: job.get_status(refresh=True) in ended, f"{job} was not done")
        result = job.latest_result()
        assert result is not None
        return result.exc_string or result.return_value


@pytest.fixture
def desk(bench: Bench) -> Desk:
    return Desk(bench)


def test_a_job_is_finished_after_its_commit(desk: Desk, program: Any) -> None:
    assert desk.done(program.add, "ann") == 1
    assert desk.bench.usernames() == ["ann"]
    assert desk.done(program.add_in_a_loop, "bob") == 2
    assert desk.bench.usernames() == ["ann", "bob"]


@pytest.mark.parametrize("then", ["kill", "kill when committed"])
def test_a_process_that_is_killed_applies_its_job_once(desk: Desk, program: Any, then: str) -> None:
    name = then.replace(" ", "-")
    found = desk.done(program.add, name, then)
    assert desk.bench.usernames() == [name]
    assert (found, desk.bench.runs(name)) == ((2, 2) if then == "kill" else (None, 1))


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_commit_that_is_cut_off_is_neither_lost_nor_done_twice(
    desk: Desk, program: Any, side: str
) -> None:
    proxy = desk.bench.proxy
    # each process connects anew, which has COMMITs of its own
    insert = proxy.hold(re.compile(rb"INSERT INTO users"))
    job = desk.queue.enqueue(program.add, side, retry=Retry(max=3))
    assert insert.reached.wait(4 * PATIENCE)
    trap = proxy.cut_before() if side == "before" else proxy.cut_after()
    insert.release()
    found = desk.ended(job)
    assert trap.reached.is_set()
    assert desk.bench.usernames() == [side]
    assert (found, desk.bench.runs(side)) == ((2, 2) if side == "before" else (None, 1))


def test_only_what_passes_is_run_again(desk: Desk, program: Any) -> None:
    assert desk.done(program.add, "cyd", "ask") == 3
    assert "UniqueViolation" in desk.done(program.add, "cyd")
    assert desk.bench.runs("cyd") == 4


def test_a_job_that_runs_out_of_time_is_rolled_back(desk: Desk, program: Any) -> None:
    job = desk.queue.enqueue(program.add, "dan", "wait", job_timeout=1)
    desk.bench.until(lambda: job.get_status(refresh=True) == "failed", "it goes on")
    assert desk.bench.usernames() == []
    assert desk.done(program.add, "eve") == 1


# ---------------------------------------------------------------- other workers than Worker


def held(desk: Desk, program: Any, name: str, kind: str = "default") -> tuple[Job, int]:
    """A job that has its transaction open, and waits; and its process."""
    queue = Queue(kind, connection=desk.bench.redis)
    job = queue.enqueue(program.add, name, "hold", retry=Retry(max=3))
    desk.bench.until(lambda: desk.bench.redis.exists(f"process {name}"), "it does not begin")
    return job, int(desk.bench.redis.get(f"process {name}") or 0)


def struck_at_commit(desk: Desk, program: Any, name: str, kind: str, number: int) -> Any:
    """What becomes of a job whose process gets a signal while it waits for its COMMIT's answer."""
    job, process = held(desk, program, name, kind)
    trap = desk.bench.proxy.hold()
    desk.bench.redis.rpush(f"go {name}", "go")
    assert trap.reached.wait(4 * PATIENCE)
    os.kill(process, number)
    trap.release()
    return desk.ended(job)


def test_a_timeout_waits_for_the_answer_to_a_commit(desk: Desk, program: Any) -> None:
    # as the alarm that RQ has set
    assert struck_at_commit(desk, program, "fay", "default", signal.SIGALRM) == 1
    assert desk.bench.usernames() == ["fay"]
    assert desk.bench.runs("fay") == 1


def test_a_job_that_has_to_leave_at_once(desk: Desk, program: Any) -> None:
    desk.bench.start("-m", "tests.workers.rq_worker", "HerokuWorker")
    leave = signal.SIGRTMIN
    # before its commit it is rolled back, and comes again
    job, process = held(desk, program, "gus", "HerokuWorker")
    os.kill(process, leave)
    assert desk.ended(job) == 2
    assert (desk.bench.usernames(), desk.bench.runs("gus")) == (["gus"], 2)
    # after it, it is done
    assert struck_at_commit(desk, program, "hal", "HerokuWorker", leave) == 1
    assert (desk.bench.usernames(), desk.bench.runs("hal")) == (["gus", "hal"], 1)


@pytest.mark.parametrize("kind", ["SimpleWorker", "SpawnWorker"])
def test_jobs_of_a_worker_that_does_not_fork(desk: Desk, program: Any, kind: str) -> None:
    desk.bench.start("-m", "tests.workers.rq_worker", kind)
    queue = Queue(kind, connection=desk.bench.redis)
    names = [f"{name} {kind}" for name in ("ann", "bob", "cyd")]
    added = queue.enqueue(program.add, names[0])
    late = queue.enqueue(program.add, names[1], "wait", job_timeout=1)
    counted = queue.enqueue(program.add_in_a_loop, names[2])
    assert desk.ended(added) == 1
    assert "JobTimeoutException" in desk.ended(late)
    assert desk.ended(counted) == 2
    assert desk.bench.usernames() == [names[0], names[2]]
