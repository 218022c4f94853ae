"""RQ: a unit of work for each job, finished after its commit."""

from __future__ import annotations

from typing import Any

from ..errors import MissingDriver
from .settings import retried
from .tasks import Sessions as _Sessions
from .tasks import TaskUnit
from .verdicts import Verdict

try:
    from rq import get_current_job
    from rq.exceptions import ShutDownImminentException
    from rq.timeouts import JobTimeoutException
except ImportError as missing:
    raise MissingDriver("RQ is not installed.", extra="rq") from missing

__all__ = ["Sessions", "retried"]


class Sessions(_Sessions):
    """The sessions of a Database's jobs::

        sessions = Sessions(db)

        @sessions.task
        def pay(number: int) -> None:
            db.current.get(Order, number).paid = True

        queue.enqueue(pay, 1, retry=Retry(max=3))

    Each job is one scope and one transaction. It commits before the job is finished, and rolls back
    where an exception left it. What failed for good is not run again, whatever ``retry`` says.

    :param options: the fields of TaskOptions and ScopeOptions.
    :raises InvalidOption: an option is unknown, or its value outside its limits.
    """

    strikes = (JobTimeoutException, ShutDownImminentException)

    def token(self, *args: Any) -> str | None:
        """The job's id, with the moment at which it was made: an id may be used again."""
        job = get_current_job()
        if job is None:
            return None
        return f"{job.id} {job.created_at.timestamp():.6f}"

    def settle(self, unit: TaskUnit, error: BaseException) -> BaseException:
        """Takes a job's retries away, where it must not be run again."""
        job = get_current_job()
        if job is not None and unit.verdict(error) is Verdict.NEVER:
            job.retries_left = 0
        return error
