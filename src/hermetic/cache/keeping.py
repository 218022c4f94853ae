"""Statements that a program keeps and executes again: what was found out about one is found by the
statement itself, for as long as it is there.

A statement does not change; who adds to one makes another. One that is made anew each time is noted
once, by its address, which the next one often has.
"""

from __future__ import annotations

from typing import Any
from weakref import ref

from .reading import Asked
from .reads import Reads

# how many statements are noted
_NOTED = 2000


class Kept:
    """A statement with what it stands for: its shape, and where its rows are in the cache."""

    __slots__ = ("asked", "key", "shape", "side", "statement", "tenant")

    def __init__(
        self, statement: Any, side: Any, shape: Any, asked: Asked, key: Any, tenant: str | None
    ) -> None:
        self.statement = ref(statement)
        self.side = side
        self.shape = shape
        self.asked = asked
        self.key = key
        self.tenant = tenant


def kept_of(reads: Reads, statement: Any) -> Kept | None:
    """What is known of this statement, and of no other one at its address."""
    found = reads.kept.get(id(statement))
    return found if type(found) is Kept and found.statement() is statement else None


def come_again(reads: Reads, statement: Any) -> bool:
    """Whether it has come before; if not, it is noted."""
    noted = reads.kept
    found = noted.get(id(statement))
    if found is not None:
        reference = found.statement if type(found) is Kept else found
        if reference() is statement:
            return True
    if len(noted) >= _NOTED:
        noted.clear()
    noted[id(statement)] = ref(statement)
    return False


def keep(reads: Reads, kept: Kept) -> None:
    """Have it known the next time."""
    statement = kept.statement()
    reads.kept[id(statement)] = kept
