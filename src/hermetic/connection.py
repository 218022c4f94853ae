"""What is known of a connection and of the transaction that is open on it."""

from __future__ import annotations

import itertools
import math
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine

from .clock import monotonic
from .dialects.family import Family
from .events import ConnectionInfo
from .faults import Fault
from .owner import Owner

if TYPE_CHECKING:
    from .registry import Scope
    from .remains import Remains

_connection_numbers = itertools.count(1)


class Transaction:
    """What is known of the transaction that is open on a connection.

    ``failure`` is the first error that the transaction cannot survive, ``depth`` how many
    savepoints surrounded it: rolling one of those back heals it, unless the server had given up
    the whole.
    """

    __slots__ = (
        "apart",
        "begun",
        "commit_sent",
        "committed",
        "depth",
        "entered",
        "failure",
        "fault",
        "gone",
        "in_hand",
        "late",
        "limit",
        "over",
        "plain",
        "put_off",
        "rolling_back",
        "savepoints",
        "statements",
        "unsure",
    )

    def __init__(self) -> None:
        self.savepoints: list[str] = []
        self.failure: BaseException | None = None
        self.fault: Fault | None = None
        self.depth = 0
        self.gone = False
        self.begun = False
        # autocommit: there is nothing to lose or to roll back
        self.plain = False
        # the same for a scope that reads; and a transaction that was begun in the middle of one
        self.apart = False
        self.late = False
        # seen open on the server; ended there by something that was not its scope
        self.entered = False
        # a COMMIT was sent, or a rollback succeeded
        self.over = False
        self.unsure = False
        self.statements = 0
        # seconds that the server was last told to give a statement
        self.limit: float | None = None
        self.rolling_back = False
        # its BEGIN waits for more than a plain read: all statements so far stood for themselves
        self.put_off = False
        # begun by a fast path, and not yet known to SQLAlchemy
        self.in_hand = False
        self.commit_sent = False
        self.committed = False

    def begin_now(self) -> None:
        """From here on it is one: the next statement begins it."""
        if self.put_off:
            self.put_off = False
            # the server has no transaction yet: what was read does not count as work in it
            self.statements = 0

    def fail(self, error: BaseException, fault: Fault | None, *, gone: bool) -> None:
        """A statement failed in a way that the transaction does not survive.

        The first one counts.
        """
        if self.failure is None:
            self.failure = error
            self.fault = fault
            self.depth = len(self.savepoints)
        self.gone = self.gone or gone

    def rolled_back_to(self, name: str) -> None:
        if name in self.savepoints:
            del self.savepoints[self.savepoints.index(name) :]
            if self.limit is not None:
                self.limit = -1.0  # the server's setting is that of before the savepoint again
            if not self.gone and self.depth > len(self.savepoints):
                self.failure = self.fault = None

    def released(self, name: str) -> None:
        if name in self.savepoints:
            del self.savepoints[self.savepoints.index(name) :]
            self.depth = min(self.depth, len(self.savepoints))


class ConnectionRecord:
    """One connection to a server, for as long as it lives. Kept in its pool record's ``info``."""

    __slots__ = (
        "abandon",
        "alarm",
        "at_rest",
        "backend",
        "beside",
        "born",
        "break_off",
        "cursor",
        "dirty",
        "engine",
        "exchanges",
        "expires",
        "family",
        "generation",
        "last_statement",
        "number",
        "owner",
        "pool_record",
        "probe",
        "puts_off",
        "ready",
        "remains",
        "retired",
        "returned",
        "role",
        "scope",
        "server",
        "transaction",
        "world",
    )

    def __init__(
        self,
        family: Family,
        server: str,
        role: str,
        world: str,
        engine: Engine,
        break_off: Callable[[], None] | None,
        abandon: Callable[[], None],
        probe: Callable[[], bool] | None,
    ) -> None:
        self.number = next(_connection_numbers)
        self.family = family
        self.server = server
        self.role = role
        self.world = world
        self.engine = engine
        self.break_off = break_off
        self.abandon = abandon
        # the server's number of it, where the driver tells
        self.backend: int | None = None
        # how what it is at is ended on the server, where that goes on without its client
        self.remains: Remains | None = None
        # how often it has waited for its server, where its driver can be seen to
        self.exchanges: Callable[[], int] | None = None
        # between two statements of a scope: nothing is being sent or awaited
        self.at_rest = False
        # whether the driver knows of an open transaction
        self.probe = probe
        self.born = monotonic()
        # by whose end the collector tells that the pool does not have it any more
        self.pool_record: weakref.ref[object] | None = None
        self.returned: float | None = None
        self.scope: Scope | None = None
        self.transaction: Transaction | None = None
        self.last_statement: str | None = None
        # who has it outside of any scope
        self.owner: Owner | None = None
        # a statement left something on it that a rollback does not undo
        self.dirty = False
        # lent past the gate to somebody who holds SQLite's one writer already: for reading
        self.beside = False
        self.alarm: Any = None
        # a cursor that the fast paths keep
        self.cursor: Any = None
        # whether a fast path may begin on it: a scope without a transaction may have set it up for
        # itself
        self.ready = True
        # whether a fast path may put its BEGIN off
        self.puts_off = False
        # of which generation of its server's connections it is; whether it is to be replaced, when
        # it comes back or before it is lent; and when it is too old
        self.generation = 0
        self.retired = False
        self.expires = math.inf

    def info(self, now: float) -> ConnectionInfo:
        scope = self.scope
        lent = self.returned is None
        owner = self.owner if scope is None else scope.owner
        transaction = self.transaction
        state = "idle" if not lent else "in transaction" if transaction else "lent"
        trace = None if scope is None else scope.trace
        open_for = None
        if lent and trace is not None and trace.began and transaction is not None:
            real = transaction.begun and not (transaction.plain or transaction.put_off)
            open_for = now - trace.began if real and not transaction.over else None
        return ConnectionInfo(
            number=self.number,
            server=self.server,
            role=self.role,
            world=self.world,
            state=state,
            age=now - self.born,
            holder=str(owner) if lent and owner is not None else None,
            scope=scope.number if lent and scope is not None else None,
            last_statement=self.last_statement,
            in_transaction_for=open_for,
        )
