"""RQ: a worker that forks for each job."""

from __future__ import annotations

import re
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
