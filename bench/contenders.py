"""Who takes part, and what a contender is: turns by the names of works."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from bench.measure import AsyncTurn, SyncTurn

RAW, SQLALCHEMY, HERMETIC = "raw driver", "SQLAlchemy", "hermetic"

# Gives a count: there is nothing to repeat.
Counter = Callable[[], float]
AsyncCounter = Callable[[], Awaitable[float]]

SyncWorks = dict[str, SyncTurn | Counter]
AsyncWorks = dict[str, AsyncTurn | AsyncCounter]


@dataclass(frozen=True, slots=True)
class Scopes:
    """How a contender opens its sessions; each is called without arguments, in a ``with``.

    :param open: a session in a transaction that commits at the end of the block.
    :param read: one that cannot write, enforced by the database.
    """

    open: Any
    read: Any
