"""Dialects that SQLAlchemy has to be given, for databases that it does not know by itself."""

from __future__ import annotations

import importlib.util
from functools import cache

from sqlalchemy.dialects import registry

_MODULE = "hermetic.cockroachdb_dialect"


@cache
def bring() -> None:
    """Have SQLAlchemy know them, unless a package is installed that is made for it.

    sqlalchemy-cockroachdb 2.0.4 wants a SQLAlchemy before 2.1, and cannot be installed beside us.
    """
    if importlib.util.find_spec("sqlalchemy_cockroachdb") is None:
        registry.register("cockroachdb", _MODULE, "CockroachDBPsycopg")
        registry.register("cockroachdb.psycopg", _MODULE, "CockroachDBPsycopg")
        registry.register("cockroachdb.psycopg_async", _MODULE, "CockroachDBPsycopgAsync")
        registry.register("cockroachdb.asyncpg", _MODULE, "CockroachDBAsyncpg")
