"""What was found: frozen records, of which reports are made."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Severity(enum.StrEnum):
    """How bad it is: may go wrong in ways of its own, is likely to, is wrong."""

    HINT = "hint"
    WARNING = "warning"
    ERROR = "error"

    @property
    def rank(self) -> int:
        """0 for a hint, 2 for an error."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or risky.

    :param code: its name, which stays the same from release to release.
    :param database: the Database's name.
    :param server: ``"primary"``, the name of a replica, or ``"client"`` for what is on this side.
    :param seen: what is so.
    :param why: what comes of it.
    :param change: the line to change: an option, or a setting of the server's.
    """

    code: str
    severity: Severity
    database: str
    server: str
    seen: str
    why: str
    change: str


@dataclass(frozen=True, slots=True)
class Unseen:
    """Something that could not be looked at, and why not.

    :param whole: whether nothing at all was seen of the server.
    """

    database: str
    server: str
    what: str
    why: str
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Looked:
    """A server that was looked at."""

    database: str
    server: str
    url: str
    family: str
    version: str


@dataclass(frozen=True, slots=True)
class Report:
    """All that came of an examination: the worst findings first."""

    looked: tuple[Looked, ...]
    findings: tuple[Finding, ...]
    unseen: tuple[Unseen, ...]

    @property
    def complete(self) -> bool:
        """Whether every server could be looked at."""
        return not any(each.whole for each in self.unseen)

    def at_least(self, severity: Severity) -> tuple[Finding, ...]:
        """The findings that are as bad as this, or worse."""
        return tuple(each for each in self.findings if each.severity.rank >= severity.rank)
