"""What COPY sends, taken from libpq without a Python object for each row.

psycopg's ``copy.read()`` gives one row a time; libpq's PQgetCopyData is called here by its address,
on the connection that psycopg has.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

try:
    import cython  # type: ignore[import-untyped]
except ImportError:
    from ..fast import shadow as cython

# the compiled form has this from libpq.pxd
if not cython.compiled:

    def gather(
        connection: int, get: int, free: int, consume: int, chunk: Any, used: int, enough: int
    ) -> tuple[int, int]:
        raise NotImplementedError

    def as_copied(
        result: int, value: int, length: int, null: int, first: int, last: int, width: int
    ) -> bytearray:
        raise NotImplementedError


@lru_cache(maxsize=2)
def addresses(
    names: tuple[str, str, str] = ("PQgetCopyData", "PQfreemem", "PQconsumeInput"),
) -> tuple[int, int, int] | None:
    """Of functions in the library that psycopg uses."""
    if not cython.compiled:
        return None
    import psycopg

    implementation = psycopg.pq.__impl__
    try:
        if implementation == "binary":
            from psycopg_binary import pq  # type: ignore[attr-defined]
        elif implementation == "c":
            from psycopg_c import pq  # type: ignore[import-not-found]
        else:
            return None
        # looks into what the module itself was linked with, too
        library = ctypes.CDLL(str(pq.__file__))
        found = [ctypes.cast(getattr(library, name), ctypes.c_void_p).value for name in names]
    except (ImportError, OSError, AttributeError):
        return None
    return tuple(found) if all(found) else None  # type: ignore[return-value]


def of_rows() -> tuple[int, int, int] | None:
    """What looks into the rows of a result."""
    return addresses(("PQgetvalue", "PQgetlength", "PQgetisnull"))


def rows_of(result: Any, library: tuple[int, int, int], first: int, last: int) -> bytearray:
    """Some rows of a result of binary values, as COPY would have sent them."""
    value, length, null = library
    rows: bytearray = as_copied(
        result.pgresult_ptr, value, length, null, first, last, result.nfields
    )
    return rows


def take(
    pgconn: Any, library: tuple[int, int, int], chunk: bytearray, used: int, enough: int
) -> tuple[int, int]:
    """Put as many rows into ``chunk`` as have arrived, until it has ``enough`` bytes.

    :return: what libpq has answered last: a length, 0 for "wait", -1 for "that was all", -2 for an
        error; and how much of ``chunk`` is used.
    """
    get, free, consume = library
    answer: tuple[int, int] = gather(pgconn.pgconn_ptr, get, free, consume, chunk, used, enough)
    return answer
