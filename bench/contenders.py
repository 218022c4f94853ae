"""Who takes part, and what a contender is: turns by the names of works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.measure import AsyncTurn, SyncTurn

RAW, SQLALCHEMY, HERMETIC = "raw driver", "SQLAlchemy", "hermetic"

SyncWorks = dict[str, SyncTurn]
AsyncWorks = dict[str, AsyncTurn]


@dataclass(frozen=True, slots=True)
class Scopes:
    """How a contender opens its sessions; each is called without arguments, in a ``with``.

    :param open: a session in a transaction that commits at the end of the block.
    :param read: one that cannot write, enforced by the database.
    """

    open: Any
    read: Any
