"""The ledger of features, docs/features.md, as data."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# The table of features that the ledger follows has this many.
FEATURES: Final = 132

_ROW = re.compile(
    r"^\| (?P<number>\d+) \| (?P<label>[^|]+) \| (?P<mark>[^|]+) \| (?P<shown>[^|]*)\|$"
)
_TEST = re.compile(r"`(?P<file>tests/[\w/]+\.py)::(?P<name>\w+)`")


class Mark(enum.Enum):
    """What hermetic has of a feature."""

    YES = "yes"
    PARTLY = "partly"
    NOT_YET = "not yet"


@dataclass(frozen=True)
class Row:
    """One feature. ``tests`` are pairs of a file and a function in it."""

    number: int
    label: str
    mark: Mark
    tests: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Ledger:
    """All features, in the order of the page."""

    rows: tuple[Row, ...]

    @classmethod
    def read(cls, page: Path) -> Ledger:
        """:raises ValueError: a mark is none."""
        text = page.read_text(encoding="utf-8")
        found = (_ROW.match(line) for line in text.splitlines())
        return cls(tuple(_row(match) for match in found if match is not None))


def _row(match: re.Match[str]) -> Row:
    tests = tuple((test["file"], test["name"]) for test in _TEST.finditer(match["shown"]))
    label, mark = match["label"].strip(), Mark(match["mark"].strip())
    return Row(int(match["number"]), label, mark, tests)
