"""What a scope has in several databases; where there is one, that is the scope itself."""

from __future__ import annotations

from typing import Any

from .registry import Scope


def members(registry: Any) -> tuple[Any, ...]:
    """Those of a group's databases; of a Database there are none."""
    found: tuple[Any, ...] = getattr(registry, "members", ())
    return found


def parts(root: Scope) -> tuple[Scope, ...]:
    """What holds the connections of a scope: itself, or, in a group, its branches."""
    route = root.route
    return (root,) if route is None or not route.branches else tuple(route.branches)
