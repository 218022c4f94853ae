"""How a driver of asyncio is spoken to directly, where SQLAlchemy goes through its bridge.

SQLAlchemy runs its own, synchronous code in a greenlet and comes back to the loop for each wait of
a driver. A fast path that has nothing to do there awaits the driver itself. What it leaves behind
is what SQLAlchemy's own connection would have left, so that SQLAlchemy can go on at any moment.
"""

from __future__ import annotations

from typing import Any, TypeAlias

# the row that came back, how many rows the driver tells of, the number of the last one, and what
# ``description`` finds the row's columns in
Written: TypeAlias = "tuple[Any, int, Any, Any]"


class NotBegun(Exception):
    """No transaction was begun, nothing else was sent, and the connection is as it was."""


class Wire:
    """One driver.

    ``adapter`` is SQLAlchemy's connection over the driver's. A cancellation goes through to the
    driver, which leaves the connection in a state that nobody knows.
    """

    async def run(self, adapter: Any, sql: str, parameters: Any, begin: tuple[str, ...] | None,
                  dialect: Any, last: Any, apart: bool) -> tuple[list[Any], Any]:  # fmt: skip
        """Execute one statement, and take all its rows.

        :param begin: what opens the transaction first; ``None`` where one is open.
        :param last: what was returned beside the rows the last time on this connection, or else
            what ``cursor`` made.
        :param apart: the statement stands for itself, and begins no transaction.
        :return: the rows, and what ``description`` finds the columns in.
        :raises NotBegun: see there.
        """
        raise NotImplementedError

    async def write(self, adapter: Any, sql: str, parameters: Any, begin: tuple[str, ...] | None,
                    dialect: Any, last: Any, returns: bool, many: bool) -> Written:  # fmt: skip
        """Execute one INSERT or UPDATE; as ``run`` in everything else.

        :param returns: whether a row comes back.
        :param many: whether ``parameters`` are those of many rows.
        """
        raise NotImplementedError

    def cursor(self, adapter: Any) -> Any:
        """What ``run`` works with, where that can be told of something to send ahead."""
        return None

    async def tell(self, cursor: Any, statement: str) -> None:
        """Execute a setting, in the transaction that is open or begins with it."""
        raise NotImplementedError

    def description(self, source: Any) -> Any:
        """The columns as the DBAPI describes them."""
        return source

    async def commit(self, adapter: Any) -> None:
        """Send COMMIT, and wait for the answer.

        What waits in here is a driver's future, never something that looks at the running task: the
        task may be another one when it goes on.
        """
        raise NotImplementedError

    def translated(self, adapter: Any, error: Exception, dialect: Any) -> Exception:
        """A driver's error as SQLAlchemy's connection raises it."""
        try:
            adapter._handle_exception(error)
        except Exception as translated:
            return translated
        return error
