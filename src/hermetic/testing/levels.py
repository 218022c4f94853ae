"""The transactions of the code under test, as savepoints on a sandbox's one connection.

A scope's BEGIN becomes a savepoint, its COMMIT the savepoint's release, its ROLLBACK the way back
to it. Independent scopes that are open at the same time are levels of one stack: one inside
another, where their owner or their context says so; one after the other, where it does not.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ..clock import monotonic
from ..connection import ConnectionRecord, Transaction
from ..dialects.family import Begin
from ..errors import ReadOnlyScope
from ..execution import known
from ..owner import Owner
from ..place import Place, user_frame
from ..registry import Scope, describe_error
from .errors import OutsideSandbox, SandboxBusy, SandboxEnded, SandboxMixed

if TYPE_CHECKING:
    from .bay import Bay

# the savepoint right behind the sandbox's BEGIN: whoever has ended that has taken it along
BASE = "hermetic_sandbox"
_STATEMENT, _DUE = "hermetic_statement", "hermetic_due"


class Level:
    """One transaction of the code under test.

    ``mixed`` are the levels around it whose statements came while it was open, ``inner`` what was
    committed inside it. ``undone``: nothing of its own is left to be rolled back. ``abandoned``: it
    was torn from whoever had it, and is rolled back by the next one who comes.
    """

    __slots__ = (
        "abandoned",
        "begin",
        "deferred",
        "inner",
        "lifted",
        "mixed",
        "name",
        "number",
        "owner",
        "place",
        "points",
        "record",
        "scope",
        "transaction",
        "undone",
    )

    def __init__(self, record: ConnectionRecord, begin: Begin) -> None:
        self.record = record
        self.scope: Scope | None = record.scope
        self.transaction: Transaction | None = record.transaction
        self.begin = begin
        self.owner = Owner() if self.scope is None else self.scope.holder()
        self.place = Place(user_frame()) if self.scope is None else self.scope.place
        self.number = 0
        self.name = ""
        self.deferred = self.undone = self.lifted = self.abandoned = False
        self.mixed: list[Level] = []
        self.inner: list[str] = []
        # how many those were when a savepoint of its own was put up, by that one's name
        self.points: dict[str, int] = {}

    def __str__(self) -> str:
        if self.scope is not None:
            return str(self.scope.ref)
        return f"a connection of db.engine (used at {self.place})"

    @property
    def settings(self) -> tuple[str, ...]:
        return () if self.scope is None else self.scope.settings

    def fail(self, error: SandboxMixed, *, gone: bool) -> None:
        """Nothing of it can be committed any more."""
        if self.transaction is not None:
            self.transaction.fail(error, None, gone=gone)
        if gone and self.scope is not None:
            self.scope.boundary.doom(error)


class Levels:
    """The stack of one bay, for one sandbox after the other."""

    def __init__(self, bay: Bay, timeout: float) -> None:
        self.bay = bay
        self.timeout = timeout
        self.turn = bay.turn
        self.stack: list[Level] = []
        self.waiting: list[Any] = []
        self.sandbox = ""
        self.open = False
        # makes the error that says so
        self.ended: Callable[[], SandboxEnded] | None = None
        self.warnings: list[str] = []
        self._numbers = 0

    def start_anew(self, sandbox: str) -> None:
        """For another sandbox, whose transaction was begun."""
        self.stack, self.waiting, self.warnings = [], [], []
        self.sandbox, self.ended, self.open = sandbox, None, True
        self.turn.sandbox = sandbox

    def close(self) -> None:
        """Nothing more comes in."""
        self.open = False
        self.stack.clear()
        self._wake()

    # ------------------------------------------------------------ beginning

    def begin(self, dbapi: Any, begin: Begin, deadline: float | None) -> None:
        """Put a savepoint up, when nobody else's is in the way.

        :raises SandboxBusy: another thread's or task's scope did not end in time.
        :raises SandboxEnded: the sandbox's transaction is over.
        """
        record = known(dbapi)
        assert record is not None
        level = Level(record, begin)
        until = monotonic() + self.timeout
        until = until if deadline is None else min(until, deadline)
        while True:
            waker = None
            with self.turn:
                self.check()
                self._tidy(dbapi)
                if self._may_nest(level):
                    self._enter(dbapi, level)
                    return
                holder = self.stack[-1]
                waker = self.turn.waker()
                self.waiting.append(waker)
            left = until - monotonic()
            if left > 0.0:
                waker.wait(left)
            elif level.scope is not None and deadline is not None and deadline <= until:
                raise level.scope.deadline_exceeded("while it waited for its sandbox's connection")
            else:
                raise self._busy(level, holder)

    def _may_nest(self, level: Level) -> bool:
        if not self.stack:
            return True
        top = self.stack[-1]
        holder = top.owner if top.scope is None else top.scope.holder()
        if holder.is_current() or top.owner is level.owner:
            return True
        around = None if level.scope is None else level.scope.parent
        while around is not None:
            if around.root is top.scope:
                return True
            around = around.parent
        return False

    def _busy(self, level: Level, holder: Level) -> SandboxBusy:
        return SandboxBusy(
            f"The one connection of sandbox {self.sandbox!r} did not come free in "
            f"{self.timeout:g} s: {holder}, of {holder.owner}, has it.",
            sandbox=self.sandbox,
            scope=None if level.scope is None else level.scope.ref,
            hint="Scopes of several threads or tasks take turns in a sandbox. Where one waits for "
            "the other, start it with sandbox.let_in(), so that its scopes are inside.",
        )

    def _enter(self, dbapi: Any, level: Level) -> None:
        self._make_way(dbapi, level)
        self._numbers += 1
        level.number = self._numbers
        level.name = f"hermetic_{level.number}"
        self._send(dbapi, f"SAVEPOINT {level.name}")
        try:
            self._send_all(dbapi, self.bay.special.turned(readonly=level.begin.readonly))
            self._forget_settings(dbapi, level)
        except BaseException:
            self._send_all(dbapi, _back_to(level.name))
            raise
        self.stack.append(level)
        self._note_isolation(level)

    def _make_way(self, dbapi: Any, level: Level) -> None:
        """What is around the new savepoint must not keep it from its work."""
        if not self.stack:
            return
        top = self.stack[-1]
        lost = top.transaction is not None and top.transaction.failure is not None
        if self.bay.special.aborts and lost and not top.undone:
            # it is aborted, and can only be rolled back: now, or the server takes no savepoint
            self._send(dbapi, f"ROLLBACK TO SAVEPOINT {self._innermost(top)}")
            assert top.transaction is not None
            top.undone = not top.transaction.savepoints
        if self.bay.special.seals and not level.begin.readonly:
            self._lift(dbapi)

    def _lift(self, dbapi: Any) -> None:
        """Let a writer in where readers are around it: they have nothing to lose."""
        sealed = [each for each in self.stack if each.begin.readonly and not each.lifted]
        for number, each in enumerate(sealed):
            each.lifted = each.undone = True
            verb = "SAVEPOINT" if number else "ROLLBACK TO SAVEPOINT"
            self._send(dbapi, f"{verb} {each.name}")

    def _innermost(self, level: Level) -> str:
        points = [] if level.transaction is None else level.transaction.savepoints
        return self.point(level, points[-1]) if points else level.name

    def _forget_settings(self, dbapi: Any, level: Level) -> None:
        """What the transactions around it were told is theirs alone."""
        family, options = self.bay.special, self.bay.options
        if any(each.settings for each in self.stack) and not level.settings:
            self._send_all(dbapi, family.tenant_reset(options.tenants))
        limited = [t for each in self.stack if (t := each.transaction) and t.limit is not None]
        if limited:
            self._unlimit(dbapi)
        for transaction in limited:
            transaction.limit = -1.0  # they have to say it again

    def _unlimit(self, dbapi: Any) -> None:
        first = self.bay.family.unlimit_statement(self.bay.options.statement_timeout)
        if first is not None:
            self._send(dbapi, first)

    def _note_isolation(self, level: Level) -> None:
        wanted, has = level.begin.isolation, self.bay.isolation
        if wanted is not None and wanted.strength > has.strength:
            self.warn(
                f"{level} asked for {wanted.value} and runs at {has.value}, as all of its sandbox: "
                f"sandbox(…, isolation={wanted.value!r}) begins it so"
            )

    # ------------------------------------------------------------ ending

    def commit(self, dbapi: Any) -> None:
        """Release a level's savepoint, or have that done when those inside it have ended."""
        with self.turn:
            level = self.of(dbapi)
            if level is None:
                self.check()
                return
            if self.stack[-1] is not level:
                level.deferred = True
                return
            if level.begin.plain and self.ended is not None:
                self._drop(level)  # there is nothing to commit, and it was told already
                return
            try:
                self.check()
                if self.bay.deferrable and len(self.stack) == 1:
                    # where the transaction would end, what was put off is due
                    self._send(dbapi, f"SAVEPOINT {_DUE}")
                    self._send(dbapi, "SET CONSTRAINTS ALL IMMEDIATE")
                    # they are as they were again, and looked at again
                    self._send_all(dbapi, _back_to(_DUE))
                self._release(dbapi, level)
            except BaseException:
                self._undo(dbapi, level)
                raise

    def rollback(self, dbapi: Any) -> None:
        """Go back to a level's savepoint, if it has one still."""
        level = self.of(dbapi)
        if level is None:
            return
        if self.turn.is_mine():
            level.abandoned = True  # the collector has struck in the middle of something
            return
        with self.turn:
            if level in self.stack:
                self._strike_above(level)
                self._undo(dbapi, level)

    def abandon(self, record: ConnectionRecord | None) -> None:
        """A connection was torn from its borrower: nothing can be sent now."""
        for level in self.stack:
            if level.record is record and not level.deferred:
                level.abandoned = True

    def _tidy(self, dbapi: Any) -> None:
        for level in [each for each in self.stack if each.abandoned]:
            if level in self.stack:
                self._strike_above(level)
                self._undo(dbapi, level)

    def _undo(self, dbapi: Any, level: Level) -> None:
        keep = level.begin.plain or level.undone
        try:
            if self.ended is None:
                if not keep:
                    self._send(dbapi, f"ROLLBACK TO SAVEPOINT {level.name}")
                    self._tell_of_lost(level)
                self._release(dbapi, level)
        finally:
            self._drop(level)

    def _tell_of_lost(self, level: Level) -> None:
        for other in level.mixed:
            if other.deferred:
                self.warn(
                    f"{other} had committed while {level} was open inside it, which was rolled "
                    "back: what it wrote meanwhile is gone, and would have stayed outside of a "
                    "sandbox"
                )
            other.fail(
                SandboxMixed(
                    f"A statement of {other} was sent while {level} was open inside it, and was "
                    "rolled back together with that.",
                    sandbox=self.sandbox,
                    hint="They share one connection in a sandbox. Let the inner scope end before "
                    "the outer one writes.",
                ),
                gone=False,
            )
        self._warn_of_inner(level, level.inner, "which was rolled back")

    def _warn_of_inner(self, level: Level, inner: list[str], how: str) -> None:
        if inner:
            self.warn(
                f"{', '.join(inner)} had committed inside {level}, {how}: "
                "outside of a sandbox its rows would have stayed, in it they are gone as well"
            )

    def _release(self, dbapi: Any, level: Level) -> None:
        """End what is the innermost level, and those around it that wait for that."""
        self._send(dbapi, f"RELEASE SAVEPOINT {level.name}")
        self._drop(level)
        around = self.stack[-1] if self.stack else None
        readonly = around is not None and around.begin.readonly and not around.lifted
        self._send_all(dbapi, self.bay.special.returned(readonly=readonly))
        transaction = level.transaction
        if transaction is not None and transaction.limit is not None:
            self._unlimit(dbapi)
        told = () if around is None else around.settings
        if told != level.settings:
            reset = self.bay.special.tenant_reset(self.bay.options.tenants)
            self._send_all(dbapi, told or reset)
        if around is not None and around.deferred:
            self._release(dbapi, around)

    def _drop(self, level: Level) -> None:
        if level not in self.stack:
            return
        self.stack.remove(level)
        transaction = level.transaction
        wrote = transaction is not None and transaction.statements and not level.begin.readonly
        if self.stack and wrote and not level.undone and transaction and transaction.commit_sent:
            self.stack[-1].inner += [*level.inner, str(level)]
        self._wake()

    def _strike_above(self, level: Level) -> None:
        """A level goes back, and takes along what is open inside it."""
        for other in self.stack[self.stack.index(level) + 1 :]:
            level.inner += other.inner
            if other.deferred:
                level.inner.append(str(other))
            other.fail(
                SandboxMixed(
                    f"{level} was rolled back while {other} was open inside it, which is gone too.",
                    sandbox=self.sandbox,
                    hint="They share one connection in a sandbox, where the inner one ends first.",
                ),
                gone=True,
            )
            self.stack.remove(other)

    def _wake(self) -> None:
        waiting, self.waiting = self.waiting, []
        for waker in waiting:
            waker()

    # ------------------------------------------------------------ savepoints of the code under test

    def point(self, level: Level, name: str) -> str:
        """A savepoint's name, which no other level has: MariaDB would forget the earlier one."""
        return f"{name}_{level.number}"

    def put_up(self, level: Level, name: str) -> str:
        """The same for one that is put up now."""
        level.points[name] = len(level.inner)
        return self.point(level, name)

    def back_to(self, level: Level, name: str) -> None:
        """A level goes back to a savepoint of its own."""
        with self.turn:
            if level in self.stack:
                self._strike_above(level)
                first = level.points.get(name, 0)
                lost, level.inner = level.inner[first:], level.inner[:first]
                self._warn_of_inner(level, lost, "which went back to a savepoint before that")

    # ------------------------------------------------------------ statements

    def execute(self, dbapi: Any, statement: str, run: Callable[[], Any]) -> None:
        """Send a statement of the code under test.

        :param dbapi: the connection, as SQLAlchemy has it from its pool.
        """
        with self.turn:
            level = self.of(dbapi)
            record = known(dbapi)
            if record is not None:
                self._look(record, None)
            self.check()
            self._tidy(dbapi)
            if level is not None:
                self._note(level, statement)
            try:
                if level is not None and level.begin.plain and self.bay.special.aborts:
                    self._run_alone(dbapi, run)
                else:
                    run()
            finally:
                if record is not None:
                    self._look(record, statement)
            self.check()

    def _run_alone(self, dbapi: Any, run: Callable[[], Any]) -> None:
        """A statement without a transaction: if it fails, it takes nothing along."""
        self._send(dbapi, f"SAVEPOINT {_STATEMENT}")
        try:
            run()
        except BaseException:
            if self._is_there(dbapi):
                self._send_all(dbapi, _back_to(_STATEMENT))
            raise
        if self._is_there(dbapi):
            self._send(dbapi, f"RELEASE SAVEPOINT {_STATEMENT}")

    def _is_there(self, dbapi: Any) -> bool:
        record = known(dbapi)
        return record is None or record.probe is None or record.probe()

    def _note(self, level: Level, statement: str) -> None:
        family = self.bay.special
        enforced = family.seals and not level.lifted
        scope = level.scope if level.begin.readonly and not enforced else None
        if scope is not None and family.writes(statement):
            raise ReadOnlyScope(
                "A write in a read-only scope, which the database would refuse.",
                subject=statement.strip(),
                scope=scope.ref,
                hint="Open the scope without readonly=True.",
            )
        if self.stack[-1] is not level and not family.reads(statement):
            for above in self.stack[self.stack.index(level) + 1 :]:
                if level not in above.mixed:
                    above.mixed.append(level)

    def _look(self, record: ConnectionRecord, statement: str | None) -> None:
        """Whether the sandbox's transaction is open still, as far as the driver knows."""
        if self.ended is None and self.open and record.probe is not None and not record.probe():
            self.end_here(statement)

    def end_here(self, statement: str | None, error: BaseException | None = None) -> None:
        """Note that the sandbox's transaction is over, and where and by what that was seen."""
        at, why = str(Place(user_frame())), None if error is None else describe_error(error)
        self.ended = partial(SandboxEnded, self.sandbox, at=at, statement=statement, why=why)

    # ------------------------------------------------------------ all of them

    def check(self) -> None:
        """:raises SandboxEnded: the sandbox's transaction is over.
        :raises OutsideSandbox: the sandbox is.
        """
        if self.ended is not None:
            raise self.ended()
        if not self.open:
            raise OutsideSandbox(
                f"Sandbox {self.sandbox!r} has ended, and something of it sends statements still.",
                sandbox=self.sandbox,
                hint="Wait for what a test has started before it ends.",
            )

    def of(self, dbapi: Any) -> Level | None:
        """The level of a connection's transaction."""
        record = known(dbapi)
        return next(
            (each for each in self.stack if each.record is record and not each.deferred), None
        )

    def warn(self, what: str) -> None:
        """Keep a warning for the sandbox's end; nothing may raise in between."""
        if what not in self.warnings:
            self.warnings.append(what)

    def _send_all(self, dbapi: Any, statements: tuple[str, ...]) -> None:
        for statement in statements:
            self._send(dbapi, statement)

    def _send(self, dbapi: Any, statement: str) -> None:
        cursor = dbapi.cursor()
        try:
            cursor.execute(statement)
        finally:
            cursor.close()


def _back_to(name: str) -> tuple[str, str]:
    return f"ROLLBACK TO SAVEPOINT {name}", f"RELEASE SAVEPOINT {name}"
