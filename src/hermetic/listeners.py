"""What hermetic listens to on its engines: the birth of connections, statements, transactions,
errors.
"""

from __future__ import annotations

import random
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy import exc as sa_exc
from sqlalchemy.engine import ExceptionContext

from .blending import fault_error
from .clock import monotonic
from .connecting import BORN_IN, Connecting
from .connection import ConnectionRecord
from .credentials import Credentials
from .dialects.classify import classify
from .dialects.family import Family
from .errors import FaultError, HermeticError, ReadOnlyScope
from .events import ConnectionDestroyed, emit
from .execution import KEY, Execution, disarm, known, watch
from .faults import Fault, FaultKind, Pool, Rerun, Wire
from .faults import Transaction as Left
from .first_look import FirstLook
from .limits import insist
from .options import DatabaseOptions
from .owner import Owner
from .pool import LENT, connect_bound, demanded
from .registry import Registry, Scope, describe_error
from .remains import Remains
from .restoring import WATCHED, Restoring, have_watched
from .watching.misuses import failed_in_scope

# how long a connection that was idle has to answer before it is lent
_PING_SECONDS = 1.0

# the part of its age that a connection may be short of at most
_JITTER = 0.1

_TIME_KINDS = frozenset(
    {
        FaultKind.STATEMENT_TIMEOUT,
        FaultKind.LOCK_TIMEOUT,
        FaultKind.CONNECTION_LOST,
        FaultKind.CANNOT_CONNECT,
    }
)


def role_name(reader: bool) -> str:
    """What the connections of writers and readers are called."""
    return "reader" if reader else "writer"


