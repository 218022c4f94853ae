"""A unit of several databases that is prepared in each, decided in one place, and then committed.

1. Every part is prepared, in the declared order, but for the one in the database that has the log.
2. The decision is made: a row of that part's own transaction, and its COMMIT; or a line of a file.
3. Every prepared part is committed.

Before 2 is done the unit can only be rolled back, whoever dies; after it only committed, and what
its own process does not get done is done by ``recover``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from .apart import apart, pause
from .branch import Branch, Branches
from .clock import monotonic
from .connection import Transaction
from .decisions import FileLog, TableLog
from .dialects.two_phase import Name
from .errors import CommitUnknown, InvalidOption, Outcome, RolledBack
from .events import logger
from .outcome import outcome_of, own_words
from .proof import new_token
from .registry import describe_error
from .touched import announce
from .vote import Stage, Vote, vote_of

if TYPE_CHECKING:
    from .engine import Server

_Part = tuple[Branch, Connection, Any]
_NAME = re.compile(r"[A-Za-z0-9_+.-]{1,20}")
_KEY = re.compile(r"[A-Za-z0-9_]{1,60}")
# seconds between two tries to finish a part
_CREATE_SECONDS = 10.0
_FIRST_PAUSE, _LAST_PAUSE = 0.01, 0.25
# decisions are left out of the log together, so many at once
_MANY = 200


class Coordinator:
    """Prepares, decides and commits the units of one group.

    :param name: the group's.
    :param servers: its databases, in the declared order.
    :param cleanup_timeout: seconds for finishing a part whose connection was lost.
    """

    def __init__(
        self,
        name: str,
        servers: Mapping[str, Server],
        log: TableLog | FileLog,
        cleanup_timeout: float,
    ) -> None:
        self.name = name
        self.servers = servers
        self.log = log
        self.cleanup_timeout = cleanup_timeout
        self._identity: str | None = None
        self._checked: set[str] = set()
        # units that are committed everywhere: nobody will ask for their decisions
        self._over: list[str] = []
        self._check()

    def _check(self) -> None:
        place = f"Group {self.name!r}"
        if not _NAME.fullmatch(self.name):
            problem = "must be 1 to 20 ASCII letters, digits or _+.-, where two_phase is given"
            raise InvalidOption("name", self.name, problem, place=place)
        for key, server in self.servers.items():
            if not _KEY.fullmatch(key):
                problem = "must be 1 to 60 ASCII letters, digits or _"
                raise InvalidOption(key, key, problem, place=place)
            if key != self.log.key and server.family.two_phase is None:
                problem = f"needs databases that can prepare: {key!r}, {server.family.name}, cannot"
                hint = f"It can have the log: two_phase={key!r}." if self.log.key else ""
                raise InvalidOption("two_phase", ..., problem, place=place, hint=hint)
            if server.options.pooler is not None:
                problem = f"does not go through a pooler, as {key!r} does"
                raise InvalidOption("two_phase", ..., problem, place=place)

    def create(self, *, asynchronous: bool) -> None:
        """Make the log, if it is not there."""
        self.log.create(monotonic() + _CREATE_SECONDS, asynchronous=asynchronous)

    def reached(self, step: str, unit: str) -> None:
        """Told of every step, when it is done."""
        logger.debug("unit %s of group %s: %s", unit, self.name, step)

    def until(self) -> float:
        """Monotonic seconds by which something beside all scopes has to be done."""
        return monotonic() + self.cleanup_timeout

    def name_of(self, unit: str, key: str, *, asynchronous: bool) -> Name:
        """What a part is called."""
        if self._identity is None:
            self._identity = self.log.identity(self.until(), asynchronous=asynchronous)
        return Name(self.name, self._identity, unit, key)

    # ------------------------------------------------------------ parts

    def vote(self, branches: Branches, key: str, driver: str) -> Vote | None:
        """What a new branch prepares by; ``None`` where it prepares nothing."""
        scope = branches.scope
        if key == self.log.key or scope.readonly or scope.entry == "plain":
            return None
        if branches.unit is None:
            branches.unit = new_token()
        two_phase = self.servers[key].family.two_phase
        assert two_phase is not None
        name = self.name_of(branches.unit, key, asynchronous=scope.asynchronous)
        return Vote(two_phase, driver, name)

    def check(self, key: str, connection: Connection) -> None:
        """Ask a server, once, whether it is able to.

        :raises InvalidOption: it is not.
        """
        two_phase = self.servers[key].family.two_phase
        if key in self._checked or key == self.log.key or two_phase is None:
            return
        problem = two_phase.problem(connection)
        if problem is not None:
            place = f"Group {self.name!r}, database {key!r}"
            raise InvalidOption("two_phase", ..., problem, place=place)
        self._checked.add(key)

    # ------------------------------------------------------------ the end

    def commit(
        self, branches: Branches, held: dict[Any, Any], connect: Callable[[str], Connection]
    ) -> bool:
        """Commit a unit as a whole.

        :param connect: takes the connection of a database into the scope's transaction.
        :return: ``False``: one database has all of it, and there is nothing to be decided.
        :raises BaseException: it is not committed, anywhere.
        :raises CommitUnknown: nobody was able to tell. What is prepared is left to ``recover``.
        """
        voters = [part for part in branches.parts(held) if _has_voted(part)]
        others = [part for part in branches.parts(held) if not _has_voted(part)]
        worked = [part for part in (*voters, *others) if part[0].statements]
        if not voters or len(worked) < 2:
            return False
        unit = branches.unit
        assert unit is not None
        record = branches.scope.transaction = Transaction()
        if self.log.key is not None:
            connect(self.log.key)
        for part in voters:
            self._prepare(part, unit)
        struck = self._decide(branches, held, voters, unit)
        record.commit_sent = record.committed = record.over = True
        struck = self._commit_parts(voters, unit) or struck
        for branch, _, transaction in branches.parts(held):
            if branch.outcome is None:
                _end_idle(branch, transaction)
        branches.let_go(held)
        self._tidy(asynchronous=branches.scope.asynchronous)
        if struck is not None:
            raise struck
        return True

    def _tidy(self, *, asynchronous: bool) -> None:
        """Delete decisions that are over, now and then, in a transaction of its own: what is not
        there any more is a gap, and MariaDB locks those.
        """
        if len(self._over) < _MANY:
            return
        over, self._over = self._over, []
        try:
            self.log.forget(over, self.until(), asynchronous=asynchronous)
        except Exception as failed:
            logger.warning(
                "%d decisions of group %s are left to group.recover(): %s",
                len(over), self.name, describe_error(failed),
            )  # fmt: skip

    def _prepare(self, part: _Part, unit: str) -> None:
        branch, connection, _ = part
        vote = vote_of(branch)
        assert vote is not None
        # while it can be refused; what is decided has to be committed, whoever is told of it
        announce(connection)
        self.reached(f"preparing {branch.key}", unit)
        try:
            vote.prepare(connection.connection)
        except BaseException as struck:
            connection._handle_dbapi_exception(struck, None, None, None, None)
        self.reached(f"prepared {branch.key}", unit)

    def _decide(
        self, branches: Branches, held: dict[Any, Any], voters: list[_Part], unit: str
    ) -> BaseException | None:
        """Make the decision durable.

        :return: an interrupt that came when it was.
        """
        self.reached("deciding", unit)
        if branches.scope.boundary.outcome is not None:
            # it was left behind, as one that is not committed, when its time was over
            raise asyncio.CancelledError
        if isinstance(self.log, FileLog):
            self._decide_in_file(branches, voters, unit)
            self.reached("decided", unit)
            return None
        (part,) = [each for each in branches.parts(held) if each[0].key == self.log.key]
        branch, connection, transaction = part
        self.log.decide(connection, unit)
        self.reached("wrote the decision", unit)
        record = branches.scope.transaction
        assert record is not None
        record.commit_sent = True
        try:
            transaction.commit()
        except BaseException as struck:
            return self._undecided(branches, branch, voters, own_words(branch, struck))
        branch.settle(Outcome.COMMITTED)
        self.reached("decided", unit)
        return None

    def _undecided(
        self, branches: Branches, branch: Branch, voters: list[_Part], failed: BaseException
    ) -> BaseException | None:
        """What became of a decision whose COMMIT raised: the log is asked, and fenced."""
        outcome, why = outcome_of(branch, failed), describe_error(failed)
        interrupt = None if isinstance(failed, Exception) else failed
        unit, record = branches.unit, branches.scope.transaction
        assert unit is not None
        assert record is not None
        if outcome is Outcome.UNKNOWN:
            if branch.connection is not None and branch.connection.break_off is not None:
                branch.connection.break_off()
            outcome, asked = self._asked(unit, asynchronous=branches.scope.asynchronous)
            why = asked or why
        branch.settle(outcome)
        if outcome is Outcome.COMMITTED:
            return interrupt
        if outcome is Outcome.NOT_COMMITTED:
            record.commit_sent = False
            raise failed
        raise self._in_doubt(branches, voters, why, failed)

    def _asked(self, unit: str, *, asynchronous: bool) -> tuple[Outcome, str]:
        """Ask the log of a unit, and fence that where it is not decided."""
        until, wait, why = self.until(), _FIRST_PAUSE, ""
        while monotonic() < until:
            try:
                decided = self.log.fence(unit, until, asynchronous=asynchronous)
            except Exception as failed:
                decided, why = None, describe_error(failed)
            if decided is not None:
                return (Outcome.COMMITTED if decided else Outcome.NOT_COMMITTED), ""
            pause(wait, asynchronous=asynchronous)
            wait = min(2 * wait, _LAST_PAUSE)
        return Outcome.UNKNOWN, why or "the decision is still being made"

    def _decide_in_file(self, branches: Branches, voters: list[_Part], unit: str) -> None:
        assert isinstance(self.log, FileLog)
        record = branches.scope.transaction
        assert record is not None
        record.commit_sent = True
        try:
            self.log.decide_alone(unit, asynchronous=branches.scope.asynchronous)
        except OSError as failed:
            # it may be on the disk, or come there
            raise self._in_doubt(branches, voters, describe_error(failed), failed) from failed
        except RolledBack:
            record.commit_sent = False
            raise

    def _in_doubt(
        self, branches: Branches, voters: list[_Part], why: str, cause: BaseException
    ) -> BaseException:
        for branch, _, _ in voters:
            vote = vote_of(branch)
            assert vote is not None
            vote.left = True
        said = (
            f"It is not known whether unit {branches.unit} was decided: {why}. It is prepared in "
            f"{', '.join(branch.key for branch, _, _ in voters)}, and stays so."
        )
        if not isinstance(cause, Exception):
            cause.add_note(said)
            return cause
        error = CommitUnknown(
            said,
            scope=branches.scope.ref,
            hint="group.recover() commits it everywhere, or rolls it back everywhere.",
        )
        error.__cause__ = cause
        return error

    def _commit_parts(self, voters: list[_Part], unit: str) -> BaseException | None:
        """Commit what is prepared. Whatever happens, the unit is committed.

        :return: an interrupt that came meanwhile.
        """
        struck: BaseException | None = None
        done = True
        for branch, _, transaction in voters:
            vote = vote_of(branch)
            assert vote is not None
            branch.settle(Outcome.COMMITTED)
            try:
                transaction.commit()
            except BaseException as failed:
                struck = struck or (None if isinstance(failed, Exception) else failed)
                logger.info("%s: %s", vote.name, describe_error(failed))
                done = self.finish(branch, vote, commit=True) and done
            self.reached(f"committed {branch.key}", unit)
        if done:
            self._over.append(unit)
        return struck

    def finish(self, branch: Branch, vote: Vote, *, commit: bool) -> bool:
        """End a part whose connection was lost, on another one.

        :return: whether it is ended; otherwise it is left to ``recover``.
        """
        connection = branch.connection
        if connection is not None and connection.scope is branch and connection.break_off:
            connection.break_off()  # its server keeps it for as long as its session is there
            connection.dirty = True
        until, wait, why = self.until(), _FIRST_PAUSE, "there was no time"
        asynchronous = branch.root.asynchronous
        while monotonic() < until:
            try:
                server = self.servers[branch.key]
                with apart(server, until, asynchronous=asynchronous, autocommit=True) as other:
                    left = vote.finish(other, commit=commit)
            except Exception as failed:
                left = describe_error(failed)
            if left is None:
                vote.stage = Stage.OVER
                return True
            why = left
            pause(wait, asynchronous=asynchronous)
            wait = min(2 * wait, _LAST_PAUSE)
        logger.warning(
            "%s stays prepared, and is left to group.recover(), which will %s it: %s",
            vote.name,
            "commit" if commit else "roll back",
            why,
        )
        return False


def _has_voted(part: _Part) -> bool:
    branch = part[0]
    vote = vote_of(branch)
    return vote is not None and vote.stage is Stage.ACTIVE and branch.statements > 0


def _end_idle(branch: Branch, transaction: Any) -> None:
    """A database that was asked nothing."""
    try:
        transaction.commit()
    except Exception as failed:
        logger.warning("%s, after a commit: %s", branch.ref, describe_error(failed))
    branch.settle(Outcome.COMMITTED)
