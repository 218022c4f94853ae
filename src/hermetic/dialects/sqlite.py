"""SQLite, by sqlite3 and aiosqlite."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import sqlite3
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from sqlalchemy import URL

from ..clock import monotonic
from ..options import DatabaseOptions, Isolation
from . import aiosqlite_connecting
from .family import Begin, Driver, EngineSettings, Family
from .wire import Wire
from .wires import AiosqliteWire

# how long one attempt at a BEGIN waits for another process, in milliseconds
_SLICE_MS = 50

_memories = itertools.count(1)


class _Tracked(sqlite3.Connection):
    """A connection that knows its cursors, which keep a lot for as long as they have rows that
    nobody read, and can be kept alive for long, as by the frames of an exception.

    They keep the snapshot that they read from, in whoever's hands the connection is by then; an
    interrupt in force, which would strike the rollback too (SQLite 3.40); and a closed connection
    with its locks, since Python 3.11, which does not end them with it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._cursors: weakref.WeakSet[sqlite3.Cursor] = weakref.WeakSet()

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        made = super().cursor(*args, **kwargs)
        self._cursors.add(made)
        return made

    def end_reads(self, kept: Any) -> None:
        """Close all cursors but one."""
        for cursor in list(self._cursors):
            if cursor is not kept:
                cursor.close()

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # closed already, or interrupted
            self.release()
        super().close()

    def release(self) -> None:
        self.end_reads(None)
        self.rollback()


