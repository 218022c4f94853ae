"""What an examination is about: whose server it is, by which options, under how many processes."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from sqlalchemy import URL

from ..decisions import TABLE
from ..options import DatabaseOptions

PRIMARY = "primary"


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """One server of one Database.

    :param server: ``"primary"``, or the name of a replica.
    :param workers: processes of one program.
    :param processes: how many such programs there are.
    :param prepares: whether a group prepares transactions on it.
    :param keeps_log: whether a group has its log of decisions there, as a table.
    """

    database: str
    server: str
    url: URL
    options: DatabaseOptions
    today: datetime.date
    workers: int = 1
    processes: int = 1
    prepares: bool = False
    keeps_log: bool = False

    @property
    def is_replica(self) -> bool:
        return self.server != PRIMARY

    @property
    def tables(self) -> tuple[str, ...]:
        """Tables of hermetic's own that have to be there."""
        if self.is_replica:
            return ()
        commits = (self.options.commit_table,) if self.options.resolve_commits == "token" else ()
        return (*commits, TABLE) if self.keeps_log else commits

    @property
    def programs(self) -> int:
        """How many processes have a Database like this one."""
        return self.workers * self.processes
