"""The server's own limit on a statement, at its scope's deadline; the watchdog is behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .clock import monotonic
from .connection import ConnectionRecord
from .dialects.family import Family
from .options import DatabaseOptions
from .registry import Scope
from .watchdog import watchdog

# how long after a deadline a socket is destroyed if the server's own limit has not struck
GRACE = 0.1
# seconds that the server's own limit is at the least: what takes an inner scope's limit back is a
# statement under that limit itself, and the outer scope's transaction goes on
LEAST = 0.05
# seconds between two interrupts of a statement that may have begun after the first
AGAIN = 0.05


def limited(
    family: Family,
    options: DatabaseOptions,
    dialect: Any,
    connection: ConnectionRecord,
    scope: Scope,
    cursor: Any,
    statement: str,
) -> tuple[str, str | None, float | None]:
    """What has to be sent so that the server ends a statement in time.

    :return: the statement, maybe rewritten; what has to be executed first, where that cannot travel
        with it; and the limit in seconds that holds in the transaction from then on.
    """
    transaction = connection.transaction
    assert transaction is not None
    own, last = options.statement_timeout, transaction.limit
    if scope.deadline is None:
        # a joined scope's deadline is over, and the transaction goes on without one
        first = None if last is None else family.unlimit_statement(own)
        return statement, first, None
    limit = max(LEAST, scope.deadline - monotonic())
    limit = limit if own is None else min(limit, own)
    plain = transaction.plain and not transaction.apart
    if plain and options.pooler is not None:
        return statement, None, last  # a setting of the session would be somebody else's
    first, statement = family.limit_statement(dialect, statement, limit, plain=plain)
    if first is None or (last is not None and limit <= last <= limit + GRACE):
        return statement, None, last
    alone = transaction.apart or transaction.put_off
    if alone and family.limit_apart(cursor, statement, limit):
        return statement, None, last
    return statement, first, limit


def insist(strike: Callable[[], bool] | None) -> None:
    """Have something struck again and again until it is over."""
    if strike is not None:
        again = strike
        watchdog.arm(monotonic() + AGAIN, lambda: AGAIN if again() else None)