class SQLite(Family):
    """SQLite 3.36 and later.

    hermetic sends BEGIN itself, so that reads are repeatable and savepoints nest: IMMEDIATE for
    writers, which then never meet SQLITE_BUSY_SNAPSHOT.
    """

    name: ClassVar[str] = "sqlite"
    schemes: ClassVar[tuple[str, ...]] = ("sqlite",)
    isolation_levels: ClassVar[frozenset[Isolation]] = frozenset({Isolation.SERIALIZABLE})
    default_isolation: ClassVar[Isolation] = Isolation.SERIALIZABLE
    sync_drivers: ClassVar[tuple[Driver, ...]] = (Driver("pysqlite", "sqlite3", "sqlite"),)
    async_drivers: ClassVar[tuple[Driver, ...]] = (
        Driver("aiosqlite", "aiosqlite", "sqlite", (0, 22, 1), "earlier threads outlive the loop"),
    )
    has_readers: ClassVar[bool] = True
    sends_begin: ClassVar[bool] = True
    reads_beside: ClassVar[bool] = True
    embedded: ClassVar[bool] = True
    ends_unannounced: ClassVar[bool] = True
    told_by_probe: ClassVar[bool] = True

    def writer_limit(self, url: URL, options: DatabaseOptions) -> int:
        return 1

    def shares_one_connection(self, url: URL) -> bool:
        return "vfs" in url.query and url.query["vfs"] == "memdb"

    def anchor(self, url: URL) -> Any:
        # a memdb vanishes with its last connection
        if not self.shares_one_connection(url):
            return None
        target = f"{url.database}?vfs=memdb"
        return sqlite3.connect(target, uri=True, check_same_thread=False)

    def engine_settings(
        self, url: URL, driver: str, options: DatabaseOptions, *, reader: bool, asynchronous: bool
    ) -> EngineSettings:
        settings: dict[str, Any] = {"check_same_thread": False}
        if options.lock_timeout is not None:
            settings["timeout"] = options.lock_timeout
        settings["factory"] = _Tracked
        if driver == "aiosqlite":
            settings["async_creator_fn"] = aiosqlite_connecting.connect
        return EngineSettings(settings)

    def greet(
        self, dbapi: Any, driver: str, options: DatabaseOptions, *, reader: bool, until: float
    ) -> bool:
        # without this sqlite3 sends BEGIN by its own rules: none for SELECT, DDL or SAVEPOINT
        dbapi.isolation_level = None
        cursor = dbapi.cursor()
        try:
            cursor.execute("PRAGMA journal_mode")
            (journal,) = cursor.fetchone()
            if journal not in (options.journal_mode, "memory"):
                _switch_journal(dbapi, cursor, options, until)
            cursor.execute(f"PRAGMA synchronous = {options.synchronous}")
            cursor.execute(f"PRAGMA foreign_keys = {'on' if options.foreign_keys else 'off'}")
            if not reader and options.journal_mode == "wal":
                cursor.execute(f"PRAGMA busy_timeout = {_SLICE_MS}")  # see start()
        finally:
            cursor.close()
        if reader:
            self.keep_from_writing(dbapi)
        return False

    def keep_from_writing(self, dbapi: Any) -> None:
        cursor = dbapi.cursor()
        cursor.execute("PRAGMA query_only = on")
        cursor.close()

    def execution_options(self, begin: Begin) -> dict[str, Any]:
        return {}

    def begin_statements(self, begin: Begin) -> tuple[str, ...]:
        if begin.plain:
            return ()
        return ("BEGIN",) if begin.readonly else ("BEGIN IMMEDIATE",)

    def lean_begin(
        self, driver: str, options: DatabaseOptions, begin: Begin
    ) -> tuple[str, ...] | None:
        if options.journal_mode != "wal":
            return None
        return self.begin_statements(begin)

    def commits_in_one_call(self, driver: str) -> bool:
        return driver == "pysqlite"

    def wire(self, driver: str) -> Wire | None:
        return AiosqliteWire() if driver == "aiosqlite" else None

    def start(
        self,
        dbapi: Any,
        driver: str,
        begin: Begin,
        options: DatabaseOptions,
        deadline: float | None,
    ) -> None:
        """BEGIN, waiting for another process's lock in slices.

        SQLite's own wait can neither be cancelled nor interrupted (sqlite3_interrupt does not wake
        its busy handler, 3.40), and would outlast any deadline.
        """
        # straight on the sqlite3 connection: nothing else is under way on it, and aiosqlite's way
        # there costs more than the whole BEGIN
        raw = _sqlite3_connection(dbapi.dbapi_connection)
        patience = _patience(options)
        if begin.plain:
            raw.execute(f"PRAGMA busy_timeout = {math.ceil(patience * 1000)}")
            return
        if begin.readonly:
            cursor = dbapi.cursor()
            cursor.execute("BEGIN")  # waits for nobody; the first statement does
            cursor.close()
            return
        until = monotonic() + patience
        until = until if deadline is None else min(until, deadline)
        raw.execute(f"PRAGMA busy_timeout = {_SLICE_MS}")
        cursor = dbapi.cursor()
        try:
            _insist(cursor, "BEGIN IMMEDIATE", until)
        finally:
            cursor.close()
            if options.journal_mode != "wal":
                # under WAL nothing waits any more once the write lock is there
                left = patience if deadline is None else min(patience, until - monotonic())
                raw.execute(f"PRAGMA busy_timeout = {math.ceil(max(0.0, left) * 1000)}")

    def is_clean(self, dbapi: Any, driver: str) -> bool:
        raw = _sqlite3_connection(dbapi)
        return raw is not None and not raw.in_transaction

    def server_gave_up(self, dbapi: Any, driver: str, *, worked: bool) -> bool:
        # SQLITE_FULL, IOERR, NOMEM and INTERRUPT may roll back by themselves; only this tells
        # (https://sqlite.org/c3ref/get_autocommit.html)
        raw = _sqlite3_connection(dbapi)
        return raw is not None and not raw.in_transaction

    def end_reads(self, dbapi: Any, driver: str, kept: Any) -> None:
        raw = _sqlite3_connection(dbapi)
        if isinstance(raw, _Tracked):
            with contextlib.suppress(sqlite3.Error):  # one is in use: the connection is destroyed
                raw.end_reads(kept)

    def breaker(self, dbapi: Any, driver: str) -> Callable[[], None] | None:
        raw = _sqlite3_connection(dbapi)
        if raw is None:
            return None

        def interrupt() -> None:
            try:
                raw.interrupt()
            except Exception:
                pass  # closed meanwhile

        return interrupt

    def terminates_waiting(self, driver: str) -> bool:
        return driver == "aiosqlite"

    def abandon(self, dbapi: Any, driver: str) -> Callable[[], bool] | None:
        raw = getattr(dbapi, "driver_connection", dbapi)
        inner = _sqlite3_connection(dbapi)
        if driver != "aiosqlite" or inner is None or not getattr(raw, "_running", False):
            return None
        # aiosqlite 0.22.1: its thread takes work from a queue, and closes the connection when it
        # is told to stop. The rollback is sent there first: SQLite keeps a closed connection, with
        # its locks, for as long as a cursor of it is alive
        inner.interrupt()
        release = inner.release if isinstance(inner, _Tracked) else inner.rollback
        over = False

        def close_and_stop() -> object:
            nonlocal over
            over = True
            release()
            inner.close()
            raw._connection = None
            return _stop_sentinel()

        # not by stop(): it makes a future, for a loop that may be closed
        raw._running = False
        raw._tx.put_nowait((None, close_and_stop))

        def again() -> bool:
            # an interrupt is lost on a statement that has not begun yet
            if not over:
                with contextlib.suppress(sqlite3.Error):
                    inner.interrupt()
            return not over

        return again

    def probe(self, dbapi: Any, driver: str) -> Callable[[], bool] | None:
        raw = _sqlite3_connection(dbapi)
        # without a frame of its own: it is asked before every COMMIT
        return None if raw is None else partial(getattr, raw, "in_transaction")


