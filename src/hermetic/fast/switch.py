"""Whether the fast paths are on.

They are off where SQLAlchemy is not what they were made for, which is said once, and where
``HERMETIC_DISABLE_FAST=1`` asks for it, to compare.
"""

from __future__ import annotations

import os
import warnings

import sqlalchemy

from . import private


def _warn(problem: str) -> None:
    warnings.warn(
        f"hermetic's fast paths are off: SQLAlchemy {sqlalchemy.__version__} is not what they were "
        f"made for ({problem}). Everything works, at SQLAlchemy's own speed.",
        RuntimeWarning,
        stacklevel=3,
    )


def _is_on() -> bool:
    if os.environ.get("HERMETIC_DISABLE_FAST", "") not in ("", "0"):
        return False
    problem = private.problem()
    if problem is not None:
        _warn(problem)
    return problem is None


ON = _is_on()
