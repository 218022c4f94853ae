"""What was seen in one round, by everybody who works in it."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Final

from hermetic import CommitProof
from tests.fire.arena import Place
from tests.fire.checkers.appends import Transaction
from tests.fire.checkers.ledger import Ledger
from tests.fire.checkers.violations import Violation

# Seconds after a deadline that are too many even for a busy machine.
OVERRUN: Final = 2.0


class Record:
    """Shared by threads and tasks; every store has its own ledger and history."""

    def __init__(self, families: Iterable[str]) -> None:
        self._lock = threading.Lock()
        self.ledgers = {family: Ledger() for family in families}
        self.histories: dict[str, list[Transaction]] = {family: [] for family in families}
        self.violations: list[Violation] = []
        # faults by name and place, and those of them that struck inside a COMMIT
        self.faults: Counter[tuple[str, str]] = Counter()
        self.in_commit: Counter[tuple[str, str]] = Counter()
        # outcomes by place, and what units ended with
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.errors: Counter[tuple[str, str]] = Counter()
        self.attempts = 0
        # tokens of which nobody knows how they ended, and by what their Database can be asked
        self.unknown: list[tuple[str, Place, CommitProof]] = []
        # seconds beyond a unit's deadline, and the unit
        self.overruns: list[tuple[float, str]] = []
        # from when a store accepts again to the first commit there
        self.recoveries: dict[str, list[float]] = defaultdict(list)
        self._accepting: dict[str, float] = {}
        self.warnings: list[str] = []

    def violated(self, violations: Iterable[Violation]) -> None:
        with self._lock:
            self.violations += violations

    def injected(self, fault: str, place: str, *, in_commit: bool = False) -> None:
        with self._lock:
            self.faults[fault, place] += 1
            if in_commit:
                self.in_commit[fault, place] += 1

    def not_known(self, token: str, place: Place, proof: CommitProof) -> None:
        with self._lock:
            self.unknown.append((token, place, proof))

    def ended(self, place: str, outcome: str, error: str, attempts: int) -> None:
        with self._lock:
            self.outcomes[outcome, place] += 1
            self.attempts += attempts
            if error:
                self.errors[error, place] += 1

    def overran(self, seconds: float, unit: str) -> None:
        with self._lock:
            self.overruns.append((seconds, unit))
            if seconds > OVERRUN:
                told = f"{seconds:.2f} s beyond its deadline: {unit}"
                self.violations.append(Violation("overrun", told))

    def accepts(self, place: str) -> None:
        """A server of a place takes clients again, after it did not."""
        with self._lock:
            self._accepting[place] = time.monotonic()

    def committed(self, place: str) -> None:
        with self._lock:
            since = self._accepting.pop(place, None)
            if since is not None:
                self.recoveries[place].append(time.monotonic() - since)
