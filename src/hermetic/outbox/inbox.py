"""The receiver's side: which messages were dealt with."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, overload

from sqlalchemy import MetaData, bindparam, delete, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from .. import Database
from ..errors import InvalidOption, UniqueViolation
from ..fast.noting import Noting
from . import tables
from .clock import SECOND, database_now
from .message import LONGEST
from .own_scopes import scope_options

_DAYS = 7 * 86_400.0


class Inbox:
    """Remembers tokens in the transaction that does the work, so that it is done once.

    :param db: the Database in which the work is done.
    :param table: the table's name. Default ``"hermetic_inbox"``.
    :param schema: its schema. Default ``None``: where the connection looks first.
    :param metadata: the MetaData that it becomes part of, for migrations. Default: one of its own.
    """

    def __init__(
        self,
        db: Database,
        *,
        table: str = "hermetic_inbox",
        schema: str | None = None,
        metadata: MetaData | None = None,
    ) -> None:
        self.db = db
        self.metadata = metadata if metadata is not None else MetaData()
        self.received = tables.received(table, self.metadata, schema)
        note = insert(self.received).values(token=bindparam("token"), received=database_now())
        self._noting = Noting(note, "token")

    def __repr__(self) -> str:
        return f"<Inbox {self.received.fullname} of {self.db.name!r}>"

    def _options(self, what: str, **options: Any) -> dict[str, Any]:
        return scope_options(self.db, f"inbox: {what}", **options)

    def create(self) -> None:
        """Make the table, if it is not there."""
        with self.db.session(**self._options("create", propagation="not_supported")) as session:
            self.received.create(session.connection(), checkfirst=True)

    async def acreate(self) -> None:
        """As ``create``, under asyncio."""
        options = self._options("create", propagation="not_supported")
        async with self.db.session(**options) as session:
            await session.run_sync(
                lambda own: self.received.create(own.connection(), checkfirst=True)
            )

    @overload
    def first(
        self, session: AsyncSession, token: str, *, savepoint: bool = True
    ) -> Awaitable[bool]: ...
    @overload
    def first(self, session: Session, token: str, *, savepoint: bool = True) -> bool: ...
    def first(
        self, session: Session | AsyncSession, token: str, *, savepoint: bool = True
    ) -> bool | Awaitable[bool]:
        """Whether a message comes for the first time; with an AsyncSession it is awaited.

        The token is noted in the session's transaction: rolled back, the message comes for the
        first time again. While another transaction deals with it, that one's end is waited for.

        :param token: the message's.
        :param savepoint: whether the transaction can go on where it is not the first time. Without
            it is one round trip less, and nothing is left to do but to roll back.
        :raises InvalidOption: it is no token.
        """
        if not 0 < len(token) <= LONGEST or token != token.rstrip():
            # MariaDB and MySQL take strings for equal that differ in spaces at their ends alone
            problem = f"must have 1 to {LONGEST} characters, the last one no space"
            raise InvalidOption("token", ..., problem, place="inbox.first()")
        if not isinstance(session, AsyncSession):
            return (self._first if savepoint else self._noted)(session, token)
        if savepoint:
            return session.run_sync(self._first, token)
        return self._anoted(session, token)

    def _first(self, session: Session, token: str) -> bool:
        # what is pending may be refused for reasons of its own
        session.flush()
        try:
            with session.begin_nested():
                session.execute(self._noting.construct, {"token": token})
        except UniqueViolation:
            return False
        return True

    def _noted(self, session: Session, token: str) -> bool:
        session.flush()
        try:
            if not self._noting.sent(session, token):
                session.execute(self._noting.construct, {"token": token})
        except UniqueViolation:
            return False
        return True

    async def _anoted(self, session: AsyncSession, token: str) -> bool:
        await session.flush()
        try:
            if not await self._noting.asent(session.sync_session, token):
                await session.execute(self._noting.construct, {"token": token})
        except UniqueViolation:
            return False
        return True

    def sweep(self, older_than: float = _DAYS) -> int:
        """Forget tokens; call it now and then. A message that comes later is a new one.

        :param older_than: seconds. Default: a week.
        :return: how many there were.
        """
        with self.db.session(**self._options("sweep")) as session:
            return self._sweep(session, older_than)

    async def asweep(self, older_than: float = _DAYS) -> int:
        """As ``sweep``, under asyncio."""
        async with self.db.session(**self._options("sweep")) as session:
            return await session.run_sync(self._sweep, older_than)

    def _sweep(self, session: Session, older_than: float) -> int:
        oldest = database_now() - int(older_than * SECOND)
        old = delete(self.received).where(self.received.c.received < oldest)
        count: int = session.execute(old).rowcount  # type: ignore[attr-defined]
        return count
