"""Celery: a worker whose tasks run in threads, and one that does them itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.workers.conftest import Bench, Sender, start_celery

pytestmark = [pytest.mark.postgresql, pytest.mark.slow]


@pytest.fixture(scope="module", params=["threads", "solo"])
def worker(request: pytest.FixtureRequest, shared_bench: Bench) -> Iterator[str]:
    pool: str = request.param
    size = 2 if pool == "threads" else 1
    start_celery(shared_bench, f"--pool={pool}", f"--concurrency={size}")
    yield pool
    shared_bench.stop()


def test_its_tasks_are_units(bench: Bench, sender: Sender, worker: str) -> None:
    names = ["ann", "bob", "cyd"]
    sent = [sender.send("add", f"{name} {worker}") for name in names]
    assert [sender.result(each) for each in sent] == [[1, 0]] * 3
    assert bench.usernames() == sorted(f"{name} {worker}" for name in names)
    assert isinstance(sender.done("add", "dan", "fail"), LookupError)
    for count in (4, 5):
        assert sender.done("add_in_a_loop", f"dan {count} {worker}") == count
    assert sender.done("serializable") == "serializable"


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_commit_that_is_cut_off_is_neither_lost_nor_done_twice(
    bench: Bench, sender: Sender, worker: str, side: str
) -> None:
    name = f"{side} {worker}"
    # the connection may be one of before the last cut
    sender.done("add", f"first {name}")
    trap = bench.proxy.cut_before() if side == "before" else bench.proxy.cut_after()
    found = sender.done("add", name)
    assert trap.reached.is_set()
    assert bench.usernames() == sorted([f"first {name}", name])
    assert (found, bench.runs(name)) == (([2, 1], 2) if side == "before" else (None, 1))
