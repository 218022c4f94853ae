"""How many rows a watched scope has been sent, and has changed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import partial
from typing import Any

from ..connection import ConnectionRecord
from ..registry import Scope
from ..trace import Trace

# PyMySQL says 2**64 - 1 of rows that are still to come
_MOST = 2**62


def counted(
    trace: Trace, connection: ConnectionRecord, cursor: Any, context: Any, many: Any
) -> None:
    """A statement was answered. Where its rows have not come yet they are counted as they do.

    :param many: the parameters of each of many rows, where it was sent for many; else ``None``.
    """
    rows: Any = getattr(cursor, "rowcount", -1)
    if not isinstance(rows, int) or not 0 <= rows < _MOST:
        rows = -1
    embedded = connection.family.embedded
    if rows >= 0 and not embedded:
        trace.answered(rows)
        return
    if cursor.description is None:
        if rows < 0 and isinstance(many, (list, tuple)):
            rows = len(many)  # asyncpg tells nothing of a statement for many
        trace.answered(rows)
        return
    there = getattr(cursor, "_rows", None)  # what an adapter of SQLAlchemy's has fetched by now
    if type(there) is deque and not cursor.server_side:
        trace.answered(len(there))
        return
    trace.answered(-1)
    step = last_step(trace)
    if getattr(context, "_insertmanyvalues_rows", None) is not None:
        # of each of its statements for many rows SQLAlchemy itself fetches what comes
        context.fetchall_for_returning = partial(_fetched, trace, step)
    elif context.cursor is cursor:
        context.cursor = Counting(cursor, trace, step)


def _fetched(trace: Trace, step: int, cursor: Any) -> Any:
    rows = cursor.fetchall()
    trace.fetched(step, len(rows))
    return rows


def last_step(trace: Trace) -> int:
    """The index of the statement that was answered last; -1 where not all of them are kept."""
    return len(trace.steps) - 1 if trace.statements <= trace.kept else -1


def met(scope: Scope, connection: ConnectionRecord) -> None:
    """A scope has taken a connection."""
    if scope.trace is not None:
        scope.trace.meet(connection)


def ended(scope: Scope | None) -> None:
    """A COMMIT or a ROLLBACK was answered."""
    if scope is not None and scope.trace is not None:
        scope.trace.look()


class Counting:
    """A driver's cursor, whose rows are counted when they are fetched."""

    __slots__ = ("_counting_at", "_counting_cursor", "_counting_trace")

    def __init__(self, cursor: Any, trace: Trace, at: int) -> None:
        """:param at: which of the trace's steps it is; -1: none of those that are kept."""
        object.__setattr__(self, "_counting_cursor", cursor)
        object.__setattr__(self, "_counting_trace", trace)
        object.__setattr__(self, "_counting_at", at)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._counting_cursor, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._counting_cursor, name, value)

    def __iter__(self) -> Iterator[Any]:
        for row in self._counting_cursor:
            self._counting_trace.fetched(self._counting_at, 1)
            yield row

    def __next__(self) -> Any:
        row = next(self._counting_cursor)
        self._counting_trace.fetched(self._counting_at, 1)
        return row

    def fetchone(self) -> Any:
        row = self._counting_cursor.fetchone()
        self._counting_trace.fetched(self._counting_at, 0 if row is None else 1)
        return row

    def fetchmany(self, *args: Any, **kwargs: Any) -> Any:
        return self._counted(self._counting_cursor.fetchmany(*args, **kwargs))

    def fetchall(self) -> Any:
        return self._counted(self._counting_cursor.fetchall())

    def _counted(self, rows: Any) -> Any:
        self._counting_trace.fetched(self._counting_at, len(rows))
        return rows
