"""How often a fast path ran, and how often and why it stepped aside, in this process.

The names are ``get:fast``, ``load:aside:events``: which path, and what became of it.
"""

from __future__ import annotations

# two threads that count at the same moment may lose one
counts: dict[str, int] = {}
# the same, within reach of the compiled form
_counts = counts


def count(name: str) -> None:
    """One more of this name."""
    _counts[name] = _counts.get(name, 0) + 1
