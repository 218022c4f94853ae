"""Statements that are answered without a connection: SQLAlchemy asks a cursor that was filled.

Below its results nothing of SQLAlchemy knows the difference: types, entities, loader options and
the identity map are its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Connection


class NotCached(Exception):
    """The cursor has no rows for this statement."""


class Cursor:
    """A driver's cursor whose rows are there already."""

    arraysize = 1
    lastrowid = None

    def __init__(self, description: Any = None, rows: list[Any] | None = None) -> None:
        self.description = description
        self._rows = rows or []
        self._at = 0
        self.rowcount = len(self._rows)
        # asked with the statement, where it is not known yet what it is
        self.asked: Callable[[Any, Any, Any], tuple[Any, list[Any]]] | None = None

    def ask(self, statement: Any, parameters: Any, context: Any) -> None:
        """Take the rows of a statement.

        :raises NotCached: there are none.
        """
        if self.asked is None:
            raise NotCached
        self.description, self._rows = self.asked(statement, parameters, context)
        self.rowcount = len(self._rows)

    def setinputsizes(self, *sizes: Any, **named: Any) -> None:
        """Nothing is sent."""

    def fetchone(self) -> Any:
        if self._at >= len(self._rows):
            return None
        self._at += 1
        return self._rows[self._at - 1]

    def fetchmany(self, size: int | None = None) -> list[Any]:
        at = self._at
        found = self._rows[at : at + (size or self.arraysize)]
        self._at += len(found)
        return found

    def fetchall(self) -> list[Any]:
        found = self._rows[self._at :] if self._at else self._rows
        self._at = len(self._rows)
        return found

    def __iter__(self) -> Iterator[Any]:
        return iter(self.fetchall())

    def close(self) -> None:
        """There is nothing behind it."""

    async def _async_soft_close(self) -> None:
        """As asyncio's adapters have it."""


class _Link:
    """A driver's connection on which nothing is ever sent."""

    is_valid = True
    is_detached = False

    def __init__(self, asked: Any) -> None:
        self.info: dict[Any, Any] = {}
        self.record_info = self.info
        self.dbapi_connection = self.driver_connection = self
        self._asked = asked

    def cursor(self, *args: Any, **kwargs: Any) -> Cursor:
        found = Cursor()
        found.asked = self._asked
        return found

    def rollback(self) -> None:
        """Nothing was begun."""


def connection_over(engine: Any, asked: Any) -> Connection:
    """SQLAlchemy's Connection on an engine, none of whose statements are sent.

    :param asked: gives description and rows of a statement, its parameters and context, or raises
        NotCached.
    """
    link: Any = _Link(asked)
    return Connection(
        engine, connection=link, _has_events=False, _allow_revalidate=False, _allow_autobegin=False
    )
