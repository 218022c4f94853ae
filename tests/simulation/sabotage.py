"""Faults put into hermetic, or under it, on purpose: what finds nothing here finds nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from tests.simulation import driver


def _reruns_whatever_happened() -> None:
    """A unit is run again although its outcome is not known."""
    from hermetic import CommitUnknown, retry

    before = retry.may_rerun

    def may_rerun(policy: Any, failure: Any) -> bool:
        return isinstance(failure.error, CommitUnknown) or before(policy, failure)

    retry.may_rerun = may_rerun


def _answers_without_asking() -> None:
    """A COMMIT whose answer was lost is taken for one that never came."""
    from hermetic.resolver import Resolver

    def absent(self: Any, connection: Any, proof: Any) -> bool:
        return False

    Resolver._by_token = absent  # type: ignore[method-assign]


def _swallows_cancellations() -> None:
    """A unit that was cancelled at its end returns as if nothing had been."""
    import hermetic.attempts

    attempts: Any = hermetic.attempts
    before = attempts.end_async

    async def end_async(*args: Any) -> None:
        try:
            await before(*args)
        except asyncio.CancelledError:
            pass

    attempts.end_async = end_async


def _loses_commits() -> None:
    """The database says that it has committed, and has not."""
    before = driver.Work._committed

    def committed(self: Any, function: Callable[[], Any]) -> Any:
        if driver.FAULTS.rates["commit"] and driver.FAULTS.chance.random() < 0.05:
            self.connection.rollback()
            return None
        return before(self, function)

    driver.Work._committed = committed  # type: ignore[method-assign]


def _commits_rollbacks() -> None:
    """A rollback leaves what was done."""
    before = driver.Work._carried_out

    def carried_out(self: Any, function: Any, interrupted: bool) -> Any:
        if driver._name(function) == "rollback" and driver.FAULTS.rates["commit"]:
            return self.connection.commit()
        return before(self, function, interrupted)

    driver.Work._carried_out = carried_out  # type: ignore[method-assign]


SABOTAGES: Final[dict[str, Callable[[], None]]] = {
    "reruns": _reruns_whatever_happened,
    "guesses": _answers_without_asking,
    "swallows": _swallows_cancellations,
    "loses": _loses_commits,
    "keeps": _commits_rollbacks,
}
