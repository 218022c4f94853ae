"""What is told of a statement's text: what it does, to what, and the text without its values."""

from __future__ import annotations

import re
from functools import lru_cache

from ..dialects.text import head

_WORD = re.compile(r"[A-Za-z]+")
_TARGET = re.compile(
    r"\b(?:FROM|JOIN|INTO|UPDATE|TABLE)\s+(?:ONLY\s+|IGNORE\s+|IF\s+(?:NOT\s+)?EXISTS\s+)?"
    r"((?:[\w$]+|\"[^\"]+\"|`[^`]+`)(?:\.(?:[\w$]+|\"[^\"]+\"|`[^`]+`))?)",
    re.IGNORECASE,
)
_NO_TARGET = frozenset({"select", "set", "values", "lateral", "unnest", "of"})
# literals, and what looks like one and is none: comments, quoted names, marks. A text may have been
# cut off in the middle of any of them
_LITERAL = r"""
    (?P<kept> --[^\n]* | /\*.*?(?:\*/|\Z) | {names} | `[^`]*(?:`|\Z)
      | \$\d+ | %\(\w+\)s | :\w+ | [A-Za-z_][\w$]*(?!['\w$]) )
    | (?P<value> {strings} | (?P<dollar>\$\w*\$).*?(?:(?P=dollar)|\Z)
      | (?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\w* )
"""
_ESCAPED = r"""'(?:[^'\\]|''|\\.)*(?:'|\Z)"""


def _literals(names: str, strings: str) -> re.Pattern[str]:
    return re.compile(_LITERAL.format(names=names, strings=strings), re.VERBOSE | re.DOTALL)


# a backslash escapes where the string says so, but in MariaDB and MySQL, where double quotes are
# around strings too
_STANDARD = _literals(
    r'"(?:[^"]|"")*(?:"|\Z)', rf"[eE]{_ESCAPED} | [A-Za-z_&]{{0,4}}'(?:[^']|'')*(?:'|\Z)"
)
_BACKSLASHED = _literals("(?!)", rf'[A-Za-z_]{{0,4}}{_ESCAPED} | "(?:[^"\\]|""|\\.)*(?:"|\Z)')
_LONGEST = 255


@lru_cache(maxsize=4096)
def operation_of(statement: str) -> str:
    """Its first word, in capitals; empty where it has none."""
    found = _WORD.match(head(statement))
    return "" if found is None else found.group().upper()


@lru_cache(maxsize=4096)
def summary_of(statement: str, backslashes: bool = False) -> str:
    """Its first word and the tables that it names, in their order: few for many statements."""
    words = [operation_of(statement)]
    for found in _TARGET.finditer(without_values(statement, backslashes)):
        name = found.group(1)
        if name.lower() not in _NO_TARGET and name not in words:
            words.append(name)
    said = " ".join(filter(None, words))
    return said if len(said) <= _LONGEST else said[:_LONGEST].rpartition(" ")[0]


@lru_cache(maxsize=4096)
def without_values(statement: str, backslashes: bool = False) -> str:
    """A statement whose literals are question marks: what was written into the text is a value.

    :param backslashes: whether its strings are MariaDB's and MySQL's.
    """
    pattern = _BACKSLASHED if backslashes else _STANDARD
    return pattern.sub(lambda found: found["kept"] or "?", statement)
