"""Whether the fast paths are on.

They are off on SQLAlchemy 2.0; where a later one is not what they were made for, which is said
once; and where ``HERMETIC_DISABLE_FAST=1`` asks for it, to compare.
"""

from __future__ import annotations

import os
import warnings

import sqlalchemy

from .. import release
from . import private, private_flush, unread


def _warn(problem: str) -> None:
    warnings.warn(
        f"hermetic's fast paths are off: SQLAlchemy {sqlalchemy.__version__} is not what they were "
        f"made for ({problem}). Everything works, at SQLAlchemy's own speed.",
        RuntimeWarning,
        stacklevel=3,
    )


def _why_off() -> str | None:
    if os.environ.get("HERMETIC_DISABLE_FAST", "") not in ("", "0"):
        return "HERMETIC_DISABLE_FAST is set"
    if release.NO_FAST_PATHS is not None:
        return release.NO_FAST_PATHS
    problem = private.problem() or unread.problem()
    if problem is None:
        return None
    _warn(problem)
    return f"SQLAlchemy {sqlalchemy.__version__} is not what they were made for ({problem})"


def _why_flush_off() -> str | None:
    problem = private_flush.why_off()
    if problem is not None:
        warnings.warn(
            "hermetic writes through SQLAlchemy's own unit of work, which is slower: SQLAlchemy "
            f"{sqlalchemy.__version__} is not what its flush was made for ({problem}).",
            RuntimeWarning,
            stacklevel=3,
        )
    return problem


# why they are off; ``None`` where they are on
OFF = _why_off()
ON = OFF is None
# why the flush alone is off, where the others are on
FLUSH_OFF = _why_flush_off() if ON else None
