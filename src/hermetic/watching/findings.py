"""The findings of one Database: each told once, and counted from then on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from ..seen import Finding

# different ones; of more than these the one that was not seen for longest goes
_MOST = 500


class Findings:
    """What was found, by what it is and the line that it comes from. The lock guards the dict."""

    def __init__(self, ignore: frozenset[str], told: Callable[[Finding], None]) -> None:
        self._ignore = ignore
        self._told = told
        self.start_anew()

    def start_anew(self) -> None:
        """In a forked child, too: a thread of the parent's may have had the lock."""
        self._lock = threading.RLock()
        self._known: dict[tuple[str, str, str], Finding] = {}
        self._totals: dict[str, int] = {}

    def add(self, finding: Finding) -> Finding | None:
        """One more.

        :return: what is known of it now; ``None`` where nobody wants to know.
        """
        if finding.code in self._ignore:
            return None
        own = finding.statement if finding.code == "repeated-statement" else None
        key = (finding.code, finding.place, own or "")
        now = time.time()
        with self._lock:
            self._totals[finding.code] = self._totals.get(finding.code, 0) + 1
            known = self._known.pop(key, None)
            while len(self._known) >= _MOST:
                del self._known[next(iter(self._known))]
            count, first = (1, now) if known is None else (known.count + 1, known.first)
            found = replace(finding, count=count, first=first, last=now)
            self._known[key] = found
        if known is None:
            self._told(found)
        return found

    def __call__(self) -> tuple[Finding, ...]:
        """All of them, the latest first."""
        with self._lock:
            found = list(self._known.values())
        return tuple(sorted(found, key=lambda each: -each.last))

    def totals(self) -> dict[str, int]:
        """How often each was found, ever."""
        with self._lock:
            return dict(self._totals)

    def forget(self) -> None:
        """Begin anew, as between two tests."""
        with self._lock:
            self._known.clear()
