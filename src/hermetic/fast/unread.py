"""Whether a SQLAlchemy that nobody has read for the fast paths is, where they stand in for it, what
was read.

``as_read`` has a digest of the source of every function that runs less often, or not at all, with
the fast paths on. A release that changed one of them may do something else there, and the fast
paths would go on with what was done before. ``python -m tools.stood_in_for`` writes it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

import sqlalchemy

# whose sources were read: their shapes alone are looked at when they are imported
READ = ("2.1.7", "2.1.8", "2.1.9")

_ROOT = Path(sqlalchemy.__file__).parent
_BLOCK = re.compile(r"( *)(?:async )?(class|def) (\w+)")


def problem() -> str | None:
    """The first function that is another one than was read; ``None`` where there is none."""
    if sqlalchemy.__version__ in READ:
        return None
    from .as_read import DIGESTS

    try:
        return differing(DIGESTS)
    except OSError:
        return "it was not read for them, and its sources are not there to look at"


def differing(digests: dict[str, dict[str, str]]) -> str | None:
    for file, expected in digests.items():
        found = digests_of(file, expected)
        for name, digest in expected.items():
            if found.get(name) != digest:
                return f"{file}: {name} is not what was read"
    return None


def digests_of(file: str, names: Iterable[str]) -> dict[str, str]:
    """A digest of each of a file's functions that is there.

    :raises OSError: the file is not there.
    """
    blocks = blocks_of((_ROOT / file).read_text(encoding="utf-8"))
    return {name: _digest(blocks[name]) for name in names if name in blocks}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def blocks_of(text: str) -> dict[str, str]:
    """The source of each function, by its name with that of its class; those inside are part of it.

    Told by how far lines are indented: what is compared is only one release with another, and the
    whole of it is to be had in milliseconds.
    """
    blocks: dict[str, list[str]] = {}
    classes: list[tuple[int, str]] = []
    inside: list[str] | None = None
    depth = 0
    for line in text.splitlines():
        stripped = line.lstrip()
        if not stripped:
            continue
        indent = len(line) - len(stripped)
        if inside is not None:
            # the end of a signature may stand below its `def`
            if indent > depth or stripped[0] == ")":
                inside.append(line)
                continue
            inside = None
        match = _BLOCK.match(line)
        if match is None:
            continue
        classes = [each for each in classes if each[0] < indent]
        if match[2] == "class":
            classes.append((indent, match[3]))
            continue
        # where there are several of a name, as overloads are, they count together
        name = ".".join([*(name for _, name in classes), match[3]])
        inside, depth = blocks.setdefault(name, []), indent
        inside.append(line)
    return {name: "\n".join(lines) for name, lines in blocks.items()}
