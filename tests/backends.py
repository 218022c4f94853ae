"""The databases and drivers that behaviour is tested on; a new one is one line here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Backend:
    name: str
    family: str
    scheme: str
    is_async: bool


BACKENDS: Final = (
    Backend("sqlite", "sqlite", "sqlite", is_async=False),
    Backend("aiosqlite", "sqlite", "sqlite+aiosqlite", is_async=True),
    Backend("psycopg", "postgresql", "postgresql+psycopg", is_async=False),
    Backend("psycopg_async", "postgresql", "postgresql+psycopg_async", is_async=True),
    Backend("asyncpg", "postgresql", "postgresql+asyncpg", is_async=True),
    Backend("pymysql", "mariadb", "mysql+pymysql", is_async=False),
    Backend("asyncmy", "mariadb", "mysql+asyncmy", is_async=True),
)
SYNC_BACKENDS: Final = tuple(backend for backend in BACKENDS if not backend.is_async)
ASYNC_BACKENDS: Final = tuple(backend for backend in BACKENDS if backend.is_async)

# A family's URL names no driver: which one serves it is the library's choice.
FAMILY_SCHEMES: Final = {"sqlite": "sqlite", "postgresql": "postgresql", "mariadb": "mysql"}
