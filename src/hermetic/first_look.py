"""SQLAlchemy's first look at a server, on an engine's first connection: bounded as a connect is.

It asks for version, default schema and types, and rolls that back, before anybody is told of the
connection. A server that stops answering in the middle would be waited for without end, and by
everybody who connects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .clock import monotonic
from .dialects.family import Family
from .pool import connect_bound, demanded
from .watchdog import watchdog


class FirstLook:
    """Has a dialect's ``initialize`` broken off when it takes too long.

    :param seconds: what a connect may take.
    """

    def __init__(self, dialect: Any, family: Family, driver: str, seconds: float) -> None:
        self._family = family
        self._driver = driver
        self._seconds = seconds
        self._initialize = dialect.initialize
        self._rollback = dialect.do_rollback
        dialect.initialize = self.initialize

    def initialize(self, connection: Any) -> None:
        self._bounded(connection.connection, self._initialize, connection)

    def rollback(self, dbapi: Any) -> None:
        """Of a connection that nobody was told of yet."""
        self._bounded(dbapi, self._rollback, dbapi)

    def _bounded(self, dbapi: Any, act: Callable[[Any], None], argument: Any) -> None:
        break_off = self._family.breaker(dbapi.dbapi_connection, self._driver)
        if break_off is None or self._family.embedded:
            act(argument)
            return
        until = monotonic() + self._seconds
        bound = connect_bound(demanded())
        alarm = watchdog.alarm(break_off)
        try:
            watchdog.start(alarm, until if bound is None else min(until, bound))
            act(argument)
        finally:
            alarm.cancel()
