"""What is said of a statement, or of a COMMIT, that a transaction's state keeps from being sent."""

from __future__ import annotations

from .connection import Transaction
from .errors import CommitUnknown, LostByPooler, RolledBack, ScopeControls
from .registry import Scope, describe_error


def given_up(
    scope: Scope | None, transaction: Transaction, *, sending: bool = False
) -> RolledBack | CommitUnknown:
    """The error for a transaction that the server, or an error before, has given up."""
    cause = transaction.failure
    ref = None if scope is None else scope.ref
    error: RolledBack | CommitUnknown
    if transaction.unsure:
        error = CommitUnknown(
            "The transaction was ended by something other than its scope; what came before that is "
            "committed or rolled back, nobody can say which.",
            scope=ref,
            hint="Leave transaction control to the scope, and send what commits by itself in a "
            "scope of its own with propagation='not_supported'.",
        )
    else:
        what = "The statement was not sent: the" if sending else "Nothing was committed: the"
        why = "by the server" if cause is None else f"by an earlier error, {describe_error(cause)}"
        error = RolledBack(
            f"{what} transaction was given up {why}.",
            scope=ref,
            hint="Let that error end the scope, or put a savepoint (propagation='nested') around "
            "what may fail.",
        )
    error.__cause__ = cause
    return error


def lost_by_pooler(scope: Scope | None, what: str) -> LostByPooler:
    """The error for what a pooler would not keep for whoever asked for it."""
    return LostByPooler(
        f"{what.strip()[:80]!r} outlives its transaction, on a connection that the pooler lends to "
        "somebody else then. It was not sent.",
        statement=what,
        scope=None if scope is None else scope.ref,
        hint="Use what ends with a transaction (SET LOCAL, pg_advisory_xact_lock, ON COMMIT DROP), "
        "or another Database that goes past the pooler.",
    )


def ended_by_hand(scope: Scope) -> ScopeControls:
    return ScopeControls(
        "The scope's transaction was committed or rolled back by something other than the scope.",
        scope=scope.ref,
        hint="Leave commit and rollback to the scope; use rollback_only() or a nested scope.",
    )
