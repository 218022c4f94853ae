"""Whether a unit runs again, when, and at whose expense; time and chance are arguments."""

from __future__ import annotations

import asyncio
import math
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermetic.blending import FAULT_CLASSES
from hermetic.dialects.classify import classify
from hermetic.errors import (
    CommitUnknown,
    DeadlineExceeded,
    FaultError,
    Outcome,
    PoolTimeout,
    RetryRequested,
    RolledBack,
    ScopeEnded,
)
from hermetic.faults import Fault, FaultKind, Rerun, Transaction
from hermetic.options import RETRYABLE_KINDS, Retry
from hermetic.retry import (
    Again,
    Enough,
    Failure,
    RetryBudget,
    decide,
    failure_of,
    may_rerun,
    pause_before,
)


def fault(kind: FaultKind, rerun: Rerun = Rerun.TRANSACTION) -> Fault:
    return Fault(kind, "code", rerun, Transaction.DOOMED)


def failed(
    error: BaseException | None = None,
    *,
    kind: FaultKind | None = FaultKind.DEADLOCK,
    rerun: Rerun = Rerun.TRANSACTION,
    outcome: Outcome | None = Outcome.NOT_COMMITTED,
) -> Failure:
    return Failure(
        error or RuntimeError("x"), None if kind is None else fault(kind, rerun), outcome
    )


def plenty() -> RetryBudget:
    return RetryBudget(1000.0, 1000)


# ---------------------------------------------------------------- the pause


@given(
    attempt=st.integers(2, 2000),
    chance=st.floats(0, 1),
    base=st.floats(0, 100),
    cap=st.floats(0, 1000),
)
def test_a_pause_is_between_zero_and_the_cap(
    attempt: int, chance: float, base: float, cap: float
) -> None:
    policy = Retry(base=base, cap=cap)

    pause = pause_before(policy, attempt, chance)

    assert 0 <= pause <= cap
    assert pause <= base * 2.0 ** min(attempt - 2, 1000)


@pytest.mark.parametrize(
    ("attempt", "longest"), [(2, 0.02), (3, 0.04), (4, 0.08), (8, 1.28), (9, 2.0), (1000, 2.0)]
)
def test_the_range_of_the_pause_doubles_up_to_the_cap(attempt: int, longest: float) -> None:
    policy = Retry()

    assert pause_before(policy, attempt, 1.0) == pytest.approx(longest)
    assert pause_before(policy, attempt, 0.5) == pytest.approx(longest / 2)
    assert pause_before(policy, attempt, 0.0) == 0.0


def test_without_a_base_there_is_no_pause() -> None:
    assert pause_before(Retry(base=0), 500, 1.0) == 0.0


# ---------------------------------------------------------------- what may run again


@pytest.mark.parametrize("kind", FaultKind)
def test_the_default_policy_reruns_what_passes_and_nothing_else(kind: FaultKind) -> None:
    again = {
        FaultKind.SERIALIZATION,
        FaultKind.DEADLOCK,
        FaultKind.LOCK_TIMEOUT,
        FaultKind.CONNECTION_LOST,
        FaultKind.IDLE_TIMEOUT,
        FaultKind.CANNOT_CONNECT,
        FaultKind.TOO_MANY_CONNECTIONS,
        FaultKind.NOT_READY,
        FaultKind.STALE_PLAN,
        FaultKind.READ_ONLY,
    }

    assert may_rerun(Retry(), failed(kind=kind)) is (kind in again)
    assert again == RETRYABLE_KINDS


@pytest.mark.parametrize("rerun", Rerun)
def test_a_fault_that_would_come_again_is_not_rerun_whatever_its_kind(rerun: Rerun) -> None:
    allowed = rerun in (Rerun.TRANSACTION, Rerun.CONNECT)

    assert may_rerun(Retry(), failed(rerun=rerun)) is allowed


def test_a_policy_may_name_other_kinds() -> None:
    policy = Retry(on=frozenset({FaultKind.UNIQUE}))

    assert may_rerun(policy, failed(kind=FaultKind.UNIQUE))
    assert not may_rerun(policy, failed(kind=FaultKind.DEADLOCK))


