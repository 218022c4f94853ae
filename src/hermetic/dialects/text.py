"""What a statement begins with, past the comments in front of it."""

from __future__ import annotations

import re
from functools import lru_cache

_LEADING = re.compile(r"(\s+|--[^\n]*\n?|#[^\n]*\n?|/\*.*?\*/|\()+", re.DOTALL)
_LONGEST = 200

# transaction control as text; ROLLBACK TO is a savepoint's
CONTROL = re.compile(
    r"\s*(COMMIT|END|BEGIN|START\s+TRANSACTION|ABORT|ROLLBACK(?!\s+(WORK\s+)?TO\b)"
    r"|SET\s+(SESSION\s+|@@(SESSION\.)?)?AUTOCOMMIT)\b",
    re.IGNORECASE,
)

# what puts up a savepoint, goes back to one, or takes it down
POINT = re.compile(r"\s*(SAVEPOINT|RELEASE|ROLLBACK\s+(WORK\s+)?TO)\b", re.IGNORECASE)


@lru_cache(maxsize=4096)
def head(statement: str) -> str:
    """The first words of a statement, without comments, space or parentheses before them."""
    match = _LEADING.match(statement)
    start = 0 if match is None else match.end()
    return statement[start : start + _LONGEST]
