"""What the workers saw, kept outside the database, to hold the database against."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field

from banking.model import Order
from hermetic import Event, Outcome, RetryScheduled


@dataclass(slots=True)
class Incident:
    """Something that was done on purpose, and what came of it."""

    order: Order
    outcome: Outcome | None = None
    error: str = "nothing was raised"

    @property
    def committed(self) -> bool:
        return self.outcome is Outcome.COMMITTED


@dataclass
class Ledger:
    """Orders that were acknowledged or not, and how often each was run. Safe for threads."""

    applied: list[Order] = field(default_factory=list)
    not_covered: list[Order] = field(default_factory=list)
    failed: list[tuple[Order, BaseException]] = field(default_factory=list)
    audits: list[int] = field(default_factory=list)
    audit_errors: list[BaseException] = field(default_factory=list)
    reruns_told: int = 0
    failing: Incident | None = None
    cancelled: list[Incident] = field(default_factory=list)
    read_after: str = ""
    _runs: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run_begins(self, order: Order) -> None:
        """A worker is inside the unit; the second and later times are retries."""
        with self._lock:
            self._runs[order.token] += 1

    @property
    def reruns(self) -> int:
        """How many runs were not the first one of their order."""
        with self._lock:
            return sum(runs - 1 for runs in self._runs.values())

    @property
    def done(self) -> int:
        return len(self.applied) + len(self.not_covered) + len(self.failed)

    def all_applied(self) -> list[Order]:
        """What the database has to show: acknowledged, or committed before it was cancelled."""
        return [
            *self.applied,
            *(incident.order for incident in self.cancelled if incident.committed),
        ]

    def listen(self, event: Event) -> None:
        """Count the retries that the Database announces."""
        if isinstance(event, RetryScheduled):
            with self._lock:
                self.reruns_told += 1