@pytest.mark.parametrize("outcome", [Outcome.COMMITTED, Outcome.UNKNOWN, None])
@pytest.mark.parametrize("when", [None, lambda error: True], ids=["default", "when says yes"])
def test_only_what_was_certainly_not_applied_runs_again(outcome: Outcome | None, when: Any) -> None:
    assert not may_rerun(Retry(when=when), failed(outcome=outcome))
    assert not may_rerun(Retry(when=when), failed(RetryRequested(), outcome=outcome))


NEVER = [
    CommitUnknown("lost"),
    DeadlineExceeded("late", timeout=1.0),
    KeyboardInterrupt(),
    SystemExit(),
    GeneratorExit(),
]


@pytest.mark.parametrize("error", NEVER, ids=lambda e: type(e).__name__)
def test_unknown_outcomes_deadlines_and_exits_are_never_rerun(error: BaseException) -> None:
    asked: list[BaseException] = []

    def when(error: BaseException) -> bool:
        asked.append(error)
        return True

    assert not may_rerun(Retry(when=when), failed(error))
    assert asked == []


def test_a_cancelled_task_is_never_rerun() -> None:
    assert not may_rerun(Retry(when=lambda error: True), failed(asyncio.CancelledError()))


@pytest.mark.parametrize("answer", [True, False])
def test_when_overrules_the_kinds(answer: bool) -> None:
    policy = Retry(when=lambda error: answer)

    assert may_rerun(policy, failed(kind=FaultKind.DEADLOCK)) is answer
    assert may_rerun(policy, failed(kind=None)) is answer
    assert may_rerun(policy, failed(RetryRequested(), kind=None)) is answer


def test_when_may_leave_the_question_to_the_kinds() -> None:
    policy = Retry(when=lambda error: None)

    assert may_rerun(policy, failed(kind=FaultKind.DEADLOCK))
    assert not may_rerun(policy, failed(kind=FaultKind.UNIQUE))


def test_an_application_can_ask_for_another_run() -> None:
    assert may_rerun(Retry(), failed(RetryRequested("stock changed"), kind=None))


@pytest.mark.parametrize(
    "error",
    [ValueError("own"), ScopeEnded("over"), RolledBack("nothing")],
    ids=lambda e: type(e).__name__,
)
def test_errors_that_are_no_fault_are_not_rerun(error: Exception) -> None:
    assert not may_rerun(Retry(), failed(error, kind=None))


def test_a_pool_without_room_is_not_stormed() -> None:
    error = PoolTimeout("full", pool="p", limit=1)

    assert not may_rerun(Retry(), failed(error, kind=FaultKind.TOO_MANY_CONNECTIONS))


# ---------------------------------------------------------------- the decision


def decided(policy: Retry, failure: Failure | None = None, **given: Any) -> Again | Enough:
    arguments: dict[str, Any] = {
        "attempt": 1,
        "now": 100.0,
        "deadline": None,
        "chance": 0.5,
        "budget": plenty(),
        **given,
    }
    return decide(policy, failure or failed(), **arguments)


def test_a_failed_run_is_followed_by_another_after_its_pause() -> None:
    assert decided(Retry(), attempt=3, chance=0.25) == Again(0.02)


@pytest.mark.parametrize(
    ("attempts", "attempt", "runs_again"),
    [(1, 1, False), (2, 1, True), (2, 2, False), (5, 4, True), (5, 5, False), (5, 6, False)],
)
def test_there_are_as_many_runs_as_the_policy_says(
    attempts: int, attempt: int, runs_again: bool
) -> None:
    decision = decided(Retry(attempts=attempts), attempt=attempt)

    assert isinstance(decision, Again) is runs_again
    if not runs_again:
        assert decision == Enough(f"all {attempts} attempts were used")


@pytest.mark.parametrize(("deadline", "runs_again"), [(100.02, True), (100.01, False), (99, False)])
def test_no_run_begins_at_or_after_the_deadline(deadline: float, runs_again: bool) -> None:
    # the pause will be 0.01 s
    decision = decided(Retry(), deadline=deadline)

    assert isinstance(decision, Again) is runs_again
    if not runs_again:
        assert decision == Enough("its time is over")


