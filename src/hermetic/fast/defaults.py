"""Client-side defaults of columns, by what is public of them: many rows are written with these also
where the fast paths are off.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnDefault


def _wrapped_code() -> set[Any]:
    """The code of what SQLAlchemy makes of a callable default that takes no context."""
    defaults: list[Any] = [ColumnDefault(lambda: 1), ColumnDefault(dict)]
    return {default.arg.__code__ for default in defaults}


_CONTEXT_FREE = _wrapped_code()

NO_DEFAULT, SCALAR, CALLED = 0, 1, 2


def default_of(default: Any) -> tuple[int, Any] | None:
    """Kind and argument of a client-side default; ``None`` for one that is not understood."""
    if default is None:
        return NO_DEFAULT, None
    if default.is_clause_element or default.is_sequence or getattr(default, "is_sentinel", False):
        return None
    if default.is_scalar:
        return SCALAR, default.arg
    if default.is_callable and getattr(default.arg, "__code__", None) in _CONTEXT_FREE:
        return CALLED, default.arg
    return None
