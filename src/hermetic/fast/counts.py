"""How often a fast path ran, and how often and why it stepped aside."""

from __future__ import annotations

Counts = dict[str, int]


def aside(counts: Counts, reason: str) -> None:
    """Count one step aside."""
    name = f"aside: {reason}"
    counts[name] = counts.get(name, 0) + 1


def ran(counts: Counts, name: str) -> None:
    """Count one run of a fast path."""
    counts[name] = counts.get(name, 0) + 1


# flushes of all sessions, inside a scope and outside
flushes: Counts = {}
