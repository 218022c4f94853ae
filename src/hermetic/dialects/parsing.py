"""How a parser of SQL, outside of SQLAlchemy, calls the dialects."""

from __future__ import annotations

from typing import Final

# SQLAlchemy's names that sqlglot has others for
_SQLGLOT: Final = {
    "postgresql": "postgres",
    "cockroachdb": "postgres",
    "mysql": "mysql",
    "mariadb": "mysql",
    "sqlite": "sqlite",
}


def sqlglot_name(dialect: str) -> str | None:
    """sqlglot's name of a dialect of SQLAlchemy's; ``None`` where it has none."""
    return _SQLGLOT.get(dialect)
