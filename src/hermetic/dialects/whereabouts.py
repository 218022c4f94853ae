"""Where a server is, and as whom it is asked, where nobody says so."""

from __future__ import annotations

from typing import Final

_PORTS: Final = {"postgresql": 5432, "cockroachdb": 26257, "mysql": 3306}
# by libpq, and by asyncpg as well
_ENVIRONMENT: Final = (
    *("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE"),
    *("PGOPTIONS", "PGTZ", "PGDATESTYLE", "PGCLIENTENCODING"),
)


def port_of(family: str) -> int | None:
    """The port of a server whose port nobody names."""
    return _PORTS.get(family)


def asked_of_environment(family: str) -> tuple[str, ...]:
    """The variables that the drivers of a family look at; none that has a secret in it."""
    return _ENVIRONMENT if family in ("postgresql", "cockroachdb") else ()
