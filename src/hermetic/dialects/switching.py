"""Whether a statement of PostgreSQL's changes a setting, by what its text says.

It is for those who do not mean to, or do not know: code in the server, and dynamic SQL, can hide
what they do.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_HINTS = re.compile(r"\b(re)?set\b|\bdiscard\b|set_config|pg_settings", re.IGNORECASE)
# comments, strings, bodies of code, and quoted names
_APART = re.compile(
    r"--[^\n]*|/\*.*?\*/"
    r"|(?P<escaped>\bE'(?:[^'\\]|''|\\.)*')|(?P<text>'(?:[^']|'')*')"
    r"|\$(?P<tag>[A-Za-z_]\w*)?\$(?P<body>.*?)\$(?P=tag)?\$"
    r'|"(?P<name>(?:[^"]|"")+)"',
    re.DOTALL | re.IGNORECASE,
)
_PLAIN = re.compile(r"'[\w.]+'")
# between one statement and the next, in code too
_ENDS = re.compile(r";|\bbegin\b|\bthen\b|\belse\b|\bloop\b")
_WORDS = re.compile(r"\w+(?:\s*\.\s*\w+)*")
_CALL = re.compile(r"\bset_config\s*\(\s*")
_NAMED = re.compile(r"'([\w.]+)'\s*(?:::\s*\w+\s*)?,")
# a view that is written to by the same function
_UPDATE = re.compile(r"\bupdate\s+(only\s+)?(pg_catalog\s*\.\s*)?pg_settings\b")


def switches(statement: str, settings: Collection[str]) -> bool:
    """Whether a statement would change one of these settings, or one whose name it does not say.

    :param settings: their names, in lower case.
    """
    if _HINTS.search(statement) is None:
        return False
    code = _APART.sub(_bare, statement).lower()
    if _UPDATE.search(code):
        return True
    for call in _CALL.finditer(code):
        named = _NAMED.match(code, call.end())
        if named is None or named[1] in settings:
            return True
    return any(_sets(part, settings) for part in _ENDS.split(code))


def _bare(found: re.Match[str]) -> str:
    if found["body"] is not None:
        return f" ; {_APART.sub(_bare, found['body'])} ; "
    if found["text"] is not None:
        return found["text"] if _PLAIN.fullmatch(found["text"]) else "'?'"
    if found["escaped"] is not None:
        return "'?'"
    return found["name"] or " "


def _sets(part: str, settings: Collection[str]) -> bool:
    words = ["".join(word.split()) for word in _WORDS.findall(part[:400])[:4]]
    if not words or words[0] not in ("set", "reset", "discard"):
        return False
    if words[0] == "discard" or words[1:2] == ["all"]:
        return True
    if words[1:2] in (["session"], ["local"]):
        del words[1]
    if words[1:3] == ["session", "authorization"]:
        del words[1]
    return bool(words[1:]) and (words[1] in settings or words[1] == "authorization")
