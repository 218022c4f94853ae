"""What goes wrong between a commit and the cache."""

from __future__ import annotations

from ..errors import HermeticError


class CacheAway(HermeticError):
    """A commit could not be announced to the cache, and ``Cache(on_failure="refuse")`` says that
    nothing is committed then: it was rolled back.
    """
