"""Where sessions meet the loading of many rows, whether it is fast or SQLAlchemy's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .switch import ON


def _unchanged(result: Any, options: Any = None) -> Any:
    return result


def _no_source(result: Any) -> Any:
    return None


if ON:
    from .loading import quicken, source_of
else:
    quicken: Callable[..., Any] = _unchanged  # type: ignore[no-redef]
    source_of: Callable[[Any], Any] = _no_source  # type: ignore[no-redef]

__all__ = ["quicken", "source_of"]
