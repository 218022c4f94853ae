"""What became of a COMMIT whose answer was lost: noted before it, asked after it.

By a token: the transaction inserts a row of its own. To ask, a row with the same token, a fence, is
inserted on a new connection. The unique index makes that wait for a transaction that is still under
way; a duplicate that is no fence says that it was committed; and a fence that went in keeps it from
ever being. To look for the row would not do: one that is not there may be about to be.

By its status: PostgreSQL says how a transaction of a given number ended.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    SmallInteger,
    String,
    Table,
    delete,
    func,
    insert,
    orm,
    select,
)
from sqlalchemy.util import await_only, greenlet_spawn

from .apart import ask
from .clock import monotonic
from .dialects.commits import LOCK_SECONDS
from .errors import (
    DatabaseClosed,
    InvalidOption,
    InvalidStatement,
    LockTimeout,
    Outcome,
    UniqueViolation,
)
from .events import CommitResolved, emit
from .fast.lean import failed, gave_up
from .fast.lean_async import failed_apart
from .proof import CommitProof, new_token
from .registry import Scope, describe_error

if TYPE_CHECKING:
    from .engine import Server

# seconds between two questions: from the first to the last of these
_FIRST_PAUSE, _LAST_PAUSE = 0.02, 0.25
# one question may take so long, on a server that does not answer
_ASK_SECONDS = LOCK_SECONDS + 0.5
_NO_TABLE = "the table of tokens is made by db.create_commit_table()"
# of the time for a cleanup after a cancellation, this part is for asking
_PART = 0.5
# seconds for which a token is there at least
KEPT = 86_400.0
# deleted in one transaction
_SOME = 1000
# digits of a token that are its time; and what the key of a mark begins with, where a time follows:
# everything from before that was swept
_TIME = 12
_MARK = "f" * _TIME


class Resolver:
    """Notes and asks, for one server. ``mode`` is ``"token"`` or ``"status"``."""

    def __init__(self, server: Server) -> None:
        options = server.options
        self.mode = options.resolve_commits
        self.server = server
        self.family = server.family
        self.commits = server.family.commits
        # whether it is known in which schema the table is
        self._placed = not self.commits.searches
        schema = None
        if self._placed:
            schema = self.commits.schema(None, options.commit_table, server.url.database)
        self.table = _table(options.commit_table, schema)
        # of connections in use, by their numbers: the lineage of their server
        self._lineages: dict[int, str] = {}
        self._compiled: dict[str, Any] = {}
        url = server.url
        host = "local" if url.host is None else f"{url.host}:{url.port}" if url.port else url.host
        self.address = f"{host}/{url.database}"

    # ------------------------------------------------------------ before a COMMIT

    def note(self, scope: Scope) -> None:
        """Note what a scope's COMMIT can be proved by, in its own transaction.

        Whatever it raises, the COMMIT was not sent.
        """
        if not self._has_written(scope):
            return
        if self.mode == "status":
            row = self._said(scope, self._question(scope), None)
            scope.proof = self._noted(scope, row)
            return
        self._place(asynchronous=scope.asynchronous)
        values = _row(new_token())
        try:
            self._said(scope, None, values)
        except InvalidStatement as refused:
            refused.add_note(_NO_TABLE)
            raise
        scope.proof = self._proof(scope, values)

    async def note_natively(self, scope: Scope) -> None:
        """``note``, for a connection in hand under asyncio: the driver itself is awaited."""
        if not self._has_written(scope):
            return
        side, connection = scope.side, scope.connection
        assert connection is not None
        adapter = scope.lent.dbapi_connection
        values = None if self.mode == "status" else _row(new_token())
        if values is None:
            sql, parameters = self._question(scope), ()
        else:
            if not self._placed:
                await greenlet_spawn(self._place, asynchronous=True)
            sql, parameters = self._spelled(side.dialect, values)
        cursor = side.wire.cursor(adapter)
        try:
            row, *_ = await side.wire.write(
                adapter, sql, parameters, None, side.dialect, cursor, values is None, False
            )
        except BaseException as error:
            connection.cursor = None
            if isinstance(error, Exception):
                error = side.wire.translated(adapter, error, side.dialect)
            try:
                await greenlet_spawn(failed_apart, scope.session, side, error, sql, parameters)
            except InvalidStatement as refused:
                refused.add_note(_NO_TABLE)
                raise
            raise
        if values is None:
            scope.proof = self._noted(scope, row)
        else:
            scope.proof = self._proof(scope, values)

    def _question(self, scope: Scope) -> str:
        connection = scope.connection
        known = connection is not None and connection.number in self._lineages
        return (self.commits.before if known else self.commits.before_first) or ""

    def _noted(self, scope: Scope, row: Any) -> CommitProof:
        number = 0 if scope.connection is None else scope.connection.number
        if len(row) > 4:
            connections = scope.registry.connections
            if len(self._lineages) > 2 * len(connections) + 100:
                self._lineages = {n: each for n, each in self._lineages.items() if n in connections}
            self._lineages[number] = row[4] or ""
        return self.commits.noted(row, self._lineages.get(number, ""), self.address)

    def _place(self, *, asynchronous: bool) -> None:
        """Find out where the table is: a scope may have a search path of its own."""
        if self._placed:
            return
        engine = self.server.engine_apart(asynchronous=asynchronous)
        with engine.connect() as connection:
            self._place_by(connection)

    def _place_by(self, connection: Connection) -> None:
        name = self.server.options.commit_table
        schema = self.commits.schema(connection, name, self.server.url.database)
        if schema is not None:
            self.table = _table(name, schema)
            self._compiled = {}
            self._placed = True

    def _has_written(self, scope: Scope) -> bool:
        """Whether there is something in a scope's transaction that a COMMIT could be lost of."""
        transaction = scope.transaction
        if transaction is None or transaction.plain or transaction.put_off:
            return False
        return transaction.statements > 0 and not scope.readonly

    def _proof(self, scope: Scope, values: dict[str, Any]) -> CommitProof:
        record = scope.connection
        backend = None if record is None else record.backend
        return CommitProof(server=self.address, token=values["token"], backend=backend)

    def _said(self, scope: Scope, question: str | None, values: dict[str, Any] | None) -> Any:
        """Send one statement in a scope's transaction: a question, or the row of a token.

        :return: the first row of the answer to a question.
        """
        if not scope.in_hand or _is_given_up(scope):
            connection = _connection(scope)
            if question is not None:
                return connection.exec_driver_sql(question).one()
            return connection.execute(insert(self.table).values(values or {}))
        dialect = scope.side.dialect
        if question is None:
            question, parameters = self._spelled(dialect, values or {})
        else:
            parameters = ()
        cursor = scope.lent.dbapi_connection.cursor()
        try:
            cursor.execute(question, parameters)
            return None if values else cursor.fetchone()
        except BaseException as error:
            failed(scope.session, scope.side, error, question, parameters, cursor)
            raise
        finally:
            cursor.close()

    def _spelled(self, dialect: Any, values: dict[str, Any]) -> tuple[str, Any]:
        """The row of a token as a driver takes it."""
        compiled = self._compiled.get(dialect.driver)
        if compiled is None:
            compiled = insert(self.table).compile(dialect=dialect)
            self._compiled[dialect.driver] = compiled
        if compiled.positional:
            return compiled.string, tuple(values[name] for name in compiled.positiontup or ())
        return compiled.string, values

    # ------------------------------------------------------------ after it

    def settle(self, scope: Scope, cleanup_timeout: float) -> tuple[Outcome, str]:
        """What became of a scope's COMMIT; and, where nobody knows, why."""
        proof = scope.proof
        assert proof is not None
        now = monotonic()
        until = now + self.server.options.resolve_timeout
        if scope.deadline is not None:
            until = min(until, scope.deadline)
        shorter = cleanup_timeout * _PART

        def left() -> float:
            nonlocal until, shorter
            if scope.cancelled:
                # from then on it has a part of what a cleanup has
                until, shorter = min(until, monotonic() + shorter), math.inf
            return until - monotonic()

        try:
            outcome, why = self._ask(proof, left, asynchronous=scope.asynchronous)
        except asyncio.CancelledError as over:
            # the end of the scope is broken off; its caller has the cancellation already
            outcome, why = Outcome.UNKNOWN, describe_error(over)
        registry = scope.registry
        if outcome is not Outcome.UNKNOWN:
            registry.counters["resolved"] += 1
        if registry.listeners:
            seconds = monotonic() - now
            emit(registry.listeners, CommitResolved(registry.name, scope.ref, outcome, seconds))
        return outcome, why

    def ask(self, proof: CommitProof, until: float, *, asynchronous: bool) -> tuple[Outcome, str]:
        """Ask until there is an answer, or the time is over.

        :param until: monotonic seconds.
        :return: ``UNKNOWN`` comes with the reason.
        """
        return self._ask(proof, lambda: until - monotonic(), asynchronous=asynchronous)

    def _ask(
        self, proof: CommitProof, left: Callable[[], float], *, asynchronous: bool
    ) -> tuple[Outcome, str]:
        if not proof.wrote:
            return Outcome.NOT_COMMITTED, ""
        why = "there was no time to ask"
        pause = _FIRST_PAUSE
        question = self._by_status if proof.token is None else self._by_token
        while (seconds := left()) > 0:
            try:
                committed = self._asked(question, proof, monotonic() + seconds, asynchronous)
            except LookupError as unable:
                return Outcome.UNKNOWN, str(unable)
            except DatabaseClosed as over:
                return Outcome.UNKNOWN, describe_error(over)
            except Exception as failed:
                committed, why = None, describe_error(failed)
            else:
                why = "the transaction is still under way"
            if committed is not None:
                return Outcome.COMMITTED if committed else Outcome.NOT_COMMITTED, ""
            self._wait(max(0.0, min(pause, left())), asynchronous)
            pause = min(2 * pause, _LAST_PAUSE)
        return Outcome.UNKNOWN, why

    def _asked(
        self,
        question: Callable[[Connection, CommitProof], bool | None],
        proof: CommitProof,
        until: float,
        asynchronous: bool,
    ) -> bool | None:
        engine = self.server.engine_apart(asynchronous=asynchronous)
        return ask(engine, lambda connection: question(connection, proof), until, _ASK_SECONDS)

    def _by_status(self, connection: Connection, proof: CommitProof) -> bool | None:
        return self.commits.status(connection, proof)

    def _by_token(self, connection: Connection, proof: CommitProof) -> bool | None:
        assert proof.token is not None
        if not self._placed:
            self._place_by(connection)
        self.commits.hurry(connection)
        try:
            connection.execute(insert(self.table).values(_row(proof.token, fence=1)))
        except UniqueViolation:
            connection.rollback()
            found = select(self.table.c.fence).where(self.table.c.token == proof.token)
            fence = connection.execute(found).scalar()
            if fence is None:
                raise LookupError("its token was deleted meanwhile") from None
            return not fence or self._never_was(connection, proof.token)
        except LockTimeout:
            # what it waits for may be a backend that has lost its client and does not know
            connection.rollback()
            self.commits.end_backend(connection, proof)
            return None
        connection.commit()
        return self._never_was(connection, proof.token)

    def _never_was(self, connection: Connection, token: str) -> bool:
        """``False``: a token that is not there never was.

        :raises LookupError: it may have been swept, by whatever clock. Looked at in a transaction
            that has begun after the fence was there.
        """
        connection.rollback()
        mark = connection.scalar(self._marks())
        if mark is not None and token[:_TIME] < mark[_TIME : 2 * _TIME]:
            raise LookupError("its token is so old that it may have been deleted")
        return False

    def _marks(self) -> Any:
        token = self.table.c.token
        return select(func.max(token)).where(token >= _MARK)

    def _wait(self, seconds: float, asynchronous: bool) -> None:
        if asynchronous:
            await_only(asyncio.sleep(seconds))
        else:
            time.sleep(seconds)

    # ------------------------------------------------------------ the table

    def create_table(self, *, asynchronous: bool) -> None:
        """Make the table of tokens, if it is not there."""
        engine = self.server.engine_apart(asynchronous=asynchronous)
        with engine.begin() as connection:
            self.table.create(connection, checkfirst=True)

    def sweep(self, older_than: float, *, asynchronous: bool) -> int:
        """Delete the tokens that nobody will ask for any more.

        :return: how many there were.
        """
        if older_than < KEPT:
            problem = f"must be at least {KEPT:g} seconds"
            raise InvalidOption("older_than", older_than, problem, place="sweep_commits()")
        engine = self.server.engine_apart(asynchronous=asynchronous)
        # tokens begin with their time, by the clocks of those who made them. Whatever they say: the
        # mark that is left tells which ones nobody can ask for any more
        boundary = f"{int((time.time() - older_than) * 1000):0{_TIME}x}"
        token = self.table.c.token
        old = token < boundary
        swept = 0
        while True:
            # a few at a time: what is being deleted keeps those who insert waiting
            with engine.begin() as connection:
                some = connection.scalars(select(token).where(old).limit(_SOME)).all()
                if not some:
                    return swept
                self._leave_mark(connection, boundary)
                connection.execute(delete(self.table).where(token.in_(some)))
                swept += len(some)

    def _leave_mark(self, connection: Connection, boundary: str) -> None:
        """In the transaction that deletes what is below it."""
        last = connection.scalar(self._marks())
        if last is None or last[_TIME : 2 * _TIME] < boundary:
            connection.execute(delete(self.table).where(self.table.c.token >= _MARK))
            mark = f"{_MARK}{boundary}".ljust(32, "0")
            connection.execute(insert(self.table).values(_row(mark, fence=2)))


def _connection(scope: Scope) -> Any:
    """The one that the transaction has: a session that was told of its commit gives none."""
    begun = scope.session._transaction
    if begun is not None and begun._connections:
        return next(iter(begun._connections.values()))[0]
    return orm.Session.connection(scope.session)


def _is_given_up(scope: Scope) -> bool:
    """Whether the transaction in hand is one no more: what is sent would begin another."""
    side, connection = scope.side, scope.connection
    assert connection is not None
    return gave_up(side, connection, scope.lent.dbapi_connection, True)


def _row(token: str, *, fence: int = 0) -> dict[str, Any]:
    return {"token": token, "fence": fence}


def _table(name: str, schema: str | None) -> Table:
    return Table(
        name,
        MetaData(),
        Column("token", String(32), primary_key=True),
        # an earlier question's, whose own answer may have been lost, is not the transaction's
        Column("fence", SmallInteger, nullable=False),
        schema=schema,
        mysql_engine="InnoDB",
        mariadb_engine="InnoDB",
    )
