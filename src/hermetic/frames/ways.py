"""The fast ways of the drivers that have one; each needs its driver and Arrow, so it is imported
where it is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..dialects.framing import FETCHING, READING, WRITING


def reading_cursor(connection: Any, statement: Any) -> Any:
    """A cursor that reads a statement into Arrow, for a Connection of SQLAlchemy's; or ``None``."""
    name = READING.get(connection.dialect.driver)
    if name is None or _is_decorated(statement):
        return None
    return _READING[name](connection, statement)


def _is_decorated(statement: Any) -> bool:
    from .columns import decorated

    columns = getattr(statement, "selected_columns", None) or ()
    return any(decorated(column.type) for column in columns)


def fetching_of(result: Any, statement: Any) -> Any:
    """What fetches from a cursor on the server into Arrow; ``None`` where SQLAlchemy does."""
    if result.dialect.driver not in FETCHING or _is_decorated(statement):
        return None
    from .psycopg_fetching import fetching

    return fetching(result)


def _psycopg_reading(connection: Any, statement: Any) -> Any:
    from .psycopg_reading import reading

    return reading(connection, statement)


def _asyncpg_reading(connection: Any, statement: Any) -> Any:
    from .asyncpg_reading import reading

    return reading(connection, statement)


def _pymysql_reading(connection: Any, statement: Any) -> Any:
    from .pymysql_reading import reading

    return reading(connection, statement)


_READING: dict[str, Callable[[Any, Any], Any]] = {
    "psycopg_reading": _psycopg_reading,
    "asyncpg_reading": _asyncpg_reading,
    "pymysql_reading": _pymysql_reading,
}


def writer_for(connection: Any) -> Callable[..., int]:
    """What writes batches on a Connection of SQLAlchemy's: the driver's fast way, or anybody's."""
    name = WRITING.get(connection.dialect.driver, "insertion")
    return _WRITING[name]


def _psycopg_writing(*given: Any) -> int:
    from .psycopg_writing import write

    return write(*given)


def _asyncpg_writing(*given: Any) -> int:
    from .asyncpg_writing import write

    return write(*given)


def _literal_writing(*given: Any) -> int:
    from .literal_writing import write

    return write(*given)


def _prepared_writing(*given: Any) -> int:
    from .prepared_writing import write

    return write(*given)


def _insertion(*given: Any) -> int:
    from .insertion import write

    return write(*given)


_WRITING: dict[str, Callable[..., int]] = {
    "psycopg_writing": _psycopg_writing,
    "asyncpg_writing": _asyncpg_writing,
    "literal_writing": _literal_writing,
    "prepared_writing": _prepared_writing,
    "insertion": _insertion,
}
