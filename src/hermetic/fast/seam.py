"""Where sessions meet the fast paths, and where these are off: nothing else need know why.

They are off where SQLAlchemy is not what they were made for, which is said once, and where
``HERMETIC_DISABLE_FAST=1`` asks for it, to compare.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any

import sqlalchemy


def _unchanged(result: Any, options: Any = None) -> Any:
    return result


def _no_source(result: Any) -> Any:
    return None


def _problem() -> str | None:
    try:
        from . import private
    except ImportError as error:
        return str(error)
    return private.problem()


def _warn(problem: str) -> None:
    warnings.warn(
        f"hermetic's fast paths are off: SQLAlchemy {sqlalchemy.__version__} is not what they were "
        f"made for ({problem}). Everything works, at SQLAlchemy's own speed.",
        RuntimeWarning,
        stacklevel=3,
    )


def _is_off() -> bool:
    if os.environ.get("HERMETIC_DISABLE_FAST", "") not in ("", "0"):
        return True
    problem = _problem()
    if problem is not None:
        _warn(problem)
    return problem is not None


if _is_off():
    quicken: Callable[..., Any] = _unchanged
    source_of: Callable[[Any], Any] = _no_source
else:
    from .loading import quicken, source_of

__all__ = ["quicken", "source_of"]
