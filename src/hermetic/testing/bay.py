"""One real connection for one sandbox at a time, with an engine that everybody in it shares."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Engine, event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool.base import _ConnectionRecord
from sqlalchemy.util import await_only, greenlet_spawn

from ..checking import LONGEST
from ..clock import monotonic
from ..engine import Server
from ..execution import known
from ..fast.side import Side
from ..gate import Gate
from ..options import DatabaseOptions, Isolation
from ..place import Place, user_frame
from ..pool import demanded
from .errors import SandboxBusy
from .families import sandboxed
from .levels import BASE, Levels
from .turns import TaskTurn, ThreadTurn

if TYPE_CHECKING:
    from ..database import Database

# more than ever ask at once: who waits waits for the levels
_PLACES = 10_000


class Bay(Server):
    """The server that the scopes of a sandbox see: the Database's own, through one connection.

    :param loop: whose world it is in; ``None`` for threads.
    """

    def __init__(
        self, database: Database, number: int, loop: asyncio.AbstractEventLoop | None
    ) -> None:
        self.loop = loop
        self.turn = ThreadTurn() if loop is None else TaskTurn()
        # the driver's connection, as SQLAlchemy has it; whether it was set up
        self.real: Any = None
        self.greeted = self.spoilt = self.shutting = False
        # whose it is; and whether the sandbox itself takes the connection
        self.owner: Any = database.sandboxes
        self.inward = False
        self.deferrable = False
        self.isolation = database.family.default_isolation
        # who has a connection outside of scopes, by the pool's record, and the line that took it
        self.taken: dict[int, Place] = {}
        self.hooks: Hooks | None = None
        options = _options(database.options)
        url = database.server.url
        super().__init__(url, options, database.registry, tenant=f"sandbox {number}")
        self.family = self.special = sandboxed(database.family, self)
        self._connects = None  # there is one connect, and nobody to take turns with
        self.levels = Levels(self, options.pool_timeout)

    def _make_gates(self) -> dict[bool, Gate]:
        gate = Gate(self.name, _PLACES, None)
        return {False: gate, True: gate}

    # ------------------------------------------------------------ its engine

    def engine(self, *, reader: bool) -> Engine:
        """The engine for threads: one, for readers as for writers."""
        return super().engine(reader=False)

    def async_engine(self, *, reader: bool) -> AsyncEngine:
        """The engine for asyncio: one, for readers as for writers."""
        return super().async_engine(reader=False)

    def _side(self, engine: Engine, reader: bool, *, asynchronous: bool) -> Side:
        made = super()._side(engine, False, asynchronous=asynchronous)
        made.begin = None  # everything passes where the levels are
        return made

    def _outfit(
        self,
        engine: Engine,
        url: URL,
        reader: bool,
        *,
        world: str,
        gate: Gate | None = None,
        role: str | None = None,
    ) -> None:
        # first: what stands around the dialect's methods takes these for the dialect's own
        self.hooks = Hooks(engine.dialect, self)
        super()._outfit(engine, url, False, world=world, gate=self._gates[False], role="sandbox")
        for name in ("checkout", "checkin", "invalidate"):
            event.listen(engine, name, getattr(self, f"_on_{name}"))
        pool: Any = engine.pool
        pool._create_connection = lambda: self._view(pool)

    def _view(self, pool: Any) -> Any:
        """A pool's record of the one connection, for another borrower.

        What SQLAlchemy does to a new connection was done to it, and may not be in the way of
        whoever uses it now (private, read in 2.1.9).
        """
        if self.real is None:
            return _ConnectionRecord(pool)
        record: Any = _ConnectionRecord(pool, connect=False)
        record.dbapi_connection = self.real
        record.starttime = time.time()
        for listener in pool.dispatch.connect:
            if (getattr(listener, "__module__", None) or "").startswith("hermetic."):
                listener(self.real, record)
        return record

    def _on_checkout(self, dbapi: Any, record: Any, proxy: Any) -> None:
        if demanded() is None:
            if not self.inward:
                self.owner.check_here(self)
            self.taken[id(record)] = Place(user_frame())

    def _on_checkin(self, dbapi: Any, record: Any) -> None:
        self.taken.pop(id(record), None)
        connection = record.info.get("hermetic")
        if connection is not None and connection.dirty:
            self.spoilt = True  # what a statement left would be met by the next sandbox

    def _on_invalidate(self, dbapi: Any, record: Any, error: BaseException | None) -> None:
        self.taken.pop(id(record), None)
        self.levels.abandon(record.info.get("hermetic"))

    def set_autocommit(self, dbapi: Any) -> None:
        """Have the driver begin nothing by itself."""
        assert self.hooks is not None
        self.hooks.set_autocommit(dbapi)

    def pause(self, seconds: float) -> None:
        """Wait, in the way of its world."""
        if self.loop is None:
            time.sleep(seconds)
        else:
            await_only(asyncio.sleep(seconds))

    # ------------------------------------------------------------ sandboxes

    def begin_sandbox(self, name: str, isolation: Isolation | None, wait: float) -> None:
        """Connect, if need be, and begin the transaction that is rolled back at the end."""
        fairy = self._raw()
        try:
            self.taken.clear()
            cursor: Any = fairy.cursor()
            try:
                first = self.levels.sandbox == ""
                if first and self.special.deferrable is not None:
                    cursor.execute(self.special.deferrable)
                    self.deferrable = cursor.fetchone()[0] > 0
                self.special.begin_sandbox(cursor, isolation, monotonic() + wait)
                cursor.execute(f"SAVEPOINT {BASE}")
            finally:
                cursor.close()
            self.isolation = isolation or type(self.family).default_isolation
            self.levels.start_anew(name)
        except BaseException as error:
            self.spoilt = True
            if isinstance(error, Exception) and self.special.is_taken(error):
                raise _busy(name, self.owner.database.name) from error
            raise
        finally:
            fairy.close()

    def end_sandbox(self) -> None:
        """Roll everything back; ``levels.ended`` says whether that was possible."""
        try:
            fairy = self._raw()
            try:
                self._roll_back(fairy)
            finally:
                fairy.close()
        except Exception as error:
            if self.levels.ended is None:
                self.levels.end_here(None, error)
        finally:
            self.spoilt |= self.levels.ended is not None
            self.levels.close()

    def _roll_back(self, fairy: Any) -> None:
        cursor: Any = fairy.cursor()
        try:
            with self.turn:
                if self.levels.ended is None:
                    cursor.execute(f"ROLLBACK TO SAVEPOINT {BASE}")
                    for statement in self.special.returned(readonly=False):
                        cursor.execute(statement)
                cursor.execute("ROLLBACK")
        finally:
            cursor.close()

    def _raw(self) -> Any:
        self.inward = True
        try:
            return self._whole_engine().raw_connection()
        finally:
            self.inward = False

    def _whole_engine(self) -> Engine:
        if self.loop is None:
            return self.engine(reader=False)
        return self.async_engine(reader=False).sync_engine

    # ------------------------------------------------------------ the end

    def close(self) -> None:
        """Shut it, or cut it where its loop does not run here."""
        if self.loop is None:
            self.shut()
        else:
            super().close()

    async def aclose(self) -> None:
        """The same, in good order where its loop is the running one."""
        if self.loop is asyncio.get_running_loop():
            await greenlet_spawn(self.shut)
        else:
            self.close()

    def shut(self) -> None:
        """Close the connection, in the way of its world."""
        self.shutting = True
        engine = self._whole_engine() if self.real is not None and not self.closed else None
        if engine is not None:
            engine.dispose()
            assert self.hooks is not None
            self.hooks.close_real()
        self.closed = True
        self.forget()
        anchor, self._anchor = self._anchor, None
        if anchor is not None:
            anchor.close()


def _busy(name: str, database: str) -> SandboxBusy:
    return SandboxBusy(
        f"Sandbox {name!r} could not begin: Database {database!r} has one writer at a time, and "
        "another has it still.",
        sandbox=name,
        hint="It waits for another test, of this process or another one, to end its sandbox or its "
        "transaction; sandbox(…, wait=…) says how long.",
    )


def _options(options: DatabaseOptions) -> DatabaseOptions:
    return dataclasses.replace(
        options,
        cache=None,  # what is read in a sandbox is nothing for others
        budget=None,
        keepalive=None,
        ping_after=None,
        pool_min=0,
        pool_recycle=LONGEST,
        poolclass=None,
        put_off_begin=False,
        replicas=(),
        reset_connections="never",
        resolve_commits=None,
        # between two statements of a test a debugger may stand
        idle_in_transaction_timeout=None,
    )


class Hooks:
    """Stands in the place of a dialect's own methods, beneath ``Execution``."""

    def __init__(self, dialect: Any, bay: Bay) -> None:
        self._bay = bay
        self._dialect = dialect
        self._set_isolation = dialect.set_isolation_level
        self._close = dialect.do_close
        self._begin = dialect.do_begin
        self._commit = dialect.do_commit
        self._rollback = dialect.do_rollback
        self._execute = dialect.do_execute
        self._executemany = dialect.do_executemany
        self._execute_plain = dialect.do_execute_no_params
        self._savepoint = dialect.do_savepoint
        self._rollback_to = dialect.do_rollback_to_savepoint
        self._release = dialect.do_release_savepoint
        for name in (
            "do_close", "do_terminate", "do_begin", "do_commit", "do_rollback", "do_execute",
            "do_executemany", "do_execute_no_params", "do_savepoint", "do_rollback_to_savepoint",
            "do_release_savepoint",
        ):  # fmt: skip
            setattr(dialect, name, getattr(self, name))

    def set_autocommit(self, dbapi: Any) -> None:
        self._set_isolation(dbapi, "AUTOCOMMIT")

    # ------------------------------------------------------------ connections

    def do_close(self, dbapi: Any) -> None:
        """Nobody in a sandbox closes what others use."""

    do_terminate = do_close

    def close_real(self) -> None:
        """Close the one connection."""
        real, self._bay.real = self._bay.real, None
        if real is not None:
            self._close(real)

    # ------------------------------------------------------------ transactions

    def do_begin(self, dbapi: Any) -> None:
        """The family's ``start`` begins the level: it knows what was promised."""

    def do_commit(self, dbapi: Any) -> None:
        if known(dbapi) is None:
            self._commit(dbapi)
        else:
            self._bay.levels.commit(dbapi)

    def do_rollback(self, dbapi: Any) -> None:
        if known(dbapi) is None:
            self._rollback(dbapi)
        else:
            self._bay.levels.rollback(dbapi)

    def do_savepoint(self, conn: Any, name: str) -> None:
        level = self._bay.levels.of(conn.connection)
        self._savepoint(conn, name if level is None else self._bay.levels.put_up(level, name))

    def do_rollback_to_savepoint(self, conn: Any, name: str) -> None:
        levels = self._bay.levels
        level = levels.of(conn.connection)
        if level is None:
            return  # its level was struck, and is gone as a whole
        levels.back_to(level, name)
        self._rollback_to(conn, levels.point(level, name))

    def do_release_savepoint(self, conn: Any, name: str) -> None:
        levels = self._bay.levels
        level = levels.of(conn.connection)
        # inside it others are open, whose savepoints it would take along: it ends with its level
        if level is not None and levels.stack[-1] is level:
            self._release(conn, levels.point(level, name))

    # ------------------------------------------------------------ statements

    def do_execute(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        self._through(
            context, statement, lambda: self._execute(cursor, statement, parameters, context)
        )

    def do_executemany(
        self, cursor: Any, statement: str, parameters: Any, context: Any = None
    ) -> None:
        self._through(
            context, statement, lambda: self._executemany(cursor, statement, parameters, context)
        )

    def do_execute_no_params(self, cursor: Any, statement: str, context: Any = None) -> None:
        self._through(context, statement, lambda: self._execute_plain(cursor, statement, context))

    def _through(self, context: Any, statement: str, run: Any) -> None:
        if context is None or known(context.root_connection) is None:
            run()
        else:
            self._bay.levels.execute(context.root_connection.connection, statement, run)
