"""How a transaction ended whose commit was refused, raised, or had no answer."""

from __future__ import annotations

from sqlalchemy.exc import InvalidRequestError

from .boundary import Entry
from .dialects.classify import classify
from .errors import (
    CommitUnknown,
    DeadlineExceeded,
    FaultError,
    ForkedScope,
    Outcome,
    RolledBack,
    TransactionError,
)
from .events import logger
from .execution import disarm
from .fast.listening import is_heard
from .refusals import given_up
from .registry import Scope, describe_error

# as in boundary
_PLAIN = Entry.PLAIN
_COMMITTED, _NOT_COMMITTED, _UNKNOWN = Outcome.COMMITTED, Outcome.NOT_COMMITTED, Outcome.UNKNOWN


def not_committed(scope: Scope, struck: BaseException) -> BaseException:
    """What to raise for a commit that raised; notes the outcome."""
    failed = own_words(scope, struck)
    outcome = outcome_of(scope, failed)
    if scope.entry is not _PLAIN:
        scope.boundary.end(outcome)
    if isinstance(failed, FaultError):
        failed.outcome = outcome
    if (
        outcome is _UNKNOWN
        and isinstance(failed, Exception)
        and not isinstance(failed, CommitUnknown)
    ):
        return _unknown(scope, failed)
    return failed


def outcome_of(scope: Scope, failed: BaseException) -> Outcome:
    """How the transaction ended whose commit raised."""
    transaction = scope.transaction
    if transaction is None or not transaction.commit_sent:
        unsure = transaction is not None and transaction.unsure
        return _UNKNOWN if unsure else _NOT_COMMITTED
    if transaction.committed:
        return _COMMITTED
    if isinstance(failed, RolledBack):
        return _NOT_COMMITTED
    # lateness says nothing of the outcome; what it was made of does
    fault = classify((failed.__cause__ or failed) if _is_late(failed) else failed)
    if fault is not None and not fault.ambiguous_at_commit:
        return _NOT_COMMITTED
    # nothing was written that could be there or not
    return _NOT_COMMITTED if scope.readonly else _UNKNOWN


def _is_late(failed: BaseException) -> bool:
    return isinstance(failed, DeadlineExceeded)


def own_words(scope: Scope, failed: BaseException) -> BaseException:
    """What SQLAlchemy says of a transaction that was ended under it, with the cause it has."""
    transaction = scope.transaction
    if (
        transaction is not None
        and transaction.failure is not None
        and isinstance(failed, InvalidRequestError)
    ):
        return given_up(scope, transaction)
    return failed


def _unknown(scope: Scope, cause: Exception) -> CommitUnknown:
    if scope.proof is None:
        hint = (
            "Nothing was run again. Look for one of its changes before you repeat it; with "
            "resolve_commits the database is asked."
        )
    else:
        hint = (
            f"Nothing was run again. It can be asked for by {scope.proof}: call "
            "db.resolve_commit(error) before you repeat it."
        )
    error = CommitUnknown(
        f"The answer to COMMIT was lost: {describe_error(cause)}. The scope's changes were applied "
        "as a whole or not at all, and the database could not be asked which.",
        scope=scope.ref,
        hint=hint,
        proof=scope.proof,
    )
    error.__cause__ = cause
    return error


def settle(
    scope: Scope, raised: BaseException | None, cleanup_timeout: float
) -> BaseException | None:
    """Ask the database what became of a COMMIT whose answer was lost.

    :return: what is left to raise: nothing after a commit, the loss itself after none.
    """
    _let_go(scope)
    outcome, why = scope.registry.resolver.settle(scope, cleanup_timeout)
    if outcome is _UNKNOWN:
        if isinstance(raised, CommitUnknown):
            raised.add_note(f"the database was asked, in vain: {why}")
        return raised
    scope.boundary.settle(outcome)
    if outcome is _COMMITTED:
        _tell_of_commit(scope)
    if isinstance(raised, CommitUnknown):
        # the loss itself; an interrupt, or a deadline that is over, stays what it is
        raised = None if outcome is _COMMITTED else raised.__cause__
    if isinstance(raised, (FaultError, TransactionError)):
        raised.outcome = outcome
    return raised


def _tell_of_commit(scope: Scope) -> None:
    """What SQLAlchemy's own commit does once the database has committed."""
    session = scope.session
    begun = session.get_transaction()
    if begun is None:
        return
    if is_heard(session):
        session.dispatch.after_commit(session)
    begun._remove_snapshot()


def _let_go(scope: Scope) -> None:
    """Destroy a connection that was lost, so that the server sees its end and its place is free."""
    connection = scope.connection
    if connection is not None:
        disarm(connection)
        if connection.break_off is not None and not connection.family.embedded:
            connection.break_off()
    try:
        transaction = scope.session.get_transaction()
        for held in {each[0] for each in transaction._connections.values()}:
            if not held.invalidated:
                held.invalidate()
    except Exception:
        logger.exception("a lost connection could not be destroyed in good order")


def refused(scope: Scope) -> RolledBack | ForkedScope:
    boundary = scope.boundary
    cause = boundary.cause
    if isinstance(cause, ForkedScope):
        return cause
    error = RolledBack(
        f"The scope was rolled back, not committed, because of {describe_error(cause)}.",
        scope=scope.ref,
        hint="A scope that joined it failed or asked for it. Let that error pass, or open the "
        "inner scope with propagation='nested'.",
    )
    error.__cause__ = cause
    return error
