"""A cursor of ours in the place of the driver's, for one statement of SQLAlchemy's.

Everything around it is as with any statement: events, the guards of the scope, parameters, errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class OwnCursor:
    """A cursor that may do a statement by itself; otherwise it is the driver's own."""

    rowcount = -1
    arraysize = 1

    def __init__(self, connection: Any) -> None:
        """:param connection: what SQLAlchemy has a cursor from."""
        self.connection = connection
        self.real: Any = None

    def own(self, operation: str, parameters: Any) -> bool:
        """Do it, if that is possible; ``False`` leaves it to the driver."""
        raise NotImplementedError

    @property
    def description(self) -> Any:
        return None if self.real is None else self.real.description

    def execute(self, operation: str, parameters: Any = None) -> Any:
        if self.own(operation, parameters):
            return None
        self.real = self.connection.cursor()
        if parameters is None:
            return self.real.execute(operation)
        return self.real.execute(operation, parameters)

    def close(self) -> None:
        if self.real is not None:
            self.real.close()

    def __getattr__(self, name: str) -> Any:
        if name == "real" or self.real is None:
            raise AttributeError(name)
        return getattr(self.real, name)


class _Lent:
    """A connection whose next cursor is ours."""

    def __init__(self, connection: Any, cursor: Any) -> None:
        self._lent_connection = connection
        self._lent_cursor = cursor

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        cursor, self._lent_cursor = self._lent_cursor, None
        return self._lent_connection.cursor(*args, **kwargs) if cursor is None else cursor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lent_connection, name)


@contextmanager
def substituted(connection: Any, cursor: OwnCursor | None) -> Iterator[None]:
    """Have the next statement of a Connection of SQLAlchemy's executed by a cursor of ours."""
    if cursor is None:
        yield
        return
    real = connection._dbapi_connection
    lent = connection._dbapi_connection = _Lent(real, cursor)
    try:
        yield
    finally:
        # it is something else where the connection was lost
        if connection.__dict__.get("_dbapi_connection") is lent:
            connection._dbapi_connection = real
