"""What a statement leaves on its connection beyond the end of its transaction, as far as its text
tells; and whether it runs code that the text does not show.
"""

from __future__ import annotations

import re

from .harmless import WORDS
from .text import head

# what changes a session beyond the end of a transaction; SET LOCAL does not
_STATEFUL = re.compile(
    r"(SET\s+(?!LOCAL\b|TRANSACTION\b|CONSTRAINTS\b)|RESET\b|LISTEN\b|DISCARD\b"
    r"|PREPARE\b(?!\s+TRANSACTION)|USE\b|LOAD\s+'|HANDLER\b|LOCK\s+(TABLES?\s+[^;]*\b(READ|WRITE)\b"
    r"|INSTANCE\b)|FLUSH\b.*\b(READ\s+LOCK|FOR\s+EXPORT)\b|BACKUP\b|DECLARE\b.*\bWITH\s+HOLD\b"
    r"|ATTACH\b|DETACH\b|PRAGMA\s+\S+?\s*=|PRAGMA\s+(query_only|foreign_keys)\s*\("
    r"|CREATE\s+(OR\s+REPLACE\s+)?(LOCAL\s+|GLOBAL\s+)?TEMP)",
    re.IGNORECASE | re.DOTALL,
)
# locks, variables and tables that outlive a transaction, wherever in a statement they are made
_LASTING = re.compile(
    r"advisory_lock|set_config|setseed|get_lock|@\w+\s*:=|\bINTO\s+@|\bINTO\s+(LOCAL\s+)?TEMP",
    re.IGNORECASE,
)
# one of a single transaction, where the text says so
_LOCAL_CONFIG = re.compile(
    r"set_config\s*\(\s*('[^']*'|%\(\w+\)s|\$\d+|:\w+)(::\w+)?\s*,"
    r"\s*('[^']*'|%\(\w+\)s|\$\d+|:\w+)(::\w+)?\s*,\s*true\s*\)",
    re.IGNORECASE,
)

# code in the server, and what MariaDB and MySQL take out of a comment
_CODE = re.compile(
    r"(DO|CALL|EXECUTE|IF|CASE|LOOP|WHILE|REPEAT|FOR|DECLARE|EXPLAIN\b.*\bEXECUTE)\b",
    re.IGNORECASE | re.DOTALL,
)
_HIDDEN_COMMENT = re.compile(r"/\*M?!")
_SEVERAL = re.compile(r";\s*\S")
# definitions, which run nothing unless they read
_DEFINES = re.compile(
    r"(CREATE|ALTER|DROP|COMMENT|GRANT|REVOKE|TRUNCATE|ANALYZE|VACUUM)\b(?!.*\bSELECT\b)",
    re.IGNORECASE | re.DOTALL,
)
# a name in front of a parenthesis, with what qualifies it; after these words it is that of a table
_CALL = re.compile(
    r"(?<![\w$])(?:(INTO|AS|WITH|RECURSIVE)\s+)?"
    r"((?:[\"`]?[\w$]+[\"`]?\s*\.\s*)*)([\"`]?)([\w$]+)[\"`]?\s*\(",
    re.IGNORECASE,
)


def leaves(statement: str) -> bool:
    """Whether a statement leaves something on its connection, by what its text says."""
    if _STATEFUL.match(head(statement)):
        return True
    if _LASTING.search(statement) is None:
        return False
    return _LASTING.search(_LOCAL_CONFIG.sub("", statement)) is not None


def hides(statement: str, functions: frozenset[str]) -> bool:
    """Whether a statement runs code that may leave something, and whose text is elsewhere.

    :param functions: the server's own, which leave nothing.
    """
    first = head(statement)
    if _CODE.match(first) or _HIDDEN_COMMENT.search(statement):
        return True
    if _SEVERAL.search(statement):
        return True
    if _DEFINES.match(first):
        return False
    return any(_is_unknown(call, functions) for call in _CALL.finditer(statement))


def _is_unknown(call: re.Match[str], functions: frozenset[str]) -> bool:
    table, qualified, quote, name = call.groups()
    if table:
        return False
    if qualified and qualified.strip('"`. \t\r\n').lower() != "pg_catalog":
        return True
    name = name.lower()
    if name in functions or (name in WORDS and not quote):
        return False
    # PostgreSQL keeps the prefix for itself; PostGIS and MariaDB have theirs
    return not name.startswith(("pg_", "st_"))
