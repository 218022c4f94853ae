"""The database's own clock in SQL, which is one for all relays: microseconds since 1970."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

SECOND = 1_000_000


class database_now(FunctionElement[int]):  # noqa: N801 - it is written as SQL's functions are
    """Now, and not when the transaction began, where the database makes a difference."""

    type = BigInteger()
    inherit_cache = True


@compiles(database_now, "postgresql")
def _postgresql(element: Any, compiler: Any, **_: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)"


@compiles(database_now, "sqlite")
def _sqlite(element: Any, compiler: Any, **_: Any) -> str:
    # in milliseconds: no build of SQLite counts finer
    return "(CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) * 1000)"


@compiles(database_now, "mysql")
@compiles(database_now, "mariadb")
def _mysql(element: Any, compiler: Any, **_: Any) -> str:
    # in UTC: by the session's zone an hour is there twice when summer ends
    return "timestampdiff(microsecond, '1970-01-01', utc_timestamp(6))"
