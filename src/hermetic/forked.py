"""In a forked child: what the parent has open stays the parent's, to use, to end and to close.

A child shares the parent's sockets. A ROLLBACK from here would roll the parent's transaction back,
and a driver that is told to close says goodbye to the server on the parent's behalf; SQLite would
write to its log. So nothing of it is ever touched again, nor collected.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from .connection import ConnectionRecord
from .release import keep_from_cleaning

# has an object live for as long as the process; before the first fork, nothing
_immortalise: Callable[[object], None] | None = None


def _prepare() -> None:
    # before the fork, where importing waits for no lock that nobody will ever release
    global _immortalise  # noqa: PLW0603 - found once
    if _immortalise is None:
        try:
            import ctypes
        except ImportError:
            return
        raise_count, as_object = ctypes.pythonapi.Py_IncRef, ctypes.py_object
        _immortalise = lambda kept: raise_count(as_object(kept))  # noqa: E731


os.register_at_fork(before=_prepare)


def leave_to_parent(connections: Iterable[ConnectionRecord]) -> list[object]:
    """Take SQLAlchemy's hands off these connections.

    :return: what must not be collected.
    """
    kept: list[object] = []
    for connection in connections:
        # its lock may be held by the parent's watchdog, which is not here
        connection.alarm = None
        reference, connection.pool_record = connection.pool_record, None
        record: Any = None if reference is None else reference()
        if record is None:
            continue
        _keep(record.dbapi_connection)
        kept.append(record)
        _detach(record)
    return kept


def _keep(dbapi: Any) -> None:
    """Have a driver's connection outlive the interpreter's end, which collects everything."""
    if dbapi is not None and _immortalise is not None:
        _immortalise(dbapi)


def _detach(record: Any) -> None:
    """As SQLAlchemy's own pool does it for a connection that it gives up (2.1.9,
    ``_finalize_fairy``): whoever holds it finds it invalidated.
    """
    reference, record.fairy_ref = record.fairy_ref, None
    fairy = None if reference is None else reference()
    if fairy is not None:
        keep_from_cleaning(fairy, reference)
        fairy.dbapi_connection = None
        fairy._connection_record = None
