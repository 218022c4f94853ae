"""The work: transfers by threads and by tasks, and auditors who look on."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Iterator

from sqlalchemy import select

from banking.ledger import Ledger
from banking.model import Account, Order, Token
from hermetic import AsyncSession, Database, Isolation, Retry, RetryRequested, Session

# many attempts with short pauses: whoever loses a race shall try again, and soon
RETRY = Retry(attempts=100, within=30.0, base=0.002, cap=0.05)

# how many accounts an auditor reads with one statement, and the seconds between two audits
_PAGE = 10
_PAUSE = 0.05

Versions = dict[int, int]


class NotCovered(Exception):
    """The source has not enough. Its unit is rolled back, and is not run again."""


class Orders:
    """Random orders for all workers to draw from, until there are enough or the time is over."""

    def __init__(self, accounts: int, count: int, seconds: float, seed: int) -> None:
        self._accounts = range(1, accounts + 1)
        self._numbers = iter(range(1, count + 1))
        self._until = time.monotonic() + seconds
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def stop(self) -> None:
        """Nobody gets another one."""
        self._until = 0.0

    def __iter__(self) -> Iterator[Order]:
        return self

    def __next__(self) -> Order:
        with self._lock:
            if time.monotonic() >= self._until:
                raise StopIteration
            number = next(self._numbers)
            source, target = self._random.sample(self._accounts, 2)
            return Order(f"t{number}", source, target, self._random.randint(1, 20))


class Bank:
    """The units of work. Each is written once, for the session of either world.

    On PostgreSQL and MariaDB a transfer reads its accounts in its own SERIALIZABLE transaction,
    and the server refuses it when another one was faster. A SQLite file has one writer at a time,
    so the server has nothing to refuse: there a transfer looks at its accounts in a read-only
    scope beside the queue, and asks for a retry itself when, come its turn, a version has changed.
    """

    def __init__(self, db: Database, ledger: Ledger) -> None:
        self.db = db
        self.ledger = ledger
        self.looks_first = db.family.name == "sqlite"
        self.reading = Isolation.SERIALIZABLE if self.looks_first else Isolation.REPEATABLE_READ
        unit = db.session(isolation="SERIALIZABLE", retry=RETRY, name="transfer")
        self.transfer = unit(self._transfer)
        self.atransfer = unit(self._atransfer)

    # ------------------------------------------------------------ a transfer

    def _transfer(self, session: Session, order: Order) -> None:
        self.ledger.run_begins(order)
        seen: Versions = {}
        if self.looks_first:
            beside = self.db.session(readonly=True, propagation="requires_new", name="look")
            with beside as reader:
                seen = self._look(reader, order)
        self.apply(session, order, seen)

    async def _atransfer(self, session: AsyncSession, order: Order) -> None:
        self.ledger.run_begins(order)
        seen: Versions = {}
        if self.looks_first:
            beside = self.db.session(readonly=True, propagation="requires_new", name="look")
            async with beside as reader:
                seen = await reader.run_sync(self._look, order)
        await session.run_sync(self.apply, order, seen)

    @staticmethod
    def _look(session: Session, order: Order) -> Versions:
        both = select(Account.id, Account.version).where(
            Account.id.in_((order.source, order.target))
        )
        return {row.id: row.version for row in session.execute(both)}

    @staticmethod
    def apply(session: Session, order: Order, seen: Versions) -> None:
        """Move the money, and leave the token."""
        source = session.get_one(Account, order.source)
        target = session.get_one(Account, order.target)
        for account in (source, target):
            if seen and seen[account.id] != account.version:
                raise RetryRequested(f"account {account.id} has changed")
        if source.balance < order.amount:
            raise NotCovered(order.token)
        source.balance -= order.amount
        target.balance += order.amount
        source.version += 1
        target.version += 1
        session.add(
            Token(token=order.token, source=order.source, target=order.target, amount=order.amount)
        )
        session.flush()

    # ------------------------------------------------------------ the workers

    def work(self, orders: Orders) -> None:
        """One thread's work."""
        for order in orders:
            try:
                self.transfer(order)
            except NotCovered:
                self.ledger.not_covered.append(order)
            except Exception as error:
                self.ledger.failed.append((order, error))
            else:
                self.ledger.applied.append(order)

    async def awork(self, orders: Orders) -> None:
        """One task's work."""
        for order in orders:
            try:
                await self.atransfer(order)
            except NotCovered:
                self.ledger.not_covered.append(order)
            except Exception as error:
                self.ledger.failed.append((order, error))
            else:
                self.ledger.applied.append(order)

    # ------------------------------------------------------------ the auditors

    def audit(self, over: threading.Event) -> None:
        """Sum all balances again and again, in pages, while they change."""
        while not over.wait(_PAUSE):
            try:
                with self.db.session(
                    readonly=True, isolation=self.reading, name="audit"
                ) as session:
                    self.ledger.audits.append(self._sum(session))
            except Exception as error:
                self.ledger.audit_errors.append(error)
                return

    async def aaudit(self, over: threading.Event) -> None:
        """As ``audit``."""
        while not over.is_set():
            try:
                async with self.db.session(
                    readonly=True, isolation=self.reading, name="audit"
                ) as session:
                    self.ledger.audits.append(await session.run_sync(self._sum))
            except Exception as error:
                self.ledger.audit_errors.append(error)
                return
            await asyncio.sleep(_PAUSE)

    @staticmethod
    def _sum(session: Session) -> int:
        """Several statements, so that only a transaction that sees one state gets it right."""
        total = last = 0
        while page := session.scalars(
            select(Account).where(Account.id > last).order_by(Account.id).limit(_PAGE)
        ).all():
            total += sum(account.balance for account in page)
            last = page[-1].id
        return total
