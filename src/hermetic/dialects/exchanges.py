"""How often a connection has waited for its server: counted where the driver sends.

What a driver does of its own accord, as preparing a statement, is nowhere else to be seen. A
request is counted when it is sent, and what travels together as one; a COPY, with all that it
carries, is one. Private parts: ``_execute_command`` of PyMySQL's and asyncmy's connections, and
``_protocol`` of asyncpg's; psycopg's are in ``psycopg_ahead``, ``psycopg_streams`` and
``pooling``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# COM_QUIT, COM_STMT_SEND_LONG_DATA, COM_STMT_CLOSE
_UNANSWERED = frozenset((0x01, 0x18, 0x19))


class Commanding:
    """Mixed into connections of MariaDB's and MySQL's drivers: each request is one call."""

    exchanges = 0

    def _execute_command(self, command: int, sql: Any) -> Any:
        if command not in _UNANSWERED:
            self.exchanges += 1
        return super()._execute_command(command, sql)  # type: ignore[misc]


class Protocol:
    """asyncpg's protocol, as its connection and its statements use it."""

    __slots__ = ("_protocol", "exchanges", "is_connected", "is_in_transaction")

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self.exchanges = 0
        # asked at each statement
        self.is_connected = protocol.is_connected
        self.is_in_transaction = protocol.is_in_transaction

    def __getattr__(self, name: str) -> Any:
        return getattr(self._protocol, name)

    def query(self, *args: Any, **kwargs: Any) -> Any:
        self.exchanges += 1
        return self._protocol.query(*args, **kwargs)

    async def prepare(self, *args: Any, **kwargs: Any) -> Any:
        self.exchanges += 1
        try:
            return await self._protocol.prepare(*args, **kwargs)
        except Exception as refused:
            # only then it asks the server to go on, and waits until it does
            if getattr(refused, "sqlstate", None):
                self.exchanges += 1
            raise

    def bind_execute(self, *args: Any, **kwargs: Any) -> Any:
        self.exchanges += 1
        return self._protocol.bind_execute(*args, **kwargs)

    def bind_execute_many(self, *args: Any, **kwargs: Any) -> Any:
        self.exchanges += 1
        return self._protocol.bind_execute_many(*args, **kwargs)

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        self.exchanges += 1
        return self._protocol.bind(*args, **kwargs)

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        self.exchanges += 1
        return self._protocol.execute(*args, **kwargs)

    def close_portal(self, *args: Any, **kwargs: Any) -> Any:
        self.exchanges += 1
        return self._protocol.close_portal(*args, **kwargs)

    def close_statement(self, *args: Any, **kwargs: Any) -> Any:
        self.exchanges += 1
        return self._protocol.close_statement(*args, **kwargs)

    def copy_in(self, *args: Any, **kwargs: Any) -> Any:
        self.exchanges += 1
        return self._protocol.copy_in(*args, **kwargs)

    def copy_out(self, *args: Any, **kwargs: Any) -> Any:
        self.exchanges += 1
        return self._protocol.copy_out(*args, **kwargs)


def counter(counting: Any) -> Callable[[], int] | None:
    """What tells the number that something has counted; ``None`` where it does not count."""
    if not isinstance(getattr(counting, "exchanges", None), int):
        return None
    return lambda: counting.exchanges


def add(connection: Any, number: int) -> None:
    """Count what was sent, where the connection is of a class that counts the rest."""
    if hasattr(connection, "exchanges"):
        connection.exchanges += number
