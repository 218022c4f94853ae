"""SQLAlchemy's engines of a Database, for whoever wants one by itself."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from .dialects.drivers import driver_of, url_for
from .engine import Server
from .errors import HermeticError, MissingDriver


class Engines:
    """What a Database says of its engines."""

    server: Server
    # what tests have put in front of its servers; None where there is nothing
    sandboxes: Any = None

    def server_here(self, *, asynchronous: bool, scope: Any = None) -> Server:
        """The server of the engines: the primary, or the sandbox of this code's context.

        :param scope: a group's, which goes there.
        """
        if self.sandboxes is None:
            return self.server
        found: Server = self.sandboxes.server(asynchronous=asynchronous, scope=scope)
        return found

    @property
    def engine(self) -> Engine:
        """SQLAlchemy's engine for threads, the writer's; for migrations and ``create_all``."""
        return self.server_here(asynchronous=False).engine(reader=False)

    @property
    def async_engine(self) -> AsyncEngine:
        """SQLAlchemy's engine for the running event loop, the writer's."""
        return self.server_here(asynchronous=True).async_engine(reader=False)

    def driver(self, *, asynchronous: bool = False) -> str | None:
        """The name of the driver that a world uses, or ``None`` when none is installed for it."""
        try:
            return driver_of(url_for(self.server.url, asynchronous=asynchronous))
        except (MissingDriver, HermeticError):
            return None
