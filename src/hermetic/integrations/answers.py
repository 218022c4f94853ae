"""What a client is told when its request failed: a status, and whether anything was changed."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from sqlalchemy.orm.exc import StaleDataError

from .. import errors as e
from ..errors import CommitUnknown, FaultError, Outcome, RolledBack, TransactionError
from ..events import logger

CONFLICT: Final = 409
UNAVAILABLE: Final = 503
LATE: Final = 504
UNKNOWN: Final = 500

# The nearest class of an error's own decides; None: it is a fault of the program.
STATUSES: Final[Mapping[type[BaseException], int | None]] = {
    e.SerializationConflict: CONFLICT,
    e.Deadlock: CONFLICT,
    e.LockTimeout: CONFLICT,
    e.StalePlan: CONFLICT,
    e.UniqueViolation: CONFLICT,
    e.ForeignKeyViolation: CONFLICT,
    e.RetryRequested: CONFLICT,
    StaleDataError: CONFLICT,
    e.PoolError: UNAVAILABLE,
    e.PoolSelfDeadlock: None,
    e.NoReplica: UNAVAILABLE,
    e.DatabaseClosed: UNAVAILABLE,
    e.CannotConnect: UNAVAILABLE,
    e.UntrustedServer: None,
    e.ConnectionLost: UNAVAILABLE,
    e.IdleTimeout: UNAVAILABLE,
    e.TooManyConnections: UNAVAILABLE,
    e.NodeNotReady: UNAVAILABLE,
    e.ReadOnlyServer: UNAVAILABLE,
    e.OutOfResources: UNAVAILABLE,
    e.DeadlineExceeded: LATE,
    e.StatementTimeout: LATE,
    e.CommitUnknown: UNKNOWN,
    e.CompletionUnknown: UNKNOWN,
}

_SAID: Final = {
    CONFLICT: "It met another change of the same data. Nothing was changed.",
    UNAVAILABLE: "The database cannot be used at the moment. Nothing was changed.",
    LATE: "It took longer than it may. Nothing was changed.",
    UNKNOWN: "It is not known whether the changes were made.",
}

# what stands of the changes, where that is not nothing, and what is said of it
_STANDING: Final = {
    "unknown": _SAID[UNKNOWN],
    "partly committed": "It failed after a part of its changes was made.",
    "committed": "It failed. Its changes were made.",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: the status, header fields, and a body of ``application/problem+json``."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def unanswered() -> RolledBack:
    """For a request that the application has not answered: nobody was told of a success."""
    return RolledBack(
        "The application gave no response.",
        hint="Every way through it has to begin one, or to raise.",
    )


def status_of(
    error: BaseException, statuses: Mapping[type[BaseException], int | None]
) -> int | None:
    """The status for an error, or ``None`` for one that is the program's own fault.

    A rollback that nobody asked for is answered as what it came from.
    """
    if _outcome_of(error) is Outcome.UNKNOWN:
        return statuses.get(CommitUnknown, UNKNOWN)
    for kind in type(error).__mro__:
        if kind in statuses:
            return statuses[kind]
    if isinstance(error, RolledBack) and error.__cause__ is not None:
        return status_of(error.__cause__, statuses)
    return None


def answer_to(
    error: BaseException,
    statuses: Mapping[type[BaseException], int | None] = STATUSES,
    retry_after: int = 1,
    outcomes: Collection[Outcome | None] = (),
) -> Answer | None:
    """The answer to a request that failed with an error; ``None`` where the error is the program's.

    It says nothing of the error itself, which is logged.

    :param retry_after: seconds, of ``Retry-After``.
    :param outcomes: of the request's units, as far as they have ended. Default: those of the error.
    """
    status = status_of(error, statuses)
    standing = _standing(error, outcomes)
    if status is not None and standing in ("unknown", "partly committed"):
        # all others promise that it may be sent once more
        status = statuses.get(CommitUnknown, UNKNOWN)
    if status is None:
        return None
    said = _STANDING.get(standing) or _SAID.get(status, "Nothing was changed.")
    problem = {"title": _phrase(status), "status": status, "detail": said, "outcome": standing}
    headers = [("content-type", "application/problem+json"), ("cache-control", "no-store")]
    token = _token_of(error)
    if token is not None:
        problem["commit"] = token
        headers.append(("hermetic-commit", token))
    if status == UNAVAILABLE and standing == "not committed":
        headers.append(("retry-after", str(retry_after)))
    _log(error, status)
    body = json.dumps(problem).encode()
    headers.append(("content-length", str(len(body))))
    return Answer(status, tuple(headers), body)


def _standing(error: BaseException, outcomes: Collection[Outcome | None]) -> str:
    if Outcome.UNKNOWN in (_outcome_of(error), *outcomes):
        return "unknown"
    if Outcome.COMMITTED not in outcomes:
        return "not committed"
    return "partly committed" if Outcome.NOT_COMMITTED in outcomes else "committed"


def _outcome_of(error: BaseException) -> Outcome | None:
    if isinstance(error, (FaultError, TransactionError)):
        return error.outcome
    return None


def _token_of(error: BaseException) -> str | None:
    if not isinstance(error, CommitUnknown) or error.proof is None:
        return None
    proof = error.proof
    if proof.token is not None:
        return proof.token
    return None if proof.transaction is None else str(proof.transaction)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _log(error: BaseException, status: int) -> None:
    if status >= UNKNOWN:
        logger.error("a request was answered with %d", status, exc_info=error)
    else:
        logger.info("a request was answered with %d: %s", status, error)


BAD_TIMEOUT: Final = Answer(
    400,
    (("content-type", "text/plain; charset=utf-8"),),
    b"The header field with the request's timeout must be a number of seconds above 0.",
)
# that of a client which did not wait for it, as access logs have it
GONE: Final = Answer(499, (("content-length", "0"),), b"")
