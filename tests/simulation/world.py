"""What is done in a run: units of many tasks, cancelled and late by the seed; what must hold."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any, Final

from sqlalchemy import ForeignKey, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from hermetic import (
    CommitUnknown,
    Database,
    DeadlineExceeded,
    FaultError,
    Outcome,
    PoolTimeout,
    Retry,
    RolledBack,
)
from tests.fire.checkers.ledger import Ledger
from tests.fire.checkers.reads import check_bank
from tests.fire.checkers.violations import Violation

ACCOUNTS: Final = 5
TOTAL: Final = ACCOUNTS * 100
_TASKS: Final = 8
_UNITS: Final = 6
_PARTS: Final = 4


class Base(DeclarativeBase):
    pass


class Account(Base):
    __tablename__ = "accounts"
    id: Mapped[int] = mapped_column(primary_key=True)
    balance: Mapped[int]


class Mark(Base):
    __tablename__ = "marks"
    id: Mapped[int] = mapped_column(primary_key=True)
    token: Mapped[str]
    run: Mapped[int]
    part: Mapped[int]
    account: Mapped[int] = mapped_column(ForeignKey("accounts.id"))


class Boom(Exception):
    """What a unit raises of its own."""


_EXPECTED: Final = (Boom, FaultError, DeadlineExceeded, PoolTimeout, CommitUnknown, RolledBack)


class World:
    """One run on one file."""

    def __init__(self, seed: str, path: str) -> None:
        self.seed = seed
        self.chance = random.Random(f"{seed} world")
        self.db = Database(
            f"sqlite+aiosqlite:///{path}",
            reader_pool_size=2,
            pool_timeout=20.0,
            cleanup_timeout=2.0,
            resolve_commits=self.chance.choice(["token", None]),
            synchronous="off",
        )
        self.ledger = Ledger()
        self.violations: list[Violation] = []
        self.count: Counter[str] = Counter()
        self.numbers = 0
        # of everything that was done, by which two runs are compared
        self.digest = ""

    async def set_up(self) -> None:
        async with self.db.async_engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        if self.db.options.resolve_commits:
            await self.db.acreate_commit_table()
        async with self.db.session() as session:
            session.add_all([Account(id=n, balance=100) for n in range(1, ACCOUNTS + 1)])

    async def run(self) -> None:
        """Every task, until the last has done its units."""
        tasks = [asyncio.create_task(self._worker(n), name=f"worker {n}") for n in range(_TASKS)]
        await asyncio.gather(*tasks)

    # ------------------------------------------------------------ the units

    async def _worker(self, number: int) -> None:
        for _ in range(_UNITS):
            await asyncio.sleep(self.chance.expovariate(1 / 0.02))
            unit = self.chance.choice([self._transfer, self._transfer, self._nested, self._look])
            await self._maybe_cancelled(unit)

    async def _maybe_cancelled(self, unit: Any) -> None:
        task = asyncio.create_task(unit())
        asked: list[bool] = []
        if self.chance.random() < 0.25:
            # twice, now and then: the second must not be lost, nor doubled
            for _ in range(self.chance.choice([1, 1, 2])):
                asyncio.get_running_loop().call_later(
                    self.chance.expovariate(1 / 0.03), lambda: asked.append(task.cancel())
                )
        await asyncio.wait([task])
        if task.cancelled():
            self.count["cancelled"] += 1
            return
        error = task.exception()
        if any(asked):
            self.violations.append(Violation("swallowed cancellation", f"{error!r} instead"))
        if error is not None:
            self._expected(error)

    def _expected(self, error: BaseException) -> None:
        self.count[type(error).__name__] += 1
        if not isinstance(error, _EXPECTED):
            self.violations.append(Violation("strange error", repr(error)))

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if self.chance.random() < 0.4:
            options["retry"] = Retry(attempts=4)
        if self.chance.random() < 0.4:
            options["timeout"] = self.chance.uniform(0.05, 5.0)
        return options

    async def _transfer(self) -> None:
        await self._marked(self._move)

    async def _nested(self) -> None:
        await self._marked(self._move_in_parts)

    async def _marked(self, work: Any) -> None:
        """A unit whose every run leaves its marks, and whose outcome is noted as it was told."""
        self.numbers += 1
        token = f"unit {self.numbers}"
        options = self._options()
        runs, session = 0, None
        fails = self.chance.random() < 0.1
        self.ledger.intend(token)

        @self.db.session(**options)
        async def unit(given: Any) -> None:
            nonlocal runs, session
            runs, session = runs + 1, given
            await work(given, token, runs)
            if fails:
                raise Boom

        began = asyncio.get_running_loop().time()
        try:
            await unit()
        finally:
            took = asyncio.get_running_loop().time() - began
            self._noted(token, session, options)
            self._in_time(token, options, took)

    def _noted(self, token: str, session: Any, options: dict[str, Any]) -> None:
        outcome = Outcome.NOT_COMMITTED if session is None else session.outcome
        if outcome is None:
            self.violations.append(Violation("no outcome", token))
            return
        self.ledger.told(token, outcome)
        self.count[outcome.name] += 1
        task = asyncio.current_task()
        if (
            outcome is Outcome.UNKNOWN
            and self.db.options.resolve_commits
            and "timeout" not in options
            and not (task and task.cancelling())
        ):
            # every question met a fault of its own
            self.count["left unknown"] += 1

    def _in_time(self, token: str, options: dict[str, Any], took: float) -> None:
        limit = options.get("timeout")
        # a cleanup has a time of its own
        if limit is not None and took > limit + 2 * self.db.options.cleanup_timeout + 1.5:
            self.violations.append(Violation("late", f"{token}: {took:.2f} s of {limit:.2f} s"))

    async def _move(self, session: Any, token: str, run: int) -> None:
        source, target = self.chance.sample(range(1, ACCOUNTS + 1), 2)
        amount = self.chance.randint(1, 30)
        payer = await session.get(Account, source)
        payee = await session.get(Account, target)
        if payer.balance < amount:
            amount = 0
        for part in range(_PARTS):
            session.add(Mark(token=token, run=run, part=part, account=source))
        payer.balance -= amount
        if self.chance.random() < 0.5:
            await session.flush()
        payee.balance += amount

    async def _move_in_parts(self, session: Any, token: str, run: int) -> None:
        await self._move(session, token, run)
        for _ in range(2):
            try:
                async with self.db.session(propagation="nested") as inner:
                    # a mark that a rolled back savepoint must take with it
                    inner.add(Mark(token=token, run=run, part=99, account=1))
                    await inner.flush()
                    raise Boom
            except Boom:
                pass

    async def _look(self) -> None:
        readonly = self.chance.random() < 0.7
        async with self.db.session(
            readonly=readonly, timeout=self._options().get("timeout")
        ) as session:
            rows = await session.execute(select(Account.balance).order_by(Account.id))
            self.violations += check_bank([balance for (balance,) in rows], TOTAL)

    # ------------------------------------------------------------ the end

    async def check(self) -> None:
        """What is left, seen by a connection without faults."""
        await self._check_nothing_left()
        async with self.db.session(readonly=True) as session:
            balances = list(await session.scalars(select(Account.balance).order_by(Account.id)))
            marks = (await session.execute(select(Mark.token, Mark.run, Mark.part))).all()
            twice = select(func.count()).select_from(Mark).where(Mark.part == 99)
            if await session.scalar(twice):
                self.violations.append(Violation("savepoint", "what was rolled back is there"))
        self.violations += check_bank(balances, TOTAL)
        self.violations += self.ledger.check([(t, r, p) for t, r, p in marks], _PARTS)

    async def _check_nothing_left(self) -> None:
        """Connections that were lent are back, or gone, within the time of a cleanup."""
        for _ in range(100):
            snapshot = self.db.snapshot()
            left = [f"{pool.name}: {pool.lent}" for pool in snapshot.pools if pool.lent]
            left += [f"scope {scope.name}" for scope in snapshot.scopes]
            if not left:
                return
            await asyncio.sleep(0.3)
        self.violations.append(Violation("leak", ", ".join(left)))
