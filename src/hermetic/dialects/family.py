"""What a database family is: the questions the machinery asks, with the answers of an unknown
one.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from sqlalchemy import URL

from ..errors import InvalidOption
from ..options import DatabaseOptions, Isolation
from ..tenancy import RowSecurity, SchemaPerTenant, Tenants
from .commits import Commits
from .positions import Positions, Sight
from .residue import hides, leaves
from .two_phase import TwoPhase
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
    # whether tenants can be kept apart inside one database, by settings of a transaction
    has_tenants: ClassVar[bool] = False
    # functions of the server that leave nothing on a connection; empty where they are not known
    functions: ClassVar[frozenset[str]] = frozenset()
    # whether code in the server may commit the transaction that runs it
    code_commits: ClassVar[bool] = False
    # whether ``greet`` tells the cache of reads at which level a new connection's transactions are
    tells_level: ClassVar[bool] = False
    # whether ``server_gave_up`` is nothing else than what a connection's ``probe`` denies
    told_by_probe: ClassVar[bool] = False
    # whether other statements may be sent while rows are fetched as they are needed
    reads_while_streaming: ClassVar[bool] = True
    # what is known of a transaction whose COMMIT was not answered
    commits: ClassVar[Commits] = Commits()
    # how its transactions are prepared; ``None`` where they cannot be
    two_phase: ClassVar[TwoPhase | None] = None
    # how far its servers say that they have come
    positions: ClassVar[Positions] = Positions()

    def takes_comment(self, *, many: bool) -> bool:
        """Whether a comment may be put at the end of a statement, one for many rows included, and
        somebody can see it there.
        """
        return not self.embedded

    def has_several_hosts(self, url: URL, options: DatabaseOptions) -> bool:
        """Whether a URL names several hosts, of which one at a time takes writes."""
        return False

    def replicas_serve(self, isolation: Isolation | None) -> bool:
        """Whether a replica can give a read-only scope this level."""
        return True

    def sight(self, dbapi: Any, dialect: Any) -> Sight:
        """Ask a server how far it has come, with no transaction open, and begin none.

        :param dbapi: the connection as SQLAlchemy's dialect is given it.
        """
        cursor = dbapi.cursor()
        try:
            cursor.execute(self.positions.question(dialect))
            return self.positions.sight(cursor.fetchone())
        finally:
            cursor.close()

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

    def check(self, url: URL, options: DatabaseOptions) -> None:
        """Refuse options that this database cannot have."""
        self.check_pooler(url, options)
        if isinstance(options.tenants, (SchemaPerTenant, RowSecurity)) and not self.has_tenants:
            problem = f"is nothing that {url.get_backend_name()} has in this form"
            hint = "DatabasePerTenant works everywhere."
            raise InvalidOption("tenants", ..., problem, place="Database()", hint=hint)
        if options.tls is not None and not (self.embedded and options.tls == "off"):
            problem = f"is nothing that hermetic can do for {url.get_backend_name()}"
            hint = "Tell the driver by connect_args."
            raise InvalidOption("tls", ..., problem, place="Database()", hint=hint)

    def check_pooler(self, url: URL, options: DatabaseOptions) -> None:
        """Refuse a pooler where nothing is known of how to live with it."""
        if options.pooler is not None:
            problem = f"is nothing that hermetic knows of with {url.get_backend_name()}"
            raise InvalidOption("pooler", options.pooler, problem, place="Database()")

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

    def leaves(self, statement: str) -> bool:
        """Whether a statement's text says that it leaves something on its connection."""
        return leaves(statement)

    def hides(self, statement: str) -> bool:
        """Whether a statement runs code that may leave something, and whose text is elsewhere."""
        return bool(self.functions) and hides(statement, self.functions)

    def restore(
        self,
        dbapi: Any,
        driver: str,
        options: DatabaseOptions,
        wait: Callable[[Any], Any],
        *,
        reader: bool,
        until: float,
    ) -> bool:
        """Set a connection back to what it was when ``greet`` was done with it.

        :param dbapi: the connection as SQLAlchemy's dialect is given it, with no transaction open.
        :param wait: gives the result of a driver's awaitable.
        :return: ``False`` where that is not sure: it has to be closed.
        """
        return False

    def keep_from_writing(self, dbapi: Any) -> None:
        """Make a writer's connection one for reading, where ``reads_beside`` is true."""

    def connect_timeout(
        self, driver: str, connect_args: dict[str, Any], remaining: float | None
    ) -> None:
        """Make the driver give up connecting after ``remaining`` seconds, if that is sooner.

        :param remaining: ``None``: nobody is waiting who has no more time than the driver gives.
        """

    def connect(
        self, connect: Callable[..., Any], driver: str, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """Make a connection, by SQLAlchemy's own way, ``connect``, or a better one."""
        return connect(*args, **kwargs)

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

    def tenant_settings(self, tenants: Tenants, tenant: str) -> tuple[str, ...]:
        """What a transaction is told of whose rows it sees, and forgets at its end.

        :param tenant: a name that ``tenants`` has checked.
        """
        return ()

    def changes_tenant(self, statement: str, tenants: Tenants) -> bool:
        """Whether a statement would tell the transaction otherwise.

        :param statement: its head, without leading comments.
        """
        return False

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

    def exchanges(self, dbapi: Any, driver: str) -> Callable[[], int] | None:
        """What tells how often a connection, greeted, has waited for its server; ``None`` where
        nobody counts that.
        """
        return None

    def is_clean(self, dbapi: Any, driver: str) -> bool:
        """Whether the driver knows, without asking the server, that no transaction is open."""
        return False

    def ping(
        self, ping: Callable[[Any], bool], dbapi: Any, driver: str, wait: Callable[[Any], Any]
    ) -> bool:
        """Ask the server for a sign of life, where nothing is begun.

        :param ping: the dialect's own way.
        :param wait: waits for what a driver of asyncio has to be awaited for.
        """
        return ping(dbapi)

    def is_out_of_step(self, dbapi: Any, driver: str) -> bool:
        """Whether a driver was struck where it took no care, so that nobody may use it again."""
        return False

    def end_reads(self, dbapi: Any, driver: str, kept: Any) -> None:
        """Let go of results that a borrower has not read to their ends, where they would keep
        something of its transaction.

        :param kept: a cursor that stays.
        """

    def breaker(self, dbapi: Any, driver: str) -> Callable[[], None] | None:
        """What ends a call that is under way on this connection, from any thread; quick, no
        waiting.

        It destroys the connection, unless the database knows a kinder way (SQLite's interrupt).
        """
        return None

    def seen_as(self, dbapi: Any, driver: str) -> str | None:
        """How the server tells this connection's client from others, where a statement goes on
        when its client is gone; ``None``: it does not, or there is no telling.
        """
        return None

    def end_remains(self, connection: Any, backend: int, seen_as: str, age: float) -> None:
        """End what a connection is at whose client is gone, if it is at anything still.

        :param connection: another one, SQLAlchemy's.
        :param seen_as: what ``seen_as`` said of it.
        :param age: seconds since it was made; the server's numbers begin anew with the server.
        """

    def interrupt(self, dbapi: Any, seconds: float) -> None:
        """Have the statement ended that another thread waits for, where the driver lets any thread.

        The server may be told a moment late: the connection must not be lent again.

        :param seconds: that it may take.
        """
        cancel, interrupt = (getattr(dbapi, name, None) for name in ("cancel_safe", "interrupt"))
        if cancel is not None:
            cancel(timeout=seconds)  # psycopg's
        elif interrupt is not None:
            interrupt()  # SQLite's

    def terminates_waiting(self, driver: str) -> bool:
        """Whether the driver waits where it is to let a connection go at once, so that a
        cancellation could strike there: ``abandon`` is called instead.
        """
        return False

    def abandon(self, dbapi: Any, driver: str) -> Callable[[], bool] | None:
        """Let a connection go whose event loop does not run any more, without waiting.

        :return: what breaks off once more that which had not begun when it was told to end, and
            answers whether it is still at work; ``None`` where nothing is left to be done.
        """
        end = self.breaker(dbapi, driver)
        if end is not None:
            end()
        return None


def break_socket(sock: Any) -> Callable[[], None] | None:
    """Shut a socket object down: whoever waits on it in the kernel or a loop is woken at once."""
    return None if sock is None else break_descriptor(sock.fileno)


def drop_transport(transport: Any) -> None:
    """Close an asyncio transport whose loop is closed, and which can therefore not close itself."""
    sock = getattr(transport, "_sock", None)
    if sock is not None:
        sock.close()
        transport._sock = None  # it would complain at its collection


def _shut_duplicate(number: int, how: int) -> None:
    with contextlib.closing(socket.socket(fileno=os.dup(number))) as duplicate:
        duplicate.shutdown(how)


# the system's own, by number. It keeps the GIL, so that no other thread has the socket closed and
# its number given to another one in between; and there is nothing that an interrupt would leave
# open
_shutdown: Callable[[int, int], Any] = (
    ctypes.PyDLL(None).shutdown if os.name == "posix" else _shut_duplicate
)


def break_descriptor(fileno: Callable[[], int]) -> Callable[[], None]:
    """The same for a driver that tells only its file descriptor.

    :param fileno: asked at the moment itself, and raises where there is none any more: a driver
        closes a socket that it has found broken (libpq does), and the number is soon another's.
    """

    def shut() -> None:
        with contextlib.suppress(Exception):
            _shutdown(fileno(), socket.SHUT_RDWR)

    return shut
