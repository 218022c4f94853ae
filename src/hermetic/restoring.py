"""What a connection carries from one borrower to the next: nothing.

What a statement's text tells is noted where statements pass (``execution``). Here is the rest: code
that the text does not show, and the driver's own connection in somebody's hands.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import sqlalchemy
from sqlalchemy import Engine
from sqlalchemy.pool import NullPool
from sqlalchemy.util import await_only

from .clock import monotonic
from .dialects.family import Family
from .events import logger
from .execution import KEY, disarm, known, watch
from .options import DatabaseOptions

# the key of a pool record's ``record_info``: whoever has it has it through SQLAlchemy's Connection
WATCHED = "hermetic.watched"

# who may have the driver's connection without anything being thought of it
_TRUSTED = ("sqlalchemy.engine.", "sqlalchemy.orm.", "sqlalchemy.dialects.", "hermetic.")


class WatchedConnection(sqlalchemy.Connection):
    """SQLAlchemy's, which notes that somebody took the driver's connection from it."""

    def __init__(self, engine: Engine, connection: Any = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(engine, connection, *args, **kwargs)
        held: Any = self._dbapi_connection
        if connection is None:
            held.record_info[WATCHED] = True

    @property
    def connection(self) -> Any:
        found = super().connection
        caller = sys._getframe().f_back  # None in a greenlet, where get_raw_connection() asks
        if caller is None or not caller.f_globals.get("__name__", "").startswith(_TRUSTED):
            record = known(found)
            if record is not None:
                record.dirty = True
        return found


def have_watched(engine: Engine) -> None:
    """Have an engine make connections that note who takes the driver's connection from them."""
    engine._connection_cls = WatchedConnection


class Restoring:
    """Sets the connections of one engine back to how they were born."""

    def __init__(
        self, engine: Engine, family: Family, driver: str, options: DatabaseOptions, reader: bool
    ) -> None:
        self._engine = engine
        self._family = family
        self._driver = driver
        self._options = options
        self._reader = reader

    def __call__(self, record: Any) -> bool:
        """
        :param record: the pool's, of a connection that was rolled back.
        :return: ``False`` where the connection has to be closed.
        """
        pool = self._engine.pool
        if record.dbapi_connection is None or isinstance(pool, NullPool):
            return True
        if "creator" in self._options.engine_options or not _all_ours(pool.dispatch):
            return False  # somebody else has set it up too, and would have to do so again
        connection = record.info[KEY]
        until = monotonic() + self._options.cleanup_timeout
        watch(connection, until)
        try:
            return self._family.restore(
                record.dbapi_connection,
                self._driver,
                self._options,
                await_only,
                reader=self._reader,
                until=until,
            )
        except Exception as error:
            logger.debug("a connection could not be set back, and is closed", exc_info=error)
            return False
        finally:
            disarm(connection)


def _all_ours(dispatch: Any) -> bool:
    listeners: list[Callable[..., Any]] = [*dispatch.connect, *dispatch.first_connect]
    return all(
        (getattr(listener, "__module__", None) or "").startswith(("hermetic.", "sqlalchemy."))
        for listener in listeners
    )
