"""Units of work, each of which leaves what a checker can look at."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from sqlalchemy import exc as sa_exc
from sqlalchemy import select

from hermetic import CommitUnknown, HermeticError, Outcome, Retry
from tests.fire.arena import ACCOUNTS, EACH, LISTS, Place, elements_of
from tests.fire.checkers.appends import Append, Read, Transaction
from tests.fire.checkers.ledger import PARTS
from tests.fire.checkers.reads import check_answer, check_bank
from tests.fire.checkers.violations import Violation
from tests.fire.record import Record
from tests.fire.tables import Account, Head, Tail
from tests.worlds import Attempts, Block

# Seconds for a unit, all attempts and pauses together.
TIMEOUT: Final = 3.0
_RETRY: Final = Retry(attempts=6, within=None, base=0.005, cap=0.2)

# So many appends go to a handful of lists, and then to the next.
_WINDOW: Final = 4
_APPENDS_IN_WINDOW: Final = 120

_APPEND: Final = {
    "sqlite": "UPDATE lists SET elements = elements || :e WHERE id = :k",
    "postgresql": "UPDATE lists SET elements = elements || :e WHERE id = :k",
    "mariadb": "UPDATE lists SET elements = concat(elements, :e) WHERE id = :k",
}
_LIST: Final = "SELECT elements FROM lists WHERE id = :k"
_NONCE: Final = "SELECT CAST(:nonce AS CHAR(60)) AS nonce"

_EXPECTED: Final = (HermeticError, sa_exc.DBAPIError)


class Interrupted(BaseException):
    """What the handler of a signal raises into the main thread."""


class Numbers:
    """Numbers for tokens and elements, and which lists are appended to at the moment."""

    def __init__(self) -> None:
        self._tokens = itertools.count(1)
        self._elements = itertools.count(1)

    def token(self) -> int:
        return next(self._tokens)

    def append(self, chance: random.Random) -> tuple[int, int]:
        element = next(self._elements)
        return self._key(element, chance), element

    def read(self, chance: random.Random, near: int) -> int:
        return self._key(near, chance)

    def _key(self, element: int, chance: random.Random) -> int:
        window = element // _APPENDS_IN_WINDOW
        return (window * _WINDOW + chance.randrange(_WINDOW)) % LISTS + 1


class Unit:
    """One unit of work: done once, perhaps by several attempts, and entered in the record."""

    def __init__(
        self,
        place: Place,
        numbers: Numbers,
        record: Record,
        chance: random.Random,
        level: str,
        *,
        asynchronous: bool,
    ) -> None:
        self.place = place
        self._family = place.store.family
        self._numbers = numbers
        self._record = record
        self._chance = chance
        self._asynchronous = asynchronous
        self.token = f"{place.name} {numbers.token()}"
        kinds = ("transfer", "append", "marks", "balances", "nonce", "lists")
        self.kind = chance.choices(kinds, (25, 30, 20, 10, 8, 7))[0]
        self._reads = self.kind in ("balances", "nonce", "lists")
        self._options: dict[str, Any] = {
            "retry": _RETRY,
            "timeout": TIMEOUT,
            "name": self.kind,
            "readonly": True if self._reads else None,
            "isolation": level if not self._reads or chance.random() < 0.7 else None,
        }
        if self.kind == "lists":
            self._options["isolation"] = level
        self.sessions: list[Any] = []
        self.transactions: list[Transaction] = []
        # whether the work is done, and the scope about to end
        self.ending = False
        self._near = 0
        self._begun = time.monotonic()

    # ------------------------------------------------------------ doing it

    async def run(self) -> None:
        if not self._reads:
            self._record.ledgers[self._family].intend(self.token)
        work: Callable[[Any], Awaitable[None]] = getattr(self, f"_{self.kind}")
        async for attempt in self._attempts():
            self.ending = False
            async with attempt as session:
                self.sessions.append(session)
                mine = Transaction(f"{self.token}/{len(self.sessions)}", begun=time.monotonic())
                self.transactions.append(mine)
                first = self._chance.random() < 0.5
                if first and not self._reads:
                    await self._mark(session)
                await work(session)
                if not first and not self._reads:
                    await self._mark(session)
                self.ending = True

    def _attempts(self) -> Any:
        loop = self.place.db.attempts(**self._options)
        return loop if self._asynchronous else Attempts(loop)

    def _nested(self) -> Any:
        unit = self.place.db.session(propagation="nested")
        return unit if self._asynchronous else Block(unit)

    async def _mark(self, session: Any) -> None:
        """All parts, by one flush or two, or inside a savepoint."""
        style = self._chance.randrange(3)
        if style == 0:
            async with self._nested() as inner:
                await self._write_parts(inner, flush=False)
        else:
            await self._write_parts(session, flush=style == 1)

    async def _write_parts(self, session: Any, *, flush: bool) -> None:
        run = len(self.sessions)
        head = Head(token=self.token, run=run, part=0)
        session.add(head)
        if flush:
            await session.flush()
        for part in range(1, PARTS):
            session.add(Tail(token=self.token, run=run, part=part, head=head))

    async def _marks(self, session: Any) -> None:
        """Nothing but the marks; now and then a savepoint whose work is taken back."""
        if self._chance.random() < 0.3:
            try:
                async with self._nested() as inner:
                    inner.add(Head(token=self.token, run=-len(self.sessions), part=0))
                    await inner.flush()
                    raise _TakenBack
            except _TakenBack:
                pass

    async def _transfer(self, session: Any) -> None:
        source, target = self._chance.sample(range(1, ACCOUNTS + 1), 2)
        amount = self._chance.randint(1, 20)
        if self._chance.random() < 0.5:
            lock = {"with_for_update": True}
            poorer = await session.get(Account, source, **lock)
            richer = await session.get(Account, target, **lock)
            if poorer.balance >= amount:
                poorer.balance -= amount
                richer.balance += amount
            return
        taken = await session.execute(
            "UPDATE accounts SET balance = balance - :n WHERE id = :a AND balance >= :n",
            {"n": amount, "a": source},
        )
        if taken.rowcount:
            await session.execute(
                "UPDATE accounts SET balance = balance + :n WHERE id = :a",
                {"n": amount, "a": target},
            )

    async def _append(self, session: Any) -> None:
        for _ in range(self._chance.randint(1, 4)):
            if self._chance.random() < 0.55:
                key, element = self._numbers.append(self._chance)
                self._near = element
                self.transactions[-1].operations.append(Append(key, element))
                changed = await session.execute(
                    _APPEND[self._family], {"e": f",{element}", "k": key}
                )
                if changed.rowcount != 1:
                    raise AssertionError(_told_of(session, changed, key))
            else:
                await self._read_list(session)

    async def _lists(self, session: Any) -> None:
        for _ in range(self._chance.randint(1, 3)):
            await self._read_list(session)

    async def _read_list(self, session: Any) -> None:
        if not self._near:
            self._near = self._numbers.append(self._chance)[1]
        key = self._numbers.read(self._chance, self._near)
        written = await session.scalar(_LIST, {"k": key})
        self.transactions[-1].operations.append(Read(key, tuple(elements_of(written))))

    async def _balances(self, session: Any) -> None:
        if self._chance.random() < 0.5:
            rows = await session.scalars(select(Account.balance))
        else:
            rows = await session.scalars("SELECT balance FROM accounts")
        self._record.violated(check_bank(rows.all(), ACCOUNTS * EACH))

    async def _nonce(self, session: Any) -> None:
        for number in range(self._chance.randint(1, 3)):
            asked = f"{self.token} {len(self.sessions)} {number}"
            answered = await session.scalar(_NONCE, {"nonce": asked})
            self._record.violated(check_answer(asked, str(answered).rstrip()))

    # ------------------------------------------------------------ what became of it

    @property
    def outcome(self) -> Outcome | None:
        """As hermetic tells; a unit that never had a session has sent nothing."""
        if not self.sessions:
            return Outcome.NOT_COMMITTED
        told: Outcome | None = self.sessions[-1].outcome
        return told

    def settle(self, error: BaseException | None, *, cancelled: bool = False) -> None:
        """Enter what the unit ended with.

        :param cancelled: whether somebody had asked for its cancellation.
        """
        now = time.monotonic()
        outcome = self.outcome
        self._record.violated(self._false_words(error, outcome, cancelled=cancelled))
        if not self._reads:
            self._record.ledgers[self._family].told(self.token, outcome or Outcome.UNKNOWN)
        if outcome is Outcome.UNKNOWN:
            self._leave_to_be_asked()
        for transaction, session in zip(self.transactions, self.sessions, strict=False):
            transaction.outcome = session.outcome
            transaction.ended = now
        if self.kind in ("append", "lists"):
            self._record.histories[self._family] += self.transactions
        if outcome is Outcome.COMMITTED:
            self._record.committed(self.place.name)
        self._record.ended(
            self.place.name,
            outcome.name if outcome else "NONE",
            type(error).__name__ if error is not None else "",
            len(self.sessions),
        )
        overrun = now - self._begun - TIMEOUT
        if overrun > 0:
            unit = f"{self.token}, {self.kind}, run {len(self.sessions)}: {error!r:.300}"
            self._record.overran(overrun, unit)
        self.sessions.clear()

    def _leave_to_be_asked(self) -> None:
        """Whatever the caller was given in place of the error: a cancellation has it in a note."""
        session = self.sessions[-1]
        proof = getattr(session, "sync_session", session)._scope.proof
        if proof is not None:
            self._record.not_known(self.token, self.place, proof)

    def _runs(self) -> str:
        outcomes = [session.outcome for session in self.sessions]
        return ", ".join(each.value if each else "none" for each in outcomes) or "no run"

    def _false_words(
        self, error: BaseException | None, outcome: Outcome | None, *, cancelled: bool
    ) -> list[Violation]:
        found = []
        for number, session in enumerate(self.sessions[:-1], 1):
            if session.outcome is not Outcome.NOT_COMMITTED:
                found.append(("run again", f"after run {number} was {session.outcome}"))
        if outcome is None:
            found.append(("no outcome", ""))
        if error is None and outcome is not Outcome.COMMITTED:
            found.append(("false success", f"nothing was raised, the outcome is {outcome}"))
        if cancelled and not isinstance(error, asyncio.CancelledError):
            found.append(("swallowed cancellation", _whence(error)))
        if isinstance(error, asyncio.CancelledError) and not cancelled:
            found.append(("cancellation of nobody's", ""))
        if isinstance(error, _EXPECTED):
            told = getattr(error, "outcome", None)
            if told is not None and told is not outcome:
                found.append(("false word", f"the error says {told}, the session {outcome}"))
            if isinstance(error, CommitUnknown) is not (outcome is Outcome.UNKNOWN):
                found.append(("false class", f"the outcome is {outcome}"))
        elif not isinstance(error, asyncio.CancelledError | Interrupted | None):
            found.append(("unexpected error", _whence(error)))
        return [
            Violation(kind, f"{self.token}, {self.kind}, {self._runs()}: {told}; {error!r:.500}")
            for kind, told in found
        ]


def _whence(error: BaseException | None, depth: int = 3) -> str:
    """The innermost frames of an error, and of what it came from."""
    if error is None:
        return ""
    frames = traceback.extract_tb(error.__traceback__)[-12:]
    told = " > ".join(f"{Path(each.filename).name}:{each.lineno} {each.name}" for each in frames)
    before = error.__cause__ or error.__context__
    if before is not None and depth:
        told += f"; after {before!r:.200}: {_whence(before, depth - 1)}"
    return told


def _told_of(session: Any, changed: Any, key: int) -> str:
    """What there is to say of an UPDATE that has not changed the one row of its key."""
    scope = session.sync_session._scope
    context = getattr(changed, "context", None)
    cursor = getattr(context, "cursor", None)
    results = [
        (each.status, each.command_status, each.error_message)
        for each in getattr(cursor, "_results", ())
    ]
    connection = scope.connection
    known = {name: getattr(connection, name, None) for name in type(connection).__slots__}
    return (
        f"{changed.rowcount} rows of list {key} were changed: {changed!r}, {cursor!r}, {results}, "
        f"statement {scope.statements}, {threading.current_thread().name}, {known}"
    )


class _TakenBack(Exception):
    """Rolls a savepoint back."""
