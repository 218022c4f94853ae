"""Reads inside a savepoint that was not sent yet: whether it may wait for more than them."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm.session import SessionTransactionState

from ..connection import ConnectionRecord
from ..registry import Scope
from .side import Side

_ACTIVE = SessionTransactionState.ACTIVE


def takes_none(transaction: Any) -> bool:
    """Whether SQLAlchemy's transaction, if there is one, goes on without a connection so far."""
    while transaction is not None:
        if transaction._connections or transaction._state is not _ACTIVE:
            return False
        transaction = transaction._parent
    return True


def reads_inside(session: Any, scope: Scope, side: Side) -> bool:
    """Whether a read may be sent as it is, although a savepoint is open.

    One that was not sent yet waits for more than a read, where the error of a read leaves the
    transaction as it was.
    """
    nested = session._nested_transaction
    if nested is None or nested._connections:
        return True
    if side.family.embedded:
        return True
    transaction = scope.transaction
    if transaction is None or not (transaction.put_off or transaction.apart):
        return False
    # a limit that the server is told begins what was put off
    return not side.limits or (scope.deadline is None and transaction.limit is None)


def reads_inside_unbegun(
    session: Any, scope: Scope, connection: ConnectionRecord, side: Side
) -> bool:
    """``reads_inside``, also for a connection on which nothing is begun yet."""
    if scope.transaction is not None or session._nested_transaction is None:
        return reads_inside(session, scope, side)
    if scope.deadline is not None and side.limits:
        return False
    return side.family.embedded or side.apart or connection.puts_off
