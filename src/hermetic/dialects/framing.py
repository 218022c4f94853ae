"""By which module of ``hermetic.frames`` a driver's rows are read and written the fast way.

Every other driver's are read and written as SQLAlchemy does it.
"""

from __future__ import annotations

# by SQLAlchemy's name of the driver
READING: dict[str, str] = {
    "psycopg": "psycopg_reading",
    "asyncpg": "asyncpg_reading",
    "pymysql": "pymysql_reading",
}

# by SQLAlchemy's name of the driver: those whose cursors on the server are read the fast way
FETCHING = frozenset({"psycopg"})

WRITING: dict[str, str] = {
    "psycopg": "psycopg_writing",
    "asyncpg": "asyncpg_writing",
    "pymysql": "prepared_writing",
    "asyncmy": "literal_writing",
}

# by SQLAlchemy's name of the dialect: those that commit where a table is made
COMMITS_BY_DDL = frozenset({"mysql", "mariadb"})

# by SQLAlchemy's name of the dialect: the function of ``columns`` that tells a column's type
COLUMNS: dict[str, str] = {
    "postgresql": "by_oid",
    "mysql": "by_field",
    "mariadb": "by_field",
}

# by SQLAlchemy's name of the dialect: those that keep everything in a few types of their own
UNTYPED = frozenset({"sqlite"})

# by SQLAlchemy's name of the driver: those whose values of JSON are what it says, not its text
PARSES_JSON = frozenset({"psycopg", "psycopg2", "asyncpg"})
