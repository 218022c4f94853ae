"""What a server goes on with after its client was cancelled or interrupted, ended there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from .apart import ask
from .clock import monotonic
from .dialects.family import Family
from .registry import describe_error

if TYPE_CHECKING:
    from .registry import Scope


class Remains:
    """How one connection's statement is ended from another one.

    :param engine: makes connections beside the pool.
    :param backend: the server's number of the connection.
    :param seen_as: how the server tells its client from others.
    """

    __slots__ = ("_backend", "_born", "_engine", "_family", "_seen_as")

    def __init__(
        self, engine: Callable[[], Engine], family: Family, backend: int, seen_as: str
    ) -> None:
        self._engine = engine
        self._family = family
        self._backend = backend
        self._seen_as = seen_as
        self._born = monotonic()

    def end(self, seconds: float) -> str | None:
        """Have it ended within so many seconds; why that did not succeed, if it did not."""
        now = monotonic()
        age = now - self._born
        try:
            ask(
                self._engine(),
                lambda other: self._family.end_remains(other, self._backend, self._seen_as, age),
                now + seconds,
                seconds,
            )
        except Exception as failed:
            return describe_error(failed)
        return None


def remains_of(scope: Scope) -> Remains | None:
    """How that is ended which a scope's connection was at when it was struck, if it was.

    Not a COMMIT: what was sent of that is to be carried out.
    """
    connection, transaction = scope.connection, scope.transaction
    if connection is None or transaction is None or connection.remains is None:
        return None
    if connection.at_rest or transaction.commit_sent:
        return None
    if connection.scope is not None and connection.scope is not scope:
        return None
    failure = transaction.failure
    return None if failure is None or isinstance(failure, Exception) else connection.remains
