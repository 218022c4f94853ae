"""Something asked of a server on a connection beside the pool, which is closed afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.util import await_only

from .clock import monotonic
from .execution import disarm, known, watch
from .pool import connecting_until

if TYPE_CHECKING:
    from .engine import Server

R = TypeVar("R")


def ask(engine: Engine, question: Callable[[Connection], R], until: float, most: float) -> R:
    """Connect, ask, and close. Under asyncio it runs on SQLAlchemy's bridge.

    :param engine: one that keeps no connection.
    :param until: monotonic seconds at which the connection must have been made.
    :param most: seconds that the question may take besides, within ``until``.
    """
    bound = connecting_until.set(until)
    record = None
    try:
        with engine.connect() as connection:
            record = known(connection)
            if record is not None:
                watch(record, min(until, monotonic() + most))
            return question(connection)
    finally:
        # until here: to leave it may take a rollback
        if record is not None:
            disarm(record)
        connecting_until.reset(bound)


@contextmanager
def apart(
    server: Server, until: float, *, asynchronous: bool, autocommit: bool = False
) -> Iterator[Connection]:
    """A connection for the time of a block. Its socket is shut when the time is over.

    :param until: monotonic seconds.
    """
    bound = connecting_until.set(until)
    record = None
    try:
        with server.engine_apart(asynchronous=asynchronous).connect() as connection:
            if autocommit:
                connection.execution_options(isolation_level="AUTOCOMMIT")
            record = known(connection)
            if record is not None:
                watch(record, until)
            yield connection
    finally:
        if record is not None:
            disarm(record)
        connecting_until.reset(bound)


def pause(seconds: float, *, asynchronous: bool) -> None:
    """Wait, in the way of a world."""
    if asynchronous:
        await_only(asyncio.sleep(seconds))
    else:
        time.sleep(seconds)
