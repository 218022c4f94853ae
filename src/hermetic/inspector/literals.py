"""Statements as they are shown: without the values that were written into their text."""

from __future__ import annotations

import re
from functools import lru_cache

_HIDDEN = "'…'"

# what may hold a quote and is not one comes first; what has no end goes on to the end
_STRING = r"'(?:[^']|'')*(?:'|\Z)"
_NAME = r'"(?:[^"]|"")*(?:"|\Z)'
_BACKTICKS = r"`[^`]*(?:`|\Z)"
_DOLLARS = r"\$\$.*?(?:\$\$|\Z)|\$(?P<tag>[^\W\d]\w*)\$.*?(?:\$(?P=tag)\$|\Z)"

_STANDARD = re.compile(
    rf"--[^\n]*|/\*.*?(?:\*/|\Z)|{_NAME}|{_BACKTICKS}|(?P<string>{_STRING}|{_DOLLARS})", re.DOTALL
)
# a string may be in double quotes, and what is in a comment may be run
_BACKTICKED = re.compile(
    rf"--(?=\s)[^\n]*|\#[^\n]*|/\*(?!M?!).*?(?:\*/|\Z)|{_BACKTICKS}|(?P<string>{_STRING}|{_NAME})",
    re.DOTALL,
)
# whether the quote behind it ends a string is a setting of the server; a comment inside of another
# is one for some servers alone
_DOUBTFUL = re.compile(r"\\['\"]|/\*(?:(?!\*/).)*?/\*", re.DOTALL)
_ALL_QUOTED = re.compile(r"['\"].*['\"]|['\"].*", re.DOTALL)


@lru_cache(1024)
def without_literals(statement: str, *, double_quoted: bool) -> str:
    """Its text with every string in it hidden. Comments and names stay as they are.

    :param double_quoted: whether a string may be in double quotes; elsewhere that is a name. SQLite
        takes one that is no column for a string, which is shown.
    """
    if "'" not in statement and '"' not in statement and "$" not in statement:
        return statement
    if _DOUBTFUL.search(statement):
        return _ALL_QUOTED.sub(_HIDDEN, statement)
    pattern = _BACKTICKED if double_quoted else _STANDARD
    return pattern.sub(lambda found: _HIDDEN if found["string"] else found[0], statement)
