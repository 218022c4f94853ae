"""Celery: a worker with forked processes, one of which is killed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import chain, chord, group

from hermetic import ConfigurationError
from hermetic.integrations.celery import to_celery
from hermetic.outbox import Outbox
from tests.workers.conftest import Bench, Sender, start_celery
from tests.worlds import PATIENCE

pytestmark = [pytest.mark.postgresql, pytest.mark.slow]


@pytest.fixture(scope="module")
def program(shared_bench: Bench) -> Iterator[Any]:
    with shared_bench.known():
        from tests.workers import celery_program
    start_celery(shared_bench, "--concurrency=1")
    yield celery_program
    celery_program.db.close()
    celery_program.app.close()
    celery_program.book.close()


def result(bench: Bench, sent: Any) -> Any:
    return Sender(bench).result(sent)


@pytest.mark.parametrize("then", ["kill", "kill when committed"])
def test_a_process_that_is_killed_applies_its_task_once(
    bench: Bench, program: Any, then: str
) -> None:
    name = then.replace(" ", "-")
    found = result(bench, program.add.delay(name, then))
    assert bench.usernames() == [name]
    # before its commit it is run again, after it the token says that it was done
    assert (found, bench.runs(name)) == (([2, 0], 2) if then == "kill" else (None, 1))


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_commit_that_is_cut_off_is_neither_lost_nor_done_twice(
    bench: Bench, program: Any, side: str
) -> None:
    # the connection may be one of before the last cut
    result(bench, program.add.delay("first"))
    trap = bench.proxy.cut_before() if side == "before" else bench.proxy.cut_after()
    found = result(bench, program.add.delay(side))
    assert trap.reached.is_set()
    assert bench.usernames() == sorted(["first", side])
    assert (found, bench.runs(side)) == (([2, 1], 2) if side == "before" else (None, 1))


def test_what_failed_for_good_is_not_run_again(bench: Bench, program: Any) -> None:
    result(bench, program.add.delay("dan"))
    sent = program.add.delay("dan")
    # the flush comes with the commit, and its failure before the result
    assert type(result(bench, sent)).__name__ == "UniqueViolation"
    assert (sent.state, bench.runs("dan")) == ("FAILURE", 2)


def test_what_passes_is_run_again_here_or_sent_again(bench: Bench, program: Any) -> None:
    assert result(bench, program.persist.delay("eve")) == 3
    # not declared safe: as often as the task's own settings have it sent again
    assert result(bench, program.add.delay("fay", "ask")) == [3, 2]
    assert bench.usernames() == ["eve", "fay"]


def test_a_task_that_runs_out_of_time_is_rolled_back(bench: Bench, program: Any) -> None:
    sent = program.add.apply_async(("gus", "wait"), soft_time_limit=0.2)
    assert type(result(bench, sent)).__name__ == "SoftTimeLimitExceeded"
    assert result(bench, program.add.delay("hal")) == [1, 0]
    assert bench.usernames() == ["hal"]


def test_what_is_sent_on_commit_comes_after_it_or_not_at_all(bench: Bench, program: Any) -> None:
    assert isinstance(result(bench, program.add.delay("ida", "fail")), LookupError)
    assert result(bench, program.add.delay("jim", "send")) == [1, 0]
    bench.until(lambda: bench.runs("jim-after") == 2, "nothing was sent")
    bench.until(lambda: bench.usernames() == ["jim", "jim-after"], "it was not done")
    assert bench.runs("ida-after") == 0


def test_an_outbox_sends_to_it(bench: Bench, program: Any) -> None:
    box = Outbox(program.db)
    box.create()
    send = to_celery(program.app)
    with program.db.session() as session:
        tokens = [
            box.put(session, program.add.name, payload)
            for payload in ({"name": "kim"}, ["lea"], "max")
        ]
    assert box.relay(send).drain() == 3
    # a relay that was killed sends once more
    program.app.send_task(program.add.name, ["kim"], task_id=tokens[0])
    for token in tokens:
        result(bench, program.app.AsyncResult(token))
    result(bench, program.add.delay("ned"))
    assert bench.usernames() == ["kim", "lea", "max", "ned"]


def test_what_a_member_of_a_canvas_has_done_the_next_one_sees(bench: Bench, program: Any) -> None:
    add, count = program.add, program.count
    sent = chain(add.si("pia"), add.si("quy"), count.si())()
    assert result(bench, sent)[0] == 2
    group(add.si(name) for name in ("rob", "sue"))().join(timeout=4 * PATIENCE)
    assert bench.usernames() == ["pia", "quy", "rob", "sue"]
    # the body begins when all of the header has committed
    assert result(bench, chord(add.si(name) for name in ("tom", "uli"))(count.si()))[0] == 6


def test_it_is_installed_before_there_are_tasks(program: Any) -> None:
    with pytest.raises(ConfigurationError, match="already"):
        program.sessions.install(program.app)
    # called by hand it is a unit of its own
    with pytest.raises(LookupError):
        program.add("ota", "fail")


def test_a_result_comes_after_the_commit(bench: Bench, program: Any) -> None:
    assert result(bench, program.add.delay("ann")) == [1, 0]
    assert bench.usernames() == ["ann"]
    assert result(bench, program.serializable.delay()) == "serializable"
    for count, name in enumerate(("bob", "cyd"), 2):
        assert result(bench, program.add_in_a_loop.delay(name)) == count
