"""How often a fast path ran, and how often and why it stepped aside."""

from __future__ import annotations

Counts = dict[str, int]


def aside(counts: Counts, reason: str) -> None:
    """Count one step aside."""
    name = f"aside: {reason}"
    counts[name] = counts.get(name, 0) + 1


# of what no Database's side stands behind; two threads that count at the same moment may lose one
counts: Counts = {}


def count(name: str) -> None:
    """One more of this name: ``load:fast``, ``load:aside:events``."""
    counts[name] = counts.get(name, 0) + 1