def test_what_was_no_question_of_retrying_gives_no_reason() -> None:
    budget = RetryBudget(0.001, 1)

    assert decided(Retry(), failed(kind=FaultKind.UNIQUE), budget=budget) == Enough("")
    assert budget.spend(100.0), "nothing was taken from the budget"


@pytest.mark.parametrize("given", [{"attempt": 5}, {"deadline": 100.0}])
def test_a_run_that_is_not_repeated_costs_the_budget_nothing(given: dict[str, Any]) -> None:
    budget = RetryBudget(0.001, 1)

    assert isinstance(decided(Retry(), budget=budget, **given), Enough)
    assert budget.spend(100.0)


def test_a_spent_budget_ends_the_retries_of_everybody() -> None:
    budget = RetryBudget(0.001, 2)

    decisions = [decided(Retry(), budget=budget) for _ in range(3)]

    assert decisions[:2] == [Again(0.01), Again(0.01)]
    assert decisions[2] == Enough("the Database's budget of retries is spent")


# ---------------------------------------------------------------- the budget


def test_a_budget_begins_full_and_fills_with_time_up_to_its_burst() -> None:
    budget = RetryBudget(2.0, 3)

    assert [budget.spend(0.0) for _ in range(4)] == [True, True, True, False]
    assert not budget.spend(0.4)
    assert budget.spend(0.5)
    assert not budget.spend(0.5)
    assert [budget.spend(1000.0) for _ in range(4)] == [True, True, True, False]


def test_a_clock_that_is_read_out_of_order_fills_nothing() -> None:
    budget = RetryBudget(1.0, 1)

    assert budget.spend(100.0)
    assert not budget.spend(50.0)
    assert not budget.spend(100.5), "only half a second has passed since 100.0"
    assert budget.spend(101.0)


def test_a_budget_without_burst_allows_no_retry() -> None:
    budget = RetryBudget(1000.0, 0)

    assert not any(budget.spend(float(now)) for now in range(10))


@given(
    steps=st.lists(st.floats(0, 5, allow_subnormal=False), min_size=1, max_size=50),
    per_second=st.floats(0.01, 20),
    burst=st.integers(0, 20),
)
def test_a_budget_never_allows_more_than_burst_and_rate_together(
    steps: list[float], per_second: float, burst: int
) -> None:
    budget = RetryBudget(per_second, burst)
    now = start = 1000.0
    allowed = 0

    for step in steps:
        now += step
        allowed += budget.spend(now)

    assert allowed <= math.floor(burst + (now - start) * per_second + 1e-6)


def test_threads_share_one_budget() -> None:
    budget = RetryBudget(0.001, 100)
    allowed: list[bool] = []
    together = threading.Barrier(8, timeout=10)

    def spend() -> None:
        together.wait()
        allowed.extend(budget.spend(1.0) for _ in range(50))

    threads = [threading.Thread(target=spend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert sum(allowed) == 100
    assert len(allowed) == 400


# ---------------------------------------------------------------- what is known of a failure


def test_a_translated_error_brings_its_own_fault() -> None:
    error = FAULT_CLASSES[FaultKind.DEADLOCK]("translated")
    assert isinstance(error, FaultError)
    error.fault = fault(FaultKind.DEADLOCK)

    failure = failure_of(error, Outcome.NOT_COMMITTED, classify)

    assert failure == Failure(error, error.fault, Outcome.NOT_COMMITTED)


def test_a_fault_class_that_an_application_raises_is_a_failure_without_a_fault() -> None:
    error = FAULT_CLASSES[FaultKind.DEADLOCK]("made by hand")

    failure = failure_of(error, Outcome.NOT_COMMITTED, classify)

    assert failure == Failure(error, None, Outcome.NOT_COMMITTED)
    assert not may_rerun(Retry(), failure)


def test_any_other_error_is_classified() -> None:
    error = RuntimeError("of a driver")
    known = fault(FaultKind.CONNECTION_LOST)

    failure = failure_of(error, None, lambda asked: known if asked is error else None)

    assert failure == Failure(error, known, None)
