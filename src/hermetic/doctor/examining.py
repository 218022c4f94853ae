"""Looking at the servers of a Database or a Group, side by side, for no longer than is allowed."""

from __future__ import annotations

import asyncio
import datetime
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy.util import greenlet_spawn

from ..checking import Checker
from ..clock import monotonic
from ..database import Database
from ..engine import Server
from ..group import Group
from ..redaction import redacted
from . import client, mysql, postgresql, sqlite
from .about import PRIMARY, About
from .checks import Checks
from .findings import Finding, Looked, Report, Unseen
from .look import reason, secrets_of, takes_asyncio
from .mysql_standing import MYSQL
from .options import CLIENT
from .postgresql_standing import POSTGRESQL
from .sqlite_checks import SQLITE

# what is left to the thread that looks, to tell that its time was over
_LAST_SECONDS = 0.5


class Way(NamedTuple):
    """How servers of a family are looked at, and what may be wrong with them."""

    read: Callable[[Server, About, float], Any]
    checks: Checks[Any]


WAYS: dict[str, Way] = {
    "postgresql": Way(postgresql.read, POSTGRESQL),
    "mysql": Way(mysql.read, MYSQL),
    "sqlite": Way(sqlite.read, SQLITE),
}
# every check there is, for the documentation
REGISTRIES: tuple[Checks[Any], ...] = (CLIENT, POSTGRESQL, MYSQL, SQLITE)


@dataclass
class _Visit:
    """One server that is looked at, in a thread of its own."""

    server: Server
    about: About
    facts: Any = None
    refused: tuple[tuple[str, str], ...] = ()
    failure: str | None = "no answer in time"

    def run(self, read: Callable[[Server, About, float], Any], until: float) -> None:
        try:
            if takes_asyncio(self.server):
                facts, refused = asyncio.run(_bridged(read, self.server, self.about, until))
            else:
                facts, refused = read(self.server, self.about, until)
        except Exception as error:
            # a driver's, hermetic's, SQLAlchemy's; psycopg and a database of SQL_ASCII even meet
            # in a TypeError. Whatever it is, the other servers are looked at
            self.failure = reason(error, secrets_of(self.server))
        else:
            self.facts, self.refused, self.failure = facts, tuple(refused), None


async def _bridged(read: Callable[..., Any], *arguments: Any) -> Any:
    """Have a driver of asyncio read on SQLAlchemy's bridge."""
    return await greenlet_spawn(read, *arguments)


def examine(
    subject: Database | Group, *, workers: int = 1, processes: int = 1, timeout: float = 10.0
) -> Report:
    """Look at servers, drivers, pools and options, and tell what is wrong or risky.

    It only looks: on connections of its own, beside the pools, in transactions that cannot write;
    a SQLite file is not even opened by SQLite. It blocks: under asyncio call it in a thread.

    :param subject: a Database, or a Group, whose databases are all looked at.
    :param workers: processes of one program that have such a Database. Default 1.
    :param processes: how many such programs there are. Default 1.
    :param timeout: seconds for all of it. Default 10.
    :raises InvalidOption: a number is outside its limits.
    """
    check = Checker("examine()")
    check.whole("workers", workers, at_least=1, at_most=100_000)
    check.whole("processes", processes, at_least=1, at_most=100_000)
    check.seconds("timeout", timeout)
    until = monotonic() + timeout
    wall, since = time.time(), monotonic()
    today = datetime.datetime.now(tz=datetime.UTC).date()
    visits = [
        _Visit(server, about)
        for server, about in _servers(subject, today, workers=workers, processes=processes)
    ]
    _visit(visits, until)
    jumped = (time.time() - wall) - (monotonic() - since)
    return _report(visits, jumped)


def _servers(
    subject: Database | Group, today: datetime.date, *, workers: int, processes: int
) -> Iterator[tuple[Server, About]]:
    for database, prepares, keeps_log in _databases(subject):
        for server in database._servers:
            yield (
                server,
                About(
                    database=database.name,
                    server=server.replica or PRIMARY,
                    url=server.url,
                    options=database.options,
                    today=today,
                    workers=workers,
                    processes=processes,
                    prepares=prepares,
                    keeps_log=keeps_log,
                ),
            )


def _databases(subject: Database | Group) -> Iterator[tuple[Database, bool, bool]]:
    """Each Database, whether transactions are prepared on it, and whether it has the log."""
    if isinstance(subject, Database):
        yield subject, False, False
        return
    coordinator = subject.coordinator
    for key, database in subject.databases.items():
        keeps = coordinator is not None and coordinator.log.key == key
        # the part of the database that has the log is not prepared: its commit decides
        yield database, coordinator is not None and not keeps, keeps


def _visit(visits: list[_Visit], until: float) -> None:
    threads = []
    for visit in visits:
        way = WAYS.get(visit.server.family.name)
        if way is None:
            visit.failure = None
            continue
        arguments = (way.read, until)
        thread = threading.Thread(
            target=visit.run, args=arguments, name="hermetic-doctor", daemon=True
        )
        thread.start()
        threads.append(thread)
    for thread in threads:
        # a name that is not resolved can be broken off by nobody: the thread is left alone then
        thread.join(max(0.0, until - monotonic()) + _LAST_SECONDS)


def _report(visits: list[_Visit], jumped: float) -> Report:
    looked: list[Looked] = []
    findings: list[Finding] = []
    unseen: list[Unseen] = []
    for visit in visits:
        about = visit.about
        family = visit.server.family.name
        if not about.is_replica:
            servers = 1 + sum(
                each.about.is_replica for each in visits if each.about.database == about.database
            )
            findings += CLIENT.run(client.read(visit.server, about, servers, jumped))
        place = (about.database, about.server)
        if visit.failure is not None:
            unseen.append(Unseen(*place, "the server", visit.failure, whole=True))
            continue
        if visit.facts is None:
            unseen.append(Unseen(*place, "the server", f"nothing is known of {family}"))
            continue
        version = visit.facts.version
        shown = version if isinstance(version, str) else ".".join(map(str, version))
        looked.append(Looked(*place, redacted(visit.server.url), family, shown))
        findings += WAYS[family].checks.run(visit.facts)
        unseen += [Unseen(*place, what, why) for what, why in visit.refused]
    findings.sort(key=lambda each: -each.severity.rank)
    return Report(tuple(looked), tuple(findings), tuple(unseen))