class EngineWatch:
    """The listeners of one engine. ``reader`` connections are read-only from birth."""

    def __init__(
        self,
        engine: Engine,
        family: Family,
        driver: str,
        options: DatabaseOptions,
        registry: Registry,
        *,
        reader: bool,
        role: str,
        world: str,
        apart: Callable[..., Engine],
    ) -> None:
        self.engine = engine
        self.apart = apart
        self.family = family
        self.driver = driver
        self.options = options
        self.registry = registry
        self.reader = reader
        self.role = role
        self.world = world
        self.server = engine.url.render_as_string(hide_password=True).partition("?")[0]
        self.dialect = engine.dialect
        for name in (
            "connect", "close", "detach", "checkout", "checkin", "handle_error", "do_connect",
            "invalidate", "soft_invalidate",
        ):  # fmt: skip
            event.listen(engine, name, getattr(self, f"_on_{name}"))
        restore = Restoring(engine, family, driver, options, reader)
        first = FirstLook(engine.dialect, family, driver, options.connect_timeout)
        self.execution = Execution(
            engine.dialect, family, driver, options, restore, first.rollback, reader=reader
        )
        if options.reset_connections != "never":
            have_watched(engine)
        if options.credentials is not None:
            engine.dialect.connect = Credentials(  # type: ignore[method-assign]
                options.credentials,
                family.name,
                engine.dialect.connect,
                asynchronous=world == "asyncio",
            ).connect

    # ------------------------------------------------------------ connections

    def _on_do_connect(self, dialect: Any, record: Any, args: Any, kwargs: dict[str, Any]) -> None:
        scope = demanded()
        until = connect_bound(scope)
        remaining = None
        if until is not None:
            now = monotonic()
            remaining = max(0.001, until - now)
            if scope is not None and scope.deadline is not None and now >= scope.deadline:
                raise scope.deadline_exceeded("before a connection was made")
        self.family.connect_timeout(self.driver, kwargs, remaining)

    def _on_connect(self, dbapi: Any, record: Any) -> None:
        connection = ConnectionRecord(
            self.family,
            self.server,
            self.role,
            self.world,
            self.engine,
            self.family.breaker(dbapi, self.driver),
            lambda: insist(self.family.abandon(dbapi, self.driver)),
            self.family.probe(dbapi, self.driver),
        )
        until = monotonic() + self.options.connect_timeout
        scope = demanded()
        bound = connect_bound(scope)
        if bound is not None:
            until = min(until, bound)
        watch(connection, until)
        pool: Any = self.engine.pool
        connecting: Connecting = pool.connecting
        try:
            connection.puts_off = self.family.greet(
                dbapi, self.driver, self.options, reader=self.reader, until=until
            )
        except BaseException as error:
            connecting.spoilt(record, error)
            raise
        finally:
            disarm(connection)
        connection.exchanges = self.family.exchanges(dbapi, self.driver)
        if self.options.pooler is None:  # a pooler gives a number of its own
            connection.backend = self.family.commits.backend(dbapi, self.driver)
            self._have_ended(connection, dbapi)
        connecting.made(record)
        self._entered(connection, record, connecting)

    def _have_ended(self, connection: ConnectionRecord, dbapi: Any) -> None:
        """See to it that nothing goes on in the server that its client was torn away from."""
        seen_as = self.family.seen_as(dbapi, self.driver)
        if seen_as is not None and connection.backend is not None:
            apart = partial(self.apart, asynchronous=self.world == "asyncio")
            connection.remains = Remains(apart, self.family, connection.backend, seen_as)

    def _entered(self, connection: ConnectionRecord, record: Any, connecting: Connecting) -> None:
        generation = connecting.generation
        connection.generation = record.record_info.get(BORN_IN, generation.number)
        # some time before the full age, so that those who were born together do not go together
        early = random.uniform(0.0, _JITTER)
        connection.expires = connection.born + self.options.pool_recycle * (1.0 - early)
        record.info[KEY] = connection
        # SQLAlchemy would compare it with a birth that a wall clock may have put before it
        record._soft_invalidate_time = 0
        connection.pool_record = weakref.ref(record, partial(self._lost, connection.number))
        self.registry.connections[connection.number] = connection
        if connection.generation != generation.number:
            connection.retired = True  # after it was entered: an eviction looks there, later
        if connecting.born is not None:
            connecting.born()

    def _on_close(self, dbapi: Any, record: Any) -> None:
        connection = record.info.get(KEY)
        if connection is not None:
            disarm(connection)
            self.execution.forget(dbapi)
            connection.cursor = None
            self.registry.connections.pop(connection.number, None)

    def _lost(self, number: int, _: object) -> None:
        """An interrupt struck where the pool hands a connection from one variable to the next."""
        connection = self.registry.connections.pop(number, None)
        if connection is None:
            return
        disarm(connection)
        connection.cursor = None
        if self.world == "asyncio" and not self.family.embedded and connection.break_off:
            connection.break_off()  # its loop may run on, and sees the end of its socket
        else:
            connection.abandon()
        self._destroyed(connection, "the pool has lost it")

    def _on_invalidate(self, dbapi: Any, record: Any, error: BaseException | None) -> None:
        connection = record.info.get(KEY)
        if connection is not None:
            connection.retired = True

    _on_soft_invalidate = _on_invalidate

    def _on_detach(self, dbapi: Any, record: Any) -> None:
        self._on_close(dbapi, record)

    def _on_checkout(self, dbapi: Any, record: Any, proxy: Any) -> None:
        connection: ConnectionRecord = record.info[KEY]
        returned, connection.returned = connection.returned, None
        connection.beside = record.record_info.get("hermetic.beside", False)
        if connection.beside:
            self.family.keep_from_writing(dbapi)  # it is closed at its return
        scope = demanded()
        if scope is None:
            connection.owner = Owner()
            if self.registry.watch is not None:
                self.registry.watch.lent(record, proxy, connection.owner)
        if scope is not None and scope.deadline is not None:
            watch(connection, scope.deadline)
        now = monotonic()
        if returned is None:
            return  # new, or something was begun on it by a fast path
        if connection.retired or now > connection.expires:
            if connection.retired:
                self._destroyed(connection, "its pool was evicted")
            raise sa_exc.DisconnectionError("a pooled connection was to be replaced")
        after = self.options.ping_after
        if after is not None and now - returned >= after:
            self._ping(connection, dbapi, scope)

    def _ping(self, connection: ConnectionRecord, dbapi: Any, scope: Scope | None) -> None:
        """Ask a connection that was idle whether it is still one.

        :raises DisconnectionError: it is not; SQLAlchemy makes another one.
        """
        deadline = None if scope is None else scope.deadline
        until = monotonic() + _PING_SECONDS
        # a scope that has more time than that is to have the rest for another connection
        watched = deadline is None or until < deadline
        if watched:
            watch(connection, until)
        try:
            alive = self.dialect.do_ping(dbapi)
        except self.dialect.loaded_dbapi.Error as error:
            alive = False
            reason = describe_error(error)
            fault = classify(error, family=self.family.name)
            if fault is not None and fault.pool is Pool.EVICT:
                pool: Any = self.engine.pool
                pool.connecting.evict(connection.generation)
        else:
            reason = "it did not answer a ping"
        if watched and alive:
            watch(connection, deadline)
        if not alive:
            disarm(connection)
            self._destroyed(connection, reason)
            raise sa_exc.DisconnectionError("a pooled connection was found dead")

    def _on_checkin(self, dbapi: Any, record: Any) -> None:
        connection = record.info.get(KEY)
        if connection is not None:
            disarm(connection)
            if dbapi is not None:
                self.execution.end_late(connection, dbapi)
                connection.dirty |= self.family.is_out_of_step(dbapi, self.driver)
                # several may have it, where the pool is one of a single connection
                if len(record.record_info.get("hermetic.tickets", ())) < 2:
                    self.family.end_reads(dbapi, self.driver, connection.cursor)
            watched = record.record_info.pop(WATCHED, False)
            record.record_info.pop(LENT, None)
            if connection.owner is not None and connection.transaction is None and not watched:
                # nothing passed here: it was in the hands of who took it (``raw_connection``)
                connection.dirty |= self.options.reset_connections != "never"
            connection.returned = monotonic()
            connection.scope = connection.transaction = connection.owner = None

    def _destroyed(self, connection: ConnectionRecord, reason: str) -> None:
        self.registry.counters["destroyed"] += 1
        if self.registry.listeners:
            destroyed = ConnectionDestroyed(self.registry.name, connection.number, reason)
            emit(self.registry.listeners, destroyed)

    # ------------------------------------------------------------ errors

    def _on_handle_error(self, context: ExceptionContext) -> BaseException | None:
        error = context.original_exception
        if isinstance(error, HermeticError) and not isinstance(error, FaultError):
            # a refusal of ours: nothing was sent. SQLAlchemy takes any TimeoutError for the end of
            # a task, and would destroy the connection
            context.is_disconnect = False
            return None
        conn = context.connection
        connection = None
        if conn is not None and not conn.invalidated and not conn.closed:
            connection = known(conn)
        scope = None if connection is None else connection.scope
        trace = None if scope is None else scope.trace
        if trace is not None and scope is not None:
            trace.failed()
            failed_in_scope(scope, error)
        fault = classify(error, family=self.family.name)
        if trace is not None and fault is not None:
            trace.faulted(fault.code)
        if fault and connection is not None and self._is_wrong_server(connection, fault):
            # the next attempt is made on a new connection, which may lead to the one that was
            # promoted
            fault = replace(fault, rerun=Rerun.TRANSACTION)
        raised: BaseException | None = None
        if fault is not None and isinstance(error, Exception):
            raised = self._translate(context, connection, fault)
        if connection is not None:
            self._note(connection, context, fault, raised or error)
            if isinstance(raised, sa_exc.DBAPIError):
                raised.connection_invalidated = context.is_disconnect
        return raised

    def _note(
        self,
        connection: ConnectionRecord,
        context: ExceptionContext,
        fault: Fault | None,
        error: BaseException,
    ) -> None:
        """Remember what the error, as it is raised, leaves of transaction, connection and pool."""
        transaction = connection.transaction
        exiting = not isinstance(error, Exception)
        if exiting and self.family.embedded and self.world == "asyncio" and connection.break_off:
            # a cancelled await leaves the driver's thread at work, with its locks. Where nothing is
            # at work any more, the interrupt would strike the rollback
            connection.break_off()
        if fault is not None and self._is_wrong_server(connection, fault):
            context.is_disconnect = context.invalidate_pool_on_disconnect = True
        elif fault is not None and fault.wire is Wire.DEAD:
            context.is_disconnect = True
            context.invalidate_pool_on_disconnect = fault.pool is Pool.EVICT
        elif self.family.embedded and not exiting:
            connection.at_rest = True  # the interrupt has done its work
        if exiting or context.is_disconnect:
            self._destroyed(connection, describe_error(error))
        if fault is not None and fault.kind is FaultKind.CONNECTION_LOST:
            self._doubt_others()
        if fault is not None and fault.kind is FaultKind.STALE_PLAN:
            # it has more of them: SQLAlchemy tells by a wall clock which ones asyncpg may use still
            connection.dirty = True
        if transaction is None or transaction.commit_sent:
            return
        lost = exiting or context.is_disconnect
        scope = connection.scope
        if transaction.plain and not lost:
            return  # there is no transaction that the error could have ended
        if lost or (fault and fault.transaction is Left.GONE):
            transaction.fail(error, fault, gone=True)
            if scope is not None:
                # also SQLAlchemy's own refusals, which come before ours, have to name the cause
                scope.boundary.doom(error)
        elif fault is not None and fault.transaction is Left.DOOMED:
            transaction.fail(error, fault, gone=False)
        elif self.family.ends_unannounced and self._is_given_up_now(context, connection):
            transaction.fail(error, fault, gone=True)

    def _doubt_others(self) -> None:
        """A server that ended one connection may have ended all: those that are idle are tested
        before they are lent, however short their rest was.
        """
        after = self.options.ping_after
        if after is None:
            return
        long_ago = monotonic() - after
        for connection in list(self.registry.connections.values()):
            if connection.server != self.server or connection.returned is None:
                continue
            connection.returned = min(connection.returned, long_ago)

    def _is_given_up_now(self, context: ExceptionContext, connection: ConnectionRecord) -> bool:
        conn = context.connection
        return conn is not None and self.execution.is_given_up(conn.connection, connection)

    def _is_wrong_server(self, connection: ConnectionRecord, fault: Fault) -> bool:
        """A writer's connection that takes no writes leads to a demoted primary."""
        scope = connection.scope
        return (
            fault.kind is FaultKind.READ_ONLY
            and not self.reader
            and not self.family.embedded
            and not (scope is not None and scope.readonly)
        )

    def _translate(
        self, context: ExceptionContext, connection: ConnectionRecord | None, fault: Fault
    ) -> BaseException:
        scope = connection.scope if connection is not None else demanded()
        error = context.sqlalchemy_exception
        if error is None:
            # asyncpg lets OSError and TimeoutError through unwrapped
            error = sa_exc.OperationalError(
                context.statement, None, context.original_exception, hide_parameters=True
            )
        translated = fault_error(error, fault, scope=None if scope is None else scope.ref)
        if scope is not None:
            late = self._as_lateness(scope, fault, translated)
            if late is not None:
                return late
            if fault.kind is FaultKind.READ_ONLY and scope.readonly:
                return self._as_stray_write(scope, context, translated)
        return translated

    def _as_lateness(
        self, scope: Scope, fault: Fault, translated: FaultError
    ) -> BaseException | None:
        if scope.deadline is None or fault.kind not in _TIME_KINDS:
            return None
        if monotonic() < scope.deadline - 0.05:
            return None
        error = scope.deadline_exceeded("in the middle of a statement")
        error.__cause__ = translated
        error.__context__ = translated
        return error

    def _as_stray_write(
        self, scope: Scope, context: ExceptionContext, translated: FaultError
    ) -> BaseException:
        error = ReadOnlyScope(
            "The database refused a write in a read-only scope.",
            subject=(context.statement or "").strip(),
            scope=scope.ref,
            hint="Open the scope without readonly=True.",
        )
        error.__cause__ = translated
        return error
