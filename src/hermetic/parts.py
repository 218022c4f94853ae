"""What a scope has in several databases; where there is one, that is the scope itself."""

from __future__ import annotations

from typing import Any

from .registry import Scope


def members(registry: Any) -> tuple[Any, ...]:
    """Those of a group's databases; of a Database there are none."""
    found: tuple[Any, ...] = getattr(registry, "members", ())
    return found


def leaves(scope: Scope) -> None:
    """The block of a scope that goes somewhere was left."""
    leave = getattr(scope.route, "leave", None)
    if leave is not None:
        leave()


def parts(root: Scope) -> tuple[Scope, ...]:
    """What holds the connections of a scope: itself, or, in a group, its branches."""
    route = root.route
    return (root,) if route is None or not route.branches else tuple(route.branches)
