"""What goes wrong on purpose, in the middle of the others' work."""

from __future__ import annotations

import asyncio

from sqlalchemy import select

from banking.ledger import Incident
from banking.model import Account, Order
from banking.work import RETRY, Bank
from hermetic import AsyncSession, Session


class OnPurpose(Exception):
    """The failure of the unit that has to fail."""


class Incidents:
    """A unit that fails, tasks that are cancelled, and an object that outlives its session.

    The units are written as loops of attempts, because on the servers they too lose races.
    """

    def __init__(self, bank: Bank) -> None:
        self.bank = bank
        self.db = bank.db
        self.ledger = bank.ledger

    def richest(self) -> Account:
        """Whoever holds most. The object is used after its session was closed."""
        with self.db.session(readonly=True, name="richest") as session:
            account = session.scalars(select(Account).order_by(Account.balance.desc())).first()
            assert account is not None
            return account

    def _order(self, token: str) -> Order:
        """An order that is covered for certain: somebody always has the average or more."""
        source = self.richest()
        return Order(token, source.id, 1 if source.id != 1 else 2, 1)

    def in_a_thread(self) -> None:
        """Read an object after its scope, and let a unit fail."""
        account = self.richest()
        self.ledger.read_after = f"{account.holder} had {account.balance}"
        incident = Incident(self._order("failing"))
        session: Session | None = None
        try:
            for attempt in self.db.attempts(isolation="SERIALIZABLE", retry=RETRY, name="failing"):
                with attempt as session:
                    self.ledger.run_begins(incident.order)
                    self.bank.apply(session, incident.order, {})
                    raise OnPurpose("after its changes were sent")
        except OnPurpose as error:
            incident.error = f"{type(error).__name__}: {error}"
        incident.outcome = None if session is None else session.outcome
        self.ledger.failing = incident

    async def in_tasks(self) -> None:
        """Cancel one task between its changes and its end, and one while it commits."""
        await self._cancel("cancelled midway", at_commit=False)
        await self._cancel("cancelled at commit", at_commit=True)

    async def _cancel(self, token: str, *, at_commit: bool) -> None:
        loop = asyncio.get_running_loop()
        incident = Incident(await loop.run_in_executor(None, self._order, token))
        written = asyncio.Event()
        task = asyncio.create_task(self._victim(incident, written, at_commit), name=token)
        waiting = asyncio.create_task(written.wait())
        await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not at_commit:
            task.cancel()
        await asyncio.wait((task,))
        if task.cancelled():
            incident.error = "CancelledError"
        elif error := task.exception():
            incident.error = f"{type(error).__name__}: {error}"
        self.ledger.cancelled.append(incident)

    async def _victim(self, incident: Incident, written: asyncio.Event, at_commit: bool) -> None:
        session: AsyncSession | None = None
        me = asyncio.current_task()
        assert me is not None
        name = incident.order.token
        try:
            async for attempt in self.db.attempts(isolation="SERIALIZABLE", retry=RETRY, name=name):
                async with attempt as session:
                    self.ledger.run_begins(incident.order)
                    await session.run_sync(self.bank.apply, incident.order, {})
                    if at_commit:
                        session.before_commit(me.cancel)
                    else:
                        written.set()
                        await asyncio.Event().wait()
        finally:
            incident.outcome = None if session is None else session.outcome
