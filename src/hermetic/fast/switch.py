"""Whether the fast paths are on.

They are off on SQLAlchemy 2.0; where SQLAlchemy 2.1 is not what they were made for, which is said
once; and where ``HERMETIC_DISABLE_FAST=1`` asks for it, to compare.
"""

from __future__ import annotations

import os
import warnings

import sqlalchemy

from .. import release
from . import private


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
    problem = private.problem()
    if problem is None:
        return None
    _warn(problem)
    return f"SQLAlchemy {sqlalchemy.__version__} is not what they were made for ({problem})"


# why they are off; ``None`` where they are on
OFF = _why_off()
ON = OFF is None
