"""The log of decisions: which units of a group that are prepared are to be committed.

A decision is durable before the first part of its unit is committed; without one a unit is rolled
back ("presumed abort"). Who rolls one back says so here first, by a fence: the decision that comes
later is refused. So nobody has to know whether a unit's process is alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    SmallInteger,
    String,
    Table,
    delete,
    insert,
    select,
)
from sqlalchemy.util import await_only

from .apart import apart
from .errors import ConfigurationError, InvalidStatement, LockTimeout, RolledBack, UniqueViolation
from .proof import new_token

if TYPE_CHECKING:
    from .engine import Server

_T = TypeVar("_T")

# seconds for which a fence is kept at least; whoever was fenced out has ended by then
KEPT = 86_400.0
# what a row says
_FENCED, _COMMITTED, _IDENTITY = 0, 1, 2
_THE_LOG = "log"
# digits of a unit that are its time, in milliseconds
_TIME = 12
TABLE = "hermetic_units"
_MADE_BY = "the log of decisions is made by group.create_log()"
_MAKE_IT = "Make it once, by group.create_log() or hermetic recover --create-log."
_SOME = 500


def age(unit: str) -> float:
    """Seconds since a unit was begun, by the wall clocks of its process and of this one."""
    return time.time() - int(unit[:_TIME], 16) / 1000


class TableLog:
    """The log as a table, in one of the group's databases.

    A unit's decision is a row of the transaction that is its own part in that database: with the
    COMMIT of that one it is decided.
    """

    def __init__(self, server: Server, key: str) -> None:
        self.server = server
        # the name of its database in the group
        self.key: str | None = key
        self.table = _table(None)

    def create(self, until: float, *, asynchronous: bool) -> None:
        """Make the table, if it is not there."""
        with apart(self.server, until, asynchronous=asynchronous) as connection:
            self.table.create(connection, checkfirst=True)
            known = select(self.table.c.log).where(self.table.c.unit == _THE_LOG)
            if connection.scalar(known) is None:
                self._row(connection, _THE_LOG, _IDENTITY, secrets.token_hex(4))
            connection.commit()

    def identity(self, until: float, *, asynchronous: bool) -> str:
        """What tells this log from every other one."""
        with apart(self.server, until, asynchronous=asynchronous) as connection:
            commits, database = self.server.family.commits, self.server.url.database
            # a scope may have a search path of its own
            schema = commits.schema(connection, TABLE, database) if commits.searches else None
            self.table = _table(schema)
            found = select(self.table.c.log).where(self.table.c.unit == _THE_LOG)
            try:
                log: str | None = connection.scalar(found)
            except InvalidStatement as refused:
                refused.add_note(_MADE_BY)
                raise
        if log is None:
            raise ConfigurationError("The log of decisions is empty.", hint=_MAKE_IT)
        return log

    def decide(self, connection: Connection, unit: str) -> None:
        """Write a decision into a transaction, whose COMMIT makes it one.

        :raises RolledBack: it was fenced.
        """
        try:
            self._row(connection, unit, _COMMITTED)
        except UniqueViolation as fenced:
            raise fenced_out(unit) from fenced

    def fence(self, unit: str, until: float, *, asynchronous: bool) -> bool | None:
        """Whether a unit is to be committed; one that is not decided never will be.

        :return: ``None``: it is being decided at this moment.
        """
        with apart(self.server, until, asynchronous=asynchronous) as connection:
            self.server.family.commits.hurry(connection)
            try:
                self._row(connection, unit, _FENCED)
                connection.commit()
            except UniqueViolation:
                connection.rollback()
                return self._found(connection, {unit}).get(unit)
            except LockTimeout:
                return None
            return False

    def known(self, units: Collection[str], until: float, *, asynchronous: bool) -> dict[str, bool]:
        """Of those that are decided or fenced: whether they are to be committed."""
        with apart(self.server, until, asynchronous=asynchronous) as connection:
            return self._found(connection, units)

    def decided(self, until: float, *, asynchronous: bool) -> list[str]:
        """Every unit that is to be committed, or was."""
        with apart(self.server, until, asynchronous=asynchronous) as connection:
            found = select(self.table.c.unit).where(self.table.c.decision == _COMMITTED)
            return list(connection.scalars(found))

    def forget(self, units: Collection[str], until: float, *, asynchronous: bool) -> None:
        """Delete decisions that nobody will ask for, and fences that are old."""
        oldest = f"{int((time.time() - KEPT) * 1000):0{_TIME}x}"
        old = (self.table.c.decision == _FENCED) & (self.table.c.unit < oldest)
        with apart(self.server, until, asynchronous=asynchronous) as connection:
            connection.execute(delete(self.table).where(old))
            listed = sorted(units)
            for first in range(0, len(listed), _SOME):
                some = listed[first : first + _SOME]
                connection.execute(delete(self.table).where(self.table.c.unit.in_(some)))
            connection.commit()

    def _found(self, connection: Connection, units: Collection[str]) -> dict[str, bool]:
        columns = self.table.c.unit, self.table.c.decision
        found: dict[str, bool] = {}
        listed = sorted(units)
        for first in range(0, len(listed), _SOME):
            some = select(*columns).where(self.table.c.unit.in_(listed[first : first + _SOME]))
            found |= {unit: said == _COMMITTED for unit, said in connection.execute(some)}
        return found

    def _row(self, connection: Connection, unit: str, said: int, log: str | None = None) -> None:
        connection.execute(insert(self.table).values(unit=unit, decision=said, log=log))


class FileLog:
    """The log as a file: a line for each decision, forced to the disk before anything is committed.

    It is for one machine. A file beside it, with ``.lock`` behind its name, is locked meanwhile.
    """

    key: str | None = None

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self, until: float, *, asynchronous: bool) -> None:
        """Make the file, if it is not there."""
        _aside(self._create, asynchronous=asynchronous)

    def _create(self) -> None:
        with self._locked():
            if not self.path.exists():
                self._write_all([f"{_THE_LOG} {secrets.token_hex(4)}"])

    def identity(self, until: float, *, asynchronous: bool) -> str:
        """What tells this log from every other one."""
        return _aside(self._identity, asynchronous=asynchronous)

    def _identity(self) -> str:
        try:
            with self.path.open(encoding="ascii") as file:
                word, _, log = file.readline().strip().partition(" ")
        except FileNotFoundError:
            word = log = ""
        if word != _THE_LOG:
            raise ConfigurationError(f"{self.path} is no log of decisions.", hint=_MAKE_IT)
        return log

    def decide_alone(self, unit: str, *, asynchronous: bool) -> None:
        """Decide that a unit is to be committed.

        :raises RolledBack: it was fenced.
        """
        _aside(self._say, unit, _COMMITTED, asynchronous=asynchronous)

    def fence(self, unit: str, until: float, *, asynchronous: bool) -> bool | None:
        """Whether a unit is to be committed; one that is not decided never will be."""
        return _aside(self._say, unit, _FENCED, asynchronous=asynchronous)

    def known(self, units: Collection[str], until: float, *, asynchronous: bool) -> dict[str, bool]:
        """Of those that are decided or fenced: whether they are to be committed."""
        wanted = set(units)
        found = _aside(self._lines, asynchronous=asynchronous)
        return {unit: said == _COMMITTED for said, unit in found if unit in wanted}

    def decided(self, until: float, *, asynchronous: bool) -> list[str]:
        """Every unit that is to be committed, or was."""
        found = _aside(self._lines, asynchronous=asynchronous)
        return [unit for said, unit in found if said == _COMMITTED]

    def forget(self, units: Collection[str], until: float, *, asynchronous: bool) -> None:
        """Leave out decisions that nobody will ask for, and fences that are old."""
        _aside(self._forget, set(units), asynchronous=asynchronous)

    def _forget(self, units: set[str]) -> None:
        with self._locked():
            kept = [
                f"{said} {unit}"
                for said, unit in self._lines()
                if unit not in units and not (said == _FENCED and age(unit) > KEPT)
            ]
            self._write_all([f"{_THE_LOG} {self._identity()}", *kept])

    def _say(self, unit: str, said: int) -> bool:
        with self._locked():
            # from the end: a unit that is being decided was begun a moment ago
            for known, other in reversed(self._lines()):
                if other == unit:
                    if said == _COMMITTED:
                        raise fenced_out(unit)
                    return known == _COMMITTED
            with self.path.open("r+b") as file:
                # what a crash has cut off was never acknowledged
                text = file.read()
                file.truncate(text.rfind(b"\n") + 1)
                file.seek(0, os.SEEK_END)
                file.write(f"{said} {unit}\n".encode())
                file.flush()
                os.fsync(file.fileno())
        return said == _COMMITTED

    def _lines(self) -> list[tuple[int, str]]:
        text = self.path.read_text(encoding="ascii")
        whole = text[: text.rfind("\n") + 1].splitlines()[1:]
        found = []
        for line in whole:
            said, _, unit = line.partition(" ")
            if said.isdigit() and len(unit) == len(new_token()):
                found.append((int(said), unit))
        return found

    def _write_all(self, lines: list[str]) -> None:
        new = self.path.with_name(self.path.name + ".new")
        with new.open("w", encoding="ascii") as file:
            file.write("".join(f"{line}\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        import fcntl

        with self.path.with_name(self.path.name + ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def fenced_out(unit: str) -> RolledBack:
    """The error for a decision that came too late."""
    return RolledBack(
        f"Nothing was committed: unit {unit} was taken for dead, and rolled back, by a recovery.",
        hint="Recover with a longer grace than the longest unit takes to commit.",
    )


def _aside(work: Callable[..., _T], *args: Any, asynchronous: bool) -> _T:
    """Do what waits for a disk; under asyncio in a thread."""
    if not asynchronous:
        return work(*args)
    done: _T = await_only(asyncio.to_thread(work, *args))
    return done


def _table(schema: str | None) -> Table:
    return Table(
        TABLE,
        MetaData(),
        Column("unit", String(32), primary_key=True),
        Column("decision", SmallInteger, nullable=False),
        Column("log", String(8)),
        schema=schema,
        mysql_engine="InnoDB",
        mariadb_engine="InnoDB",
    )
