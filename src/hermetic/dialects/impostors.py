"""Servers that speak PostgreSQL's protocol, and promise something else."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigurationError

# what CockroachDB tells of itself where a connection begins
_VERSION = "crdb_version"


def refuse_cockroachdb(connection: Any, driver: str) -> None:
    """:param connection: as SQLAlchemy's dialect has made it, a moment ago.
    :raises ConfigurationError: CockroachDB has answered.
    """
    raw = getattr(connection, "driver_connection", connection)
    if driver == "asyncpg":
        told = hasattr(raw.get_settings(), _VERSION)
    else:
        pgconn = getattr(raw, "pgconn", None)
        told = pgconn is not None and pgconn.parameter_status(_VERSION.encode()) is not None
    if not told:
        return
    # under asyncio the other one would have to be awaited
    (connection.terminate if hasattr(connection, "terminate") else connection.close)()
    raise ConfigurationError(
        "The server is CockroachDB, which promises other things than PostgreSQL does.",
        hint="Write the URL with cockroachdb:// in the place of postgresql://.",
    )
