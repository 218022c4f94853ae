"""Where the page's states come from, and the lines of source that findings name."""

from __future__ import annotations

import linecache
import re
import threading
from collections.abc import Callable
from typing import Any, Protocol

from ..clock import monotonic
from ..redaction import is_secret
from .shape import FindingState, HistoryState, ScopeDetail, State
from .state import Shown, history_of, named, scope_of, state_of

# what can be done besides looking, where that is allowed
ACTIONS = ("evict", "suspend", "resume")

# lines of source around the one that is meant
_AROUND = 3
_LONGEST_LINE = 200
_PASSWORD = re.compile(r"(?<=://)([^:/@\s]*):([^@\s]*)@")
_QUOTED = re.compile(r"(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')")


class Source(Protocol):
    """Processes that can be looked at, each by a key."""

    def live(self) -> dict[str, State]:
        """What is open now, without history."""

    def problems(self) -> list[str]:
        """Of which processes nothing was seen at the last look, and why."""

    def history(self) -> dict[str, dict[str, HistoryState]]:
        """What has ended, of each process and of each of its Databases by their ids."""

    def scope(self, process: str, database: str, number: int) -> ScopeDetail | None:
        """One scope; ``None`` where nobody knows it any more."""

    def finding(self, process: str, database: str, number: str) -> FindingState | None:
        """One finding; ``None`` where it is not known."""

    def act(self, process: str, database: str, action: str) -> bool:
        """Do one of ACTIONS; ``False`` where there is no such Database, or nothing can be done."""


class OwnProcess:
    """The Databases of this process.

    :param databases: which. None: all that are open, whenever somebody looks.
    :param literals: whether strings in statements are shown.
    """

    def __init__(self, databases: tuple[Shown, ...], *, literals: bool) -> None:
        self._databases = databases
        self._literals = literals

    def live(self) -> dict[str, State]:
        """As Source."""
        found = state_of(*self._databases, with_history=False, literals=self._literals)
        return {"own": found}

    def problems(self) -> list[str]:
        """As Source."""
        return []

    def history(self) -> dict[str, dict[str, HistoryState]]:
        """As Source."""
        return {"own": history_of(*self._databases, steps=0, literals=self._literals)}

    def scope(self, process: str, database: str, number: int) -> ScopeDetail | None:
        """As Source."""
        return scope_of(number, *self._databases, database=database, literals=self._literals)

    def finding(self, process: str, database: str, number: str) -> FindingState | None:
        """As Source."""
        return find(self.live().values(), database, number)

    def act(self, process: str, database: str, action: str) -> bool:
        """As Source."""
        found: Any = named(*self._databases).get(database)
        does: Callable[[], None] | None = getattr(found, action, None)
        if action not in ACTIONS or does is None:
            return False
        does()
        return True


def find(states: Any, database: str, number: str) -> FindingState | None:
    """A finding in some states."""
    for state in states:
        for each in state["databases"]:
            if each["id"] == database:
                for found in each["findings"]:
                    if found["id"] == number:
                        told: FindingState = found
                        return told
    return None


def lines_of(found: FindingState) -> list[dict[str, Any]]:
    """The line that a finding comes from, with those around it; empty where there is none."""
    name, meant = found["file"], found["line"]
    # another process has told its name: what is no source is not read for it
    if name is None or meant is None or not name.endswith(".py"):
        return []
    linecache.checkcache(name)
    lines = linecache.getlines(name)
    shown = range(max(1, meant - _AROUND), min(len(lines), meant + _AROUND) + 1)
    return [
        {"number": number, "text": _shown(lines[number - 1]), "meant": number == meant}
        for number in shown
    ]


def _shown(line: str) -> str:
    text = _PASSWORD.sub(r"\1:***@", line.rstrip()[:_LONGEST_LINE])
    return _QUOTED.sub('"***"', text) if is_secret(text) else text


class Shared:
    """One answer for all who ask within a moment, so that many viewers cost as one does."""

    def __init__(self, make: Callable[[], bytes], seconds: float) -> None:
        self._make = make
        self._seconds = seconds
        self._lock = threading.Lock()
        self._until = 0.0
        self._made = b""

    def __call__(self) -> bytes:
        with self._lock:
            now = monotonic()
            if now >= self._until:
                self._made = self._make()
                self._until = monotonic() + self._seconds
            return self._made
