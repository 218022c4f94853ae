"""Whether a task that failed may be run again, by what stands of its changes."""

from __future__ import annotations

import enum
from typing import Final

from .. import errors as e
from ..errors import FaultError, Outcome, TransactionError
from .answers import CONFLICT, STATUSES, UNAVAILABLE, status_of

# of a class that is worth another try elsewhere, as a client with other values has one
_PERMANENT: Final = (
    e.IntegrityViolation,
    e.InvalidData,
    e.InvalidStatement,
    e.PermissionDenied,
    e.AuthenticationFailed,
    e.UntrustedServer,
    e.UnsupportedFeature,
    e.UnusableFile,
    e.TransactionAborted,
)


class Verdict(enum.Enum):
    """What a worker may do with a task that failed."""

    AGAIN = "nothing was changed, and it may go well another time"
    NEVER = "it would fail again, or was or may have been done"
    OWN = "the database has nothing to do with it: as the worker has it"


def verdict_of(error: BaseException, outcome: Outcome | None, *, once: bool = False) -> Verdict:
    """The verdict on a task.

    :param error: what it raised.
    :param outcome: of its unit, where one was opened.
    :param once: whether a task that was done is known by its token: then it may be asked about by
        running it again.
    """
    if outcome is Outcome.UNKNOWN:
        return Verdict.AGAIN if once else Verdict.NEVER
    if isinstance(error, (FaultError, TransactionError)) and error.outcome is Outcome.UNKNOWN:
        # of a scope of its own inside the task, which no token covers
        return Verdict.NEVER
    if outcome is Outcome.COMMITTED or isinstance(error, _PERMANENT):
        return Verdict.NEVER
    cause = error.__cause__
    if isinstance(error, e.RolledBack) and isinstance(cause, _PERMANENT):
        return Verdict.NEVER
    if outcome is None:
        # scopes of its own are all that it had: some of them may have been committed
        return Verdict.OWN
    passing = status_of(error, STATUSES) in (CONFLICT, UNAVAILABLE)
    return Verdict.AGAIN if passing else Verdict.OWN
