"""A SQLAlchemy URL as the arguments of the drivers' own connect functions."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL


def arguments(url: URL) -> dict[str, Any]:
    """What psycopg's connect takes."""
    found = {
        "dbname": url.database,
        "user": url.username,
        "password": url.password,
        "host": url.query.get("host", url.host),
        "port": url.query.get("port", url.port),
    }
    return {name: value for name, value in found.items() if value is not None}


def asyncpg_arguments(url: URL) -> dict[str, Any]:
    """What asyncpg's connect takes."""
    found = arguments(url)
    found["database"] = found.pop("dbname", None)
    if "port" in found:
        found["port"] = int(found["port"])
    return found
