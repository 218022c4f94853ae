"""Which of many rows a server has refused, as far as it says so itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

# PostgreSQL's words, which are translated; its names and numbers are not
_LINE = re.compile(r"COPY .*?, \D*(\d+)")
_SHOWN = re.compile(r"\n[^\n:]+:\s+COPY .*", re.DOTALL)
_KEY = re.compile(r"\((?P<columns>[^()]*)\)=\((?P<values>.*?)\)(?= |\.|$)")


def line_of(error: BaseException) -> int | None:
    """The line of a COPY that was refused, from 0."""
    told = _told(error, "context")
    found = _LINE.match(told) if told else None
    return int(found.group(1)) - 1 if found else None


def row_of(error: BaseException, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> int | None:
    """Which of some rows has the key that the server names, or a NULL where there may be none.

    :param names: the names of the columns in the database.
    """
    column = _told(error, "column_name")
    if column in names and _told(error, "sqlstate") == "23502":
        at = names.index(column)
        return next((number for number, row in enumerate(rows) if row[at] is None), None)
    found = _KEY.search(_told(error, "detail"))
    if found is None:
        return None
    columns = found["columns"].split(", ")
    if not set(columns) <= set(names):
        return None
    return _matching(_by(columns, names), found["values"], rows)


def _by(columns: list[str], names: Sequence[str]) -> Callable[[Sequence[Any]], str]:
    places = [names.index(column) for column in columns]
    return lambda row: ", ".join(str(row[at]) for at in places)


def _matching(
    key: Callable[[Sequence[Any]], str], told: str, rows: Sequence[Sequence[Any]]
) -> int | None:
    matching = [number for number, row in enumerate(rows) if key(row) == told]
    # of two with the same key, the second one was refused
    return matching[min(1, len(matching) - 1)] if matching else None


def _told(error: BaseException, what: str) -> str:
    """What a driver's error says of itself: psycopg's in its ``diag``, asyncpg's by itself."""
    inner = getattr(error, "orig", error)
    for each in (getattr(inner, "diag", None), getattr(inner, "__cause__", None)):
        found = getattr(each, f"message_{what}", None) or getattr(each, what, None)
        if found:
            return str(found)
    return ""


def hide_rows(error: BaseException) -> None:
    """Take the lines out of an error's text that show what a COPY was given."""
    if error.args and isinstance(error.args[0], str):
        error.args = (_SHOWN.sub("", error.args[0]), *error.args[1:])
