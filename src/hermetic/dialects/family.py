"""What a database family is: the questions the machinery asks, with the answers of an unknown
one.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from sqlalchemy import URL

from ..options import DatabaseOptions, Isolation
from .wire import Wire


@dataclass(frozen=True, slots=True)
class Driver:
    """One way to reach a family: SQLAlchemy's name for it, its module, and the extra that brings
    it.
    """

    name: str
    module: str
    extra: str
    minimum: tuple[int, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class Begin:
    """What a transaction promises from its start.

    ``plain`` is no transaction at all: the driver's autocommit. ``apart`` is the same for a scope
    that only reads and promises nothing from one statement to the next.
    """

    isolation: Isolation | None = None
    readonly: bool = False
    plain: bool = False
    apart: bool = False


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What an engine is made with: the driver's arguments, and those of create_engine."""

    connect_args: Mapping[str, Any] = field(default_factory=dict)
    engine_args: Mapping[str, Any] = field(default_factory=dict)


class Family:
    """A database that hermetic knows nothing special of: SQLAlchemy's own behaviour throughout."""

    name: ClassVar[str] = "generic"
    schemes: ClassVar[tuple[str, ...]] = ()
    isolation_levels: ClassVar[frozenset[Isolation]] = frozenset(Isolation)
    default_isolation: ClassVar[Isolation] = Isolation.READ_COMMITTED
    sync_drivers: ClassVar[tuple[Driver, ...]] = ()
    async_drivers: ClassVar[tuple[Driver, ...]] = ()
    # whether read-only is enforced by connections that are read-only from birth
    has_readers: ClassVar[bool] = False
    # whether the driver is in autocommit always, and BEGIN is sent by hermetic
    sends_begin: ClassVar[bool] = False
    # whether one who holds the writer may read on a second connection, past the gate
    reads_beside: ClassVar[bool] = False
    # whether the database runs in this process: no server with limits of its own; ``breaker`` is an
    # interrupt that the connection survives; work whose caller is gone goes on in our own threads
    embedded: ClassVar[bool] = False
    # whether the same error may leave the transaction open or end it, and ``server_gave_up`` tells
    ends_unannounced: ClassVar[bool] = False
    # whether ``server_gave_up`` is nothing else than what a connection's ``probe`` denies
    told_by_probe: ClassVar[bool] = False

    def writer_limit(self, url: URL, options: DatabaseOptions) -> int:
        """How many connections may be out for writing at once."""
        return options.pool_size

    def shares_one_connection(self, url: URL) -> bool:
        """Whether readers and writers, of both worlds, have to take turns on this database."""
        return False

    def anchor(self, url: URL) -> Any:
        """What keeps a database in existence between two uses, until it is closed; or ``None``."""
        return None

    def engine_settings(
        self, url: URL, driver: str, options: DatabaseOptions, *, reader: bool, asynchronous: bool
    ) -> EngineSettings:
        """How to make an engine for this driver."""
        return EngineSettings()

    def reads_apart(self, options: DatabaseOptions) -> bool:
        """Whether reader connections are in autocommit, so that a read is one round trip."""
        return False

    def greet(
        self, dbapi: Any, driver: str, options: DatabaseOptions, *, reader: bool, until: float
    ) -> bool:
        """Set up a new connection, once.

        :param dbapi: what SQLAlchemy's ``connect`` event gives.
        :param until: monotonic seconds at which to give up waiting for others.
        :return: whether a BEGIN may be put off on it: until the first write its transactions
            promise a plain read no more than it would have without one.
        """
        return False

    def keep_from_writing(self, dbapi: Any) -> None:
        """Make a writer's connection one for reading, where ``reads_beside`` is true."""

    def connect_timeout(self, driver: str, connect_args: dict[str, Any], remaining: float) -> None:
        """Make the driver give up connecting after ``remaining`` seconds, if that is sooner."""

    def execution_options(self, begin: Begin) -> dict[str, Any]:
        """SQLAlchemy execution options that carry a transaction's promises on the client's side."""
        if begin.plain:
            return {"isolation_level": "AUTOCOMMIT"}
        if begin.isolation is not None:
            return {"isolation_level": begin.isolation.value}
        return {}

    def begin_statements(self, begin: Begin) -> tuple[str, ...]:
        """Statements to send where a transaction begins, where the driver sends none itself."""
        return ()

    def lean_begin(
        self, driver: str, options: DatabaseOptions, begin: Begin
    ) -> tuple[str, ...] | None:
        """What to send on the driver's connection to begin an ordinary transaction.

        :return: ``None`` where that takes more than statements, so that SQLAlchemy has to do it.
        """
        return None

    def commits_in_one_call(self, driver: str) -> bool:
        """Whether the driver's ``commit()`` is a single function of C, which runs no bytecode."""
        return False

    def wire(self, driver: str) -> Wire | None:
        """How a driver of asyncio is spoken to directly; ``None`` where SQLAlchemy has to."""
        return None

    def start(
        self,
        dbapi: Any,
        driver: str,
        begin: Begin,
        options: DatabaseOptions,
        deadline: float | None,
    ) -> None:
        """Begin a transaction, on a connection as SQLAlchemy's dialect is given it.

        :param deadline: monotonic seconds at which to stop waiting for a lock.
        """
        statements = self.begin_statements(begin)
        if not statements:
            return
        cursor = dbapi.cursor()
        try:
            for statement in statements:
                cursor.execute(statement)
        finally:
            cursor.close()

    def begin_late(self, dialect: Any, dbapi: Any, driver: str) -> None:
        """Begin a read-only transaction in the middle of a scope whose statements were apart.

        :param dbapi: the connection as SQLAlchemy's dialect is given it.
        """
        cursor = dbapi.cursor()
        try:
            cursor.execute("START TRANSACTION READ ONLY")
        finally:
            cursor.close()

    def needs_transaction(self, context: Any) -> bool:
        """Whether a statement cannot be executed apart.

        :param context: SQLAlchemy's execution context.
        """
        return False

    def send_ahead(self, cursor: Any, first: str) -> bool:
        """Have ``first`` sent together with the cursor's next statement.

        :return: whether it will be; where it will not, it has to be executed by itself.
        """
        return False

    def limit_apart(self, cursor: Any, statement: str, seconds: float) -> bool:
        """Have the server end the cursor's next statement, outside of any transaction, after
        ``seconds``, and leave nothing on the connection.

        :return: whether it will.
        """
        return False

    def limits_ahead(self, driver: str) -> bool:
        """Whether a limit travels with the statement that it is for."""
        return False

    def limit_statement(
        self, dialect: Any, statement: str, seconds: float, *, plain: bool
    ) -> tuple[str | None, str]:
        """Have the server end a statement after ``seconds``.

        :param plain: no transaction is open: what is sent first stays on the session.
        :return: a statement to send first, or ``None``, and the statement itself, maybe rewritten.
        """
        return None, statement

    def unlimit_statement(self, seconds: float | None) -> str | None:
        """A statement that puts the Database's own limit back, where one was set."""
        return None

    def commits_implicitly(self, statement: str) -> bool:
        """Whether the server would commit the open transaction before a statement.

        :param statement: its head, without leading comments.
        """
        return False

    def server_gave_up(self, dbapi: Any, driver: str, *, worked: bool) -> bool:
        """Whether the transaction that is open on our side is already lost on the server's.

        :param worked: whether a statement was sent in it.
        """
        return False

    def probe(self, dbapi: Any, driver: str) -> Callable[[], bool] | None:
        """What tells, without asking the server, whether a transaction is open on a connection."""
        return None

    def is_clean(self, dbapi: Any, driver: str) -> bool:
        """Whether the driver knows, without asking the server, that no transaction is open."""
        return False

    def breaker(self, dbapi: Any, driver: str) -> Callable[[], None] | None:
        """What ends a call that is under way on this connection, from any thread; quick, no
        waiting.

        It destroys the connection, unless the database knows a kinder way (SQLite's interrupt).
        """
        return None

    def terminates_waiting(self, driver: str) -> bool:
        """Whether the driver waits where it is to let a connection go at once, so that a
        cancellation could strike there: ``abandon`` is called instead.
        """
        return False

    def abandon(self, dbapi: Any, driver: str) -> None:
        """Let a connection go whose event loop does not run any more, without waiting."""
        end = self.breaker(dbapi, driver)
        if end is not None:
            end()


def break_socket(sock: Any) -> Callable[[], None] | None:
    """Shut a socket object down: whoever waits on it in the kernel or a loop is woken at once."""
    if sock is None:
        return None

    def shut() -> None:
        with contextlib.suppress(OSError):  # closed meanwhile: what was wanted
            sock.shutdown(socket.SHUT_RDWR)

    return shut


def drop_transport(transport: Any) -> None:
    """Close an asyncio transport whose loop is closed, and which can therefore not close itself."""
    sock = getattr(transport, "_sock", None)
    if sock is not None:
        sock.close()
        transport._sock = None  # it would complain at its collection


def break_descriptor(fileno: int) -> Callable[[], None]:
    """The same for a driver that tells only its file descriptor."""

    def shut() -> None:
        try:
            duplicate = socket.socket(fileno=os.dup(fileno))
        except OSError:
            return
        with contextlib.closing(duplicate), contextlib.suppress(OSError):
            duplicate.shutdown(socket.SHUT_RDWR)

    return shut
