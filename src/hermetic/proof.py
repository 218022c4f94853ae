"""What proves, after the answer to a COMMIT was lost, whether the transaction was committed."""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass, field

from .clock import monotonic


def new_token() -> str:
    """32 hexadecimal digits, unique and unguessable; they begin with the time, so that an index of
    them grows at one end.
    """
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitProof:
    """What was noted before a COMMIT, and what the database is asked by if its answer is lost.

    ``token`` is a row that the transaction inserted; ``transaction`` is PostgreSQL's number of it,
    which means something on one ``system`` and ``timeline`` alone, and until that
    crashes (``lineage``). ``backend`` is the server's
    process or thread that was to commit, ``server`` the URL's host, port and database.
    """

    server: str
    token: str | None = None
    transaction: int | None = None
    timeline: str | None = None
    system: str | None = None
    lineage: str | None = field(default=None, repr=False)
    backend: int | None = None
    # monotonic seconds, of one process
    sent: float = field(default_factory=monotonic, repr=False)
    process: int = field(default_factory=os.getpid, repr=False)

    def __str__(self) -> str:
        if self.token is not None:
            what = f"token {self.token}"
        else:
            what = f"transaction {self.transaction} of timeline {self.timeline}"
        return f"{what} on {self.server}"

    @property
    def wrote(self) -> bool:
        """Whether there is anything that could be committed or not."""
        return self.token is not None or self.transaction is not None