def _patience(options: DatabaseOptions) -> float:
    """Seconds that a statement waits for another process's lock."""
    return float(options.connect_args.get("timeout", options.lock_timeout or 0.0))


def _stop_sentinel() -> object:
    from aiosqlite import core

    return core._STOP_RUNNING_SENTINEL


def _insist(cursor: Any, statement: str, until: float) -> None:
    """Send a statement again and again while another process holds the lock."""
    while True:
        started = monotonic()
        try:
            cursor.execute(statement)
            return
        except Exception as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            now = monotonic()
            if code != sqlite3.SQLITE_BUSY or now >= until:
                raise
        # where SQLite does not wait by itself (a switch of the journal), neither do we spin
        if now - started < _SLICE_MS / 2000:
            time.sleep(_SLICE_MS / 1000)


def _switch_journal(dbapi: Any, cursor: Any, options: DatabaseOptions, until: float) -> None:
    """Change a file's journal mode, which needs it alone; others may be at the same."""
    raw = _sqlite3_connection(dbapi)
    raw.execute(f"PRAGMA busy_timeout = {_SLICE_MS}")
    _insist(cursor, f"PRAGMA journal_mode = {options.journal_mode}", until)
    cursor.fetchall()
    raw.execute(f"PRAGMA busy_timeout = {math.ceil((options.lock_timeout or 0.0) * 1000)}")


def _sqlite3_connection(dbapi: Any) -> Any:
    """The sqlite3 connection, also an aiosqlite one's; it may be looked at from any thread."""
    raw = getattr(dbapi, "driver_connection", dbapi)
    return getattr(raw, "_connection", raw)


def is_memory(url: URL) -> bool:
    """Whether the URL names a private in-memory database."""
    database = url.database
    if database in (None, "", ":memory:", "file::memory:"):
        return True
    return "mode" in url.query and url.query["mode"] == "memory"


def shared_memory(url: URL) -> URL:
    """The same in-memory database for every connection of this process.

    A plain ``:memory:`` is private to its connection. SQLite's memdb file system (3.36+) shares
    one by name, with ordinary locks instead of shared-cache's table locks.
    """
    name = f"file:/hermetic-{os.getpid()}-{next(_memories)}"
    return url.set(database=name, query={"vfs": "memdb", "uri": "true"})
