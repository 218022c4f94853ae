"""The outbox of a Database: where scopes put messages, and relays find them."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, overload
from weakref import WeakSet

from sqlalchemy import MetaData, case, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from .. import Database
from ..errors import NoScope, ReadOnlyScope, ScopeControls, ScopeRefused
from ..proof import new_token
from . import tables
from .async_relay import AsyncRelay
from .clock import SECOND, database_now
from .message import (
    Message,
    checked_delay,
    checked_headers,
    checked_key,
    checked_payload,
    checked_topic,
)
from .own_scopes import scope_options
from .relay import Relay
from .writing import Draft

_DRAFT = "hermetic.outbox"


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is in an outbox.

    :param messages: to be sent, those that are in somebody's hands among them.
    :param parked: given up by their relays.
    :param oldest: how long the oldest that is to be sent has been there.
    """

    messages: int
    parked: int
    oldest: timedelta


class Outbox:
    """Messages that are committed with a scope's work, or not at all, and then sent.

    :param db: the Database whose scopes put messages.
    :param table: the table's name; a second one, ``<table>_keys``, has the numbers of the keys.
        Default ``"hermetic_outbox"``.
    :param schema: the tables' schema. Default ``None``: where the connection looks first.
    :param metadata: the MetaData that the tables become part of, for migrations. Default: one of
        their own.
    """

    def __init__(
        self,
        db: Database,
        *,
        table: str = "hermetic_outbox",
        schema: str | None = None,
        metadata: MetaData | None = None,
    ) -> None:
        self.db = db
        self.metadata = metadata if metadata is not None else MetaData()
        self.messages = tables.messages(table, self.metadata, schema)
        self.keys = tables.numbers(table, self.metadata, schema)
        self._relays: WeakSet[Relay | AsyncRelay] = WeakSet()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Outbox {self.messages.fullname} of {self.db.name!r}>"

    # ------------------------------------------------------------ the tables

    def create(self) -> None:
        """Make the tables, if they are not there."""
        with self.db.session(**self._options("create", propagation="not_supported")) as session:
            self._create(session)

    async def acreate(self) -> None:
        """As ``create``, under asyncio."""
        options = self._options("create", propagation="not_supported")
        async with self.db.session(**options) as session:
            await session.run_sync(self._create)

    def _options(self, what: str, **options: Any) -> dict[str, Any]:
        return scope_options(self.db, f"outbox: {what}", **options)

    def _create(self, session: Session) -> None:
        connection = session.connection()
        for table in (self.messages, self.keys):
            table.create(connection, checkfirst=True)

    # ------------------------------------------------------------ messages

    def put(
        self,
        session: Session | AsyncSession,
        topic: str,
        payload: Any = None,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        delay: float = 0.0,
    ) -> str:
        """Have a message sent once the scope has committed; not awaited, also under asyncio.

        It is written just before the COMMIT, together with the scope's other ones; rolled back
        with a savepoint, it is dropped. Those of one key are sent one after the other, in the order
        of the commits: two scopes with messages of the same key commit one after the other, and
        under REPEATABLE READ and SERIALIZABLE on PostgreSQL the second one conflicts, and is run
        again by its ``retry``.

        :param topic: what it is about, 1 to 200 characters.
        :param payload: anything that JSON can hold.
        :param key: what has to stay in order, 1 to 200 characters. Default ``None``: no order.
        :param headers: strings by strings, for whoever transports it.
        :param delay: seconds after the commit before which it is not sent; those of its key that
            follow wait for it. Default 0.
        :return: the message's token.
        :raises InvalidOption: a value is none.
        :raises NoScope: the session is in no scope.
        :raises ScopeRefused: its scope is another Database's.
        :raises ReadOnlyScope: its scope writes nothing.
        :raises ScopeControls: its scope has no transaction.
        """
        own = session.sync_session if isinstance(session, AsyncSession) else session
        token = new_token()
        row = {
            "token": token,
            "topic": checked_topic(topic),
            "key": checked_key(key),
            "sequence": None,
            "payload": checked_payload(payload),
            "headers": checked_headers(headers),
            "delay": int(checked_delay(delay) * SECOND),
        }
        self._check(own)
        draft = own.info.setdefault((_DRAFT, id(self)), None)
        if draft is None:
            draft = own.info[_DRAFT, id(self)] = Draft(self, own)
        draft.put(row)
        return token

    def _check(self, session: Session) -> None:
        scope = getattr(session, "scope", None)
        if scope is None:
            raise NoScope(
                "A message is committed with a scope, and this session is in none.",
                hint="Open one with db.session().",
            )
        scope.check_owner()
        if scope.registry is not self.db.registry:
            raise ScopeRefused(
                f"The outbox is in {self.db.name!r}, the scope in {scope.registry.name!r}.",
                scope=scope.ref,
                hint="Put the message in a scope of the outbox's Database.",
            )
        if scope.readonly:
            raise ReadOnlyScope(
                "A read-only scope puts no message.",
                subject=self.messages.fullname,
                scope=scope.ref,
                hint="Open it without readonly.",
            )
        if scope.entry == "plain":
            raise ScopeControls(
                "The scope has no transaction that a message could be part of.",
                scope=scope.ref,
                hint="Open it with propagation='required'.",
            )

    # ------------------------------------------------------------ relays

    @overload
    def relay(
        self, send: Callable[[Message], Awaitable[None]], /, **options: Any
    ) -> AsyncRelay: ...
    @overload
    def relay(self, send: Callable[[Message], None], /, **options: Any) -> Relay: ...
    def relay(self, send: Callable[[Message], Any], /, **options: Any) -> Relay | AsyncRelay:
        """Whoever sends the messages: for threads, or for asyncio where ``send`` is a coroutine
        function.

        There may be many, in many processes.

        :param send: sends one message, and returns when it is safe where it was sent; what it
            raises has the message sent again.
        :param options: those of :class:`Relay`.
        """
        is_async = inspect.iscoroutinefunction(send)
        if is_async or inspect.iscoroutinefunction(type(send).__call__):
            made: Relay | AsyncRelay = AsyncRelay(self, send, **options)
        else:
            made = Relay(self, send, **options)
        with self._lock:
            self._relays.add(made)
        return made

    def wake(self) -> None:
        """Have the relays of this process look at once."""
        with self._lock:
            relays = list(self._relays)
        for relay in relays:
            relay.wake()

    # ------------------------------------------------------------ what is there

    def waiting(self) -> Waiting:
        """What is to be sent at this moment."""
        with self.db.session(**self._options("waiting")) as session:
            return self._waiting(session)

    async def awaiting(self) -> Waiting:
        """As ``waiting``, under asyncio."""
        async with self.db.session(**self._options("waiting")) as session:
            return await session.run_sync(self._waiting)

    def unpark(self) -> int:
        """Have those sent again that were given up; how many there are.

        Others of their keys may have been sent meanwhile.
        """
        with self.db.session(**self._options("unpark")) as session:
            return self._unpark(session)

    async def aunpark(self) -> int:
        """As ``unpark``, under asyncio."""
        async with self.db.session(**self._options("unpark")) as session:
            return await session.run_sync(self._unpark)

    def _waiting(self, session: Session) -> Waiting:
        table = self.messages
        wanted = case((table.c.parked.is_(False), table.c.created))
        found = session.execute(
            select(
                func.count(wanted),
                func.count() - func.count(wanted),
                database_now() - func.min(wanted),
            ).select_from(table)
        ).one()
        messages, parked, oldest = found
        age = timedelta(microseconds=max(int(oldest or 0), 0))
        return Waiting(int(messages), int(parked), age)

    def _unpark(self, session: Session) -> int:
        table = self.messages
        again = (
            update(table)
            .where(table.c.parked.is_(True))
            .values(parked=False, attempts=0, due=database_now())
        )
        count: int = session.execute(again).rowcount  # type: ignore[attr-defined]
        session.on_commit(self.wake)  # type: ignore[attr-defined]
        return count
