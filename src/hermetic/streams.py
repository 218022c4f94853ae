"""Rows that are still being fetched when their transaction ends: fetched no further."""

from __future__ import annotations

import contextlib
from typing import Any

# results that are not gone through, by the number of their connection; empty but for that time
OPEN: dict[int, list[Any]] = {}


def began(connection: int, result: Any) -> None:
    """:param connection: the number of a ConnectionRecord."""
    OPEN.setdefault(connection, []).append(result)


def ended(connection: int, result: Any) -> bool:
    """A stream was gone through, or closed; whether its result is open still."""
    results = OPEN.get(connection, [])
    if result not in results:
        return False
    results.remove(result)
    if not results:
        del OPEN[connection]
    return True


def end_all(connection: int) -> None:
    """Before a COMMIT or ROLLBACK: a driver may be in the middle of a result, which it would have
    to read to its end first, or have a cursor open that it complains of later.
    """
    for result in OPEN.pop(connection, ()):
        with contextlib.suppress(Exception):  # of a connection that is lost nothing is left to end
            result.close()
