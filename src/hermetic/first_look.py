"""SQLAlchemy's first look at a server, on an engine's first connection: bounded as a connect is.

It asks for version, default schema and types, before anybody is told of the connection. A server
that stops answering in the middle would be waited for without end, and by everybody who connects.
"""

from __future__ import annotations

import time
from typing import Any

from .dialects.family import Family
from .pool import connect_bound, demanded
from .watchdog import watchdog


def bound_first_look(dialect: Any, family: Family, driver: str, seconds: float) -> None:
    """Have a dialect's ``initialize`` broken off when it takes too long.

    :param seconds: what a connect may take.
    """
    look = dialect.initialize

    def initialize(connection: Any) -> None:
        break_off = family.breaker(connection.connection.dbapi_connection, driver)
        if break_off is None or family.embedded:
            look(connection)
            return
        until = time.monotonic() + seconds
        bound = connect_bound(demanded())
        alarm = watchdog.alarm(break_off)
        try:
            watchdog.start(alarm, until if bound is None else min(until, bound))
            look(connection)
        finally:
            alarm.cancel()

    dialect.initialize = initialize
