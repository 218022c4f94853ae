"""arq: a unit of work for each job, finished after its commit."""

from __future__ import annotations

import asyncio
from typing import Any

from ..errors import CommitUnknown, MissingDriver
from ..events import logger
from .settings import retried
from .tasks import Sessions as _Sessions
from .tasks import TaskUnit
from .verdicts import Verdict

try:
    from arq.worker import Retry
except ImportError as missing:
    raise MissingDriver("arq is not installed.", extra="arq") from missing

__all__ = ["Sessions", "retried"]


class Sessions(_Sessions):
    """The sessions of a Database's jobs::

        sessions = Sessions(db)

        @sessions.task
        async def pay(ctx: dict[str, Any], number: int) -> None:
            (await db.current.get(Order, number)).paid = True

        class WorkerSettings:
            functions = [pay]

    Each job is one scope and one transaction. It commits before the job is finished, and rolls back
    where an exception left it, or the job was cancelled.

    :param options: the fields of TaskOptions and ScopeOptions.
    :raises InvalidOption: an option is unknown, or its value outside its limits.
    """

    strikes = (asyncio.CancelledError,)

    def token(self, *args: Any) -> str | None:
        """The job's id, with the moment at which it was sent: an id may be used again."""
        ctx = args[0] if args and isinstance(args[0], dict) else {}
        if "job_id" not in ctx:
            return None
        return f"{ctx['job_id']} {ctx['enqueue_time'].timestamp():.3f}"

    def settle(self, unit: TaskUnit, error: BaseException) -> BaseException:
        """Has arq run a job again that met a passing failure, 1 s later, then 2, 4 …"""
        ctx, verdict = unit.arguments[0] if unit.arguments else {}, unit.verdict(error)
        if verdict is Verdict.NEVER and isinstance(error, asyncio.CancelledError):
            # arq runs again what was cancelled
            met = error.__context__
            if not isinstance(met, CommitUnknown):
                met = CommitUnknown(
                    "The job was cancelled while its COMMIT was on its way.",
                    hint="Look for one of its changes before it is enqueued again.",
                )
            return met
        if verdict is not Verdict.AGAIN or not isinstance(ctx, dict):
            return error
        tries = ctx.get("job_try")
        if tries is None:
            return error
        # arq keeps no more than that it was run too often
        logger.warning("job %s is given back to arq: %s", unit.name, error)
        again: BaseException = Retry(defer=min(2 ** (tries - 1), 60))
        return again
