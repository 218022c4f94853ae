"""SQLAlchemy's PostgreSQL, as far as it has to differ for CockroachDB.

Reflection is PostgreSQL's, by CockroachDB's ``pg_catalog``.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg, PGDialectAsync_psycopg

# what it says of itself at a connect, as ``server_version``
_VERSION = (13, 0)


class _CockroachDB:
    """Mixed into SQLAlchemy's dialects."""

    supports_statement_cache = True

    def __init__(self, **options: Any) -> None:
        # it has no such type
        super().__init__(**{"use_native_hstore": False, **options})

    def _get_server_version_info(self, connection: Any) -> tuple[int, ...]:
        # what version() says is none of PostgreSQL's
        return _VERSION


class CockroachDBPsycopg(_CockroachDB, PGDialect_psycopg):
    supports_statement_cache = True

    @classmethod
    def get_async_dialect_cls(cls, url: URL) -> Any:
        return CockroachDBPsycopgAsync


class CockroachDBPsycopgAsync(_CockroachDB, PGDialectAsync_psycopg):
    supports_statement_cache = True


class CockroachDBAsyncpg(PGDialect_asyncpg):
    supports_statement_cache = True

    def _get_server_version_info(self, connection: Any) -> tuple[int, ...]:
        return _VERSION

    async def setup_asyncpg_json_codec(self, conn: Any) -> None:
        """It has jsonb alone, and json is another name of that."""
