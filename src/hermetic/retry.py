"""Decisions about running a unit again. Pure: time and chance are arguments."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from .errors import CommitUnknown, DeadlineExceeded, Outcome, PoolError, RetryRequested
from .faults import Fault
from .options import RETRYABLE_KINDS, Retry


@dataclass(frozen=True, slots=True)
class Again:
    """Run the unit once more, after ``pause`` seconds."""

    pause: float


@dataclass(frozen=True, slots=True)
class Enough:
    """Do not run the unit again. ``reason`` is empty where it was never a question of retrying."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failure:
    """What is known of a run that failed."""

    error: BaseException
    fault: Fault | None
    outcome: Outcome | None


def pause_before(policy: Retry, attempt: int, chance: float) -> float:
    """Seconds before run number ``attempt`` (2 or more): full jitter, ``chance`` from 0 to 1."""
    # the exponent is bounded so that attempt 1000 does not overflow a float
    return chance * min(policy.cap, policy.base * 2.0 ** min(attempt - 2, 60))


def may_rerun(policy: Retry, failure: Failure) -> bool:
    """Whether this failure is of a kind that the policy runs again."""
    error = failure.error
    if not isinstance(error, Exception) or isinstance(error, (CommitUnknown, DeadlineExceeded)):
        return False
    if failure.outcome is not Outcome.NOT_COMMITTED:
        # COMMITTED was done; UNKNOWN may have been; None never began and will not begin better
        return False
    if policy.when is not None:
        answer = policy.when(error)
        if answer is not None:
            return answer
    if isinstance(error, RetryRequested):
        return True
    if isinstance(error, PoolError):
        return False
    fault = failure.fault
    if fault is None or fault.kind not in policy.on:
        return False
    # a kind that is not among the default ones was named by somebody who knows why
    return fault.retryable or fault.kind not in RETRYABLE_KINDS


def decide(
    policy: Retry,
    failure: Failure,
    *,
    attempt: int,
    now: float,
    deadline: float | None,
    chance: float,
    budget: RetryBudget,
) -> Again | Enough:
    """Whether run number ``attempt``, which failed, is followed by another, and after what pause.

    :param now: monotonic seconds.
    :param deadline: monotonic seconds at which the unit's time is over.
    """
    if not may_rerun(policy, failure):
        return Enough("")
    if attempt >= policy.attempts:
        return Enough(f"all {policy.attempts} attempts were used")
    pause = pause_before(policy, attempt + 1, chance)
    if deadline is not None and now + pause >= deadline:
        return Enough("its time is over")
    if not budget.spend(now):
        return Enough("the Database's budget of retries is spent")
    return Again(pause)


class RetryBudget:
    """A bucket of retries shared by every unit of a Database; it fills with time.

    One lock guards both numbers; nothing is called under it.
    """

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._tokens = float(burst)
        self._seen: float | None = None
        self.start_anew()

    def start_anew(self) -> None:
        """In a forked child: whoever held the lock is not here."""
        self._lock = threading.Lock()

    def spend(self, now: float) -> bool:
        """Take one retry, if one is left."""
        with self._lock:
            if self._seen is not None and now > self._seen:
                filled = self._tokens + (now - self._seen) * self._per_second
                self._tokens = min(self._burst, filled)
            self._seen = now if self._seen is None else max(now, self._seen)
            if self._tokens < 1.0:
                return False
            self._tokens -= 1.0
            return True


def failure_of(
    error: BaseException,
    outcome: Outcome | None,
    classify: Callable[[BaseException], Fault | None],
) -> Failure:
    """What is known of a failed run, from what it raised."""
    return Failure(error, classify(error), outcome)
