"""The Databases and Groups of this process, for whoever looks at all of them."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .database import Database
    from .group import Group

# in the order in which they were made
_known: dict[int, weakref.ref[Database | Group]] = {}


def note(made: Database | Group) -> None:
    """One was made. It is known for as long as somebody keeps it."""
    number = id(made)
    _known[number] = weakref.ref(made, lambda _: _known.pop(number, None))


def all_open() -> tuple[Database | Group, ...]:
    """Those that are not closed, the oldest first. May be called at any time, from anywhere."""
    # list() of a dict's values is one step under the GIL
    found = (each() for each in list(_known.values()))
    return tuple(each for each in found if each is not None and not each.server.closed)
