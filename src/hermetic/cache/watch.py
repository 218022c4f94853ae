"""What an engine's transactions write, and the announcing of their commits.

It stands in front of ``execution``, on the same methods of the dialect, and only on the engines of
Databases that have a cache.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from sqlalchemy import TextClause
from sqlalchemy.sql.selectable import TextualSelect
from sqlalchemy.util import await_only

from ..clock import monotonic
from ..connection import ConnectionRecord
from ..dialects.classify import classify
from ..errors import ScopeControls
from ..execution import known
from ..registry import Scope
from ..touched import EVERYTHING, TOUCHED, Touched, name_of, touched_by, watched_engines
from ..vote import undo, vote_of
from .away import CacheAway
from .filling import settle
from .raw_sql import locks_by, reach_of_text
from .replay import Cursor
from .settings import Effect, effect_of, make_other, was_made_other
from .store import Commit, Store
from .tables import UNKNOWN, Following, Reach, is_foreign, reach_of

# the execution option by which a statement's rows are asked for, and how many statements are
# remembered with what they reach
FILL = "_hermetic_fill"
_REMEMBERED = 2000
# the end of what was prepared: it was decided elsewhere
_DECIDED = ("COMMIT PREPARED", "XA COMMIT")


def called(store: Store, scope: Scope, late: Any, function: Callable[..., Any], *args: Any) -> Any:
    """A word with the store, in the way of the scope's world.

    :param late: what is said where the loop waits for no longer.
    """
    if not (store.blocking and scope.asynchronous):
        return function(*args)
    work = store.submitted(function, *args)
    try:
        return work.result() if _is_done(work, store.patience, scope) else late
    finally:
        work.cancel()  # where it has not begun


def _is_done(work: Future[Any], seconds: float, scope: Scope | None = None) -> bool:
    """Wait for work in a loop: whether it is done by then, or by the scope's deadline."""
    if scope is not None and scope.deadline is not None:
        seconds = max(0.0, min(seconds, scope.deadline - monotonic()))
    loop = asyncio.get_running_loop()
    woken: asyncio.Future[None] = loop.create_future()

    def wake(_: Future[Any]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, woken)

    work.add_done_callback(wake)
    # neither a cancellation nor the time reaches the work
    await_only(asyncio.wait((woken,), timeout=seconds))
    return work.done()


class Reaches:
    """What statements reach, by their text: they come again."""

    def __init__(self, following: Following, family: Any, dialect_name: str) -> None:
        self.following = following
        self._family = family
        self._dialect = dialect_name
        self._known: dict[str, Reach] = {}
        self._effects: dict[str, Effect] = {}
        # as of which foreign keys
        self._generation: object = None

    def of(self, sql: str, compiled: Any) -> Reach:
        """What a statement reaches that is about to be sent."""
        generation = self.following.generation
        found = self._known.get(sql)
        if found is None or self._generation != generation:
            if len(self._known) >= _REMEMBERED or self._generation != generation:
                self._known = {}
            known, self._generation = self._known, generation
            found = known[sql] = self._found(sql, compiled)
        return found

    def effect_of(self, sql: str) -> Effect:
        """What a statement does besides reading and writing rows."""
        found = self._effects.get(sql)
        if found is None:
            if len(self._effects) >= _REMEMBERED:
                self._effects.clear()
            found = self._effects[sql] = effect_of(sql, self._family)
        return found

    def _found(self, sql: str, compiled: Any) -> Reach:
        known = self._said(sql, compiled)
        locks = known.locks or locks_by(sql)
        if self._family.hides(sql):
            return UNKNOWN._replace(locks=locks)  # it runs code that the text does not show
        writes = self.following.written(known.writes, deletes=known.deletes)
        if known.deletes and not self.following.knows(known.writes):
            # nobody has told of the foreign keys that follow it
            writes = frozenset({EVERYTHING})
        return known._replace(writes=writes, reads=self.following.read(known.reads), locks=locks)

    def _said(self, sql: str, compiled: Any) -> Reach:
        """What the statement says of itself."""
        statement = None if compiled is None else core_of(compiled)
        if isinstance(statement, TextualSelect):
            statement = statement.element
        if isinstance(statement, TextClause):
            return reach_of_text(statement.text, self._dialect)
        if statement is None or getattr(statement, "is_ddl", False):
            return reach_of_text(sql, self._dialect)
        if not is_foreign(statement):
            return reach_of(statement, self.following)
        return reach_of_text(sql, self._dialect)._replace(sure=False, certain=False)


def core_of(compiled: Any) -> Any:
    """The statement that was compiled, with all that SQLAlchemy's ORM has put into it."""
    found = getattr(getattr(compiled, "compile_state", None), "statement", None)
    return compiled.statement if found is None else found


class Watch:
    """Stands around the methods of one engine's dialect."""

    def __init__(
        self,
        store: Store,
        reaches: Reaches,
        engine: Any,
        execution: Any,
        *,
        reader: bool,
        restores: bool,
    ) -> None:
        self._store = store
        # what code in the server may have left is undone when a connection comes back
        self._restores = restores
        # its connections are read-only from birth
        self._reader = reader
        self._reaches = reaches
        self._execution = execution
        dialect = engine.dialect
        self._asynchronous = dialect.is_async
        self._send = dialect.do_execute
        self._send_many = dialect.do_executemany
        self._send_plain = dialect.do_execute_no_params
        self._commit = dialect.do_commit
        self._rollback = dialect.do_rollback
        dialect.hermetic_announce = self.announce
        for name in ("do_execute", "do_executemany", "do_execute_no_params", "do_commit",
                     "do_rollback"):  # fmt: skip
            setattr(dialect, name, getattr(self, name))
        watched_engines.add(engine)

    # ------------------------------------------------------------ statements

    def do_execute(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        if type(cursor) is Cursor:
            cursor.ask(statement, parameters, context)
            return
        send = partial(self._send, cursor, statement, parameters, context)
        self._watched(send, cursor, statement, parameters, context)

    def do_executemany(
        self, cursor: Any, statement: str, parameters: Any, context: Any = None
    ) -> None:
        send = partial(self._send_many, cursor, statement, parameters, context)
        self._watched(send, cursor, statement, parameters, context)

    def do_execute_no_params(self, cursor: Any, statement: str, context: Any = None) -> None:
        if type(cursor) is Cursor:
            cursor.ask(statement, None, context)
            return
        send = partial(self._send_plain, cursor, statement, context)
        self._watched(send, cursor, statement, None, context)

    def _watched(
        self, send: Callable[[], None], cursor: Any, statement: str, parameters: Any, context: Any
    ) -> None:
        record = None if context is None else known(context.root_connection)
        if record is None:
            send()
            return
        options = context.execution_options
        fill = options.get(FILL) if options else None
        info = context.root_connection.info
        # what is read-only from birth may have been told otherwise
        writes = not self._reader or was_made_other(info, record.scope)
        effect = self._reaches.effect_of(statement)
        if effect.sets or (effect.hides and fill is None):
            # a read that runs such code has named what it depends on
            make_other(info, record, for_good=effect.hides and not self._restores)
        names = self._written(statement, context, options) if writes else frozenset()
        plain = record.transaction is None or record.transaction.plain
        ends = writes and (effect.ends or (plain and effect.saves))
        if not names and not ends:
            send()
            if fill is not None:
                fill.take(cursor, statement, context)
            return
        touched = touched_by(info, record, make=True)
        assert touched is not None
        touched.names |= names
        touched.by_hand = touched.by_hand or ends
        decided = statement.lstrip()[:15].upper().startswith(_DECIDED)
        if plain and not touched.by_hand:
            del info[TOUCHED]
            self._alone(send, names, record.scope, decided=decided)
        elif touched.by_hand and touched.names:
            self._alone(send, frozenset(touched.names), record.scope, decided=decided)
        else:
            send()

    def _written(self, statement: str, context: Any, options: Any) -> frozenset[str]:
        names = self._reaches.of(statement, context.compiled).writes
        declared = options.get("touches") if options else None
        if declared is None:
            return names
        several = (declared,) if isinstance(declared, str) else declared
        given = frozenset(map(name_of, several))
        # what is declared of a statement that nobody can read is all that it touches
        told = given if EVERYTHING in names else names | given
        return self._reaches.following.written(told, deletes=True)

    def _alone(
        self,
        send: Callable[[], None],
        names: frozenset[str],
        scope: Scope | None,
        *,
        decided: bool,
    ) -> None:
        """A statement that is committed by being executed, or commits what was before it."""
        try:
            commit = self._begin(names, scope)
        except CacheAway:
            if not decided:
                raise
            commit = Commit(names, None)
        try:
            send()
        except BaseException as error:
            self._failed(commit, error, sent=not isinstance(error, ScopeControls))
            raise
        self._finish(commit)

    # ------------------------------------------------------------ commits

    def do_commit(self, dbapi: Any) -> None:
        """:raises CacheAway: it could not be announced."""
        record = known(dbapi)
        touched = None if record is None else touched_by(dbapi.info, record)
        if record is None or touched is None or not touched.names:
            self._commit(dbapi)
            return
        transaction = record.transaction
        vote = vote_of(record.scope)
        decided = vote is not None and vote.prepared
        struck = self._announced_late(dbapi, record, touched, decided=decided)
        try:
            self._commit(dbapi)
        except BaseException as error:
            sent = transaction is None or transaction.commit_sent
            sent = sent and not getattr(transaction, "committed", False)
            for commit in touched.announced:
                self._failed(commit, error, sent=sent, decided=decided)
            raise
        finally:
            dbapi.info.pop(TOUCHED, None)
        for commit in touched.announced:
            self._finish(commit)
        if struck is not None:
            raise struck

    def announce(self, dbapi: Any) -> None:
        """Announce the commit of the transaction that is open on a connection.

        :raises CacheAway: it could not be.
        """
        record = known(dbapi)
        touched = touched_by(dbapi.info, record)
        if record is not None and touched is not None:
            self._announce(touched, record.scope)

    def _announce(self, touched: Touched, scope: Scope | None) -> None:
        rest = _unannounced(touched)
        if rest:
            touched.announced.append(self._begin(rest, scope))

    def _announced_late(
        self, dbapi: Any, record: ConnectionRecord, touched: Touched, *, decided: bool
    ) -> BaseException | None:
        """Announce what is not announced yet.

        :param decided: it will be committed, whatever happens here.
        :return: an interrupt that came where it is decided.
        """
        try:
            self._announce(touched, record.scope)
        except BaseException as struck:
            if decided:
                touched.announced.append(Commit(_unannounced(touched), None))
                return None if isinstance(struck, Exception) else struck
            # SQLAlchemy takes a transaction whose commit raised for ended, and sends nothing more
            undo(dbapi, record.scope, self._execution._rollback)
            if record.transaction is not None:
                record.transaction.over = True
            self._take_back(dbapi, touched)
            raise
        return None

    def do_rollback(self, dbapi: Any) -> None:
        self._rollback(dbapi)
        if known(dbapi) is None:
            return
        touched: Touched | None = dbapi.info.get(TOUCHED)
        # a forked child's is not sent, and its transaction is not over: it is the parent's
        if touched is not None and touched.announced and touched.transaction.over:
            self._take_back(dbapi, touched)

    def _take_back(self, dbapi: Any, touched: Touched) -> None:
        dbapi.info.pop(TOUCHED, None)
        for commit in touched.announced:
            self._finish_soon(commit)

    def _begin(self, names: frozenset[str], scope: Scope | None) -> Commit:
        store = self._store
        if not (store.blocking and self._asynchronous):
            return store.begin(names)
        work: Future[Commit] = store.submitted(store.begin, names)
        try:
            done = _is_done(work, store.patience, scope)
        except BaseException:
            work.cancel()
            work.add_done_callback(store.withdraw)
            raise
        if done:
            return work.result()
        work.cancel()
        work.add_done_callback(store.withdraw)
        return store.begin_late(names)

    def _finish(self, commit: Commit) -> None:
        store = self._store
        if store.blocking and self._asynchronous:
            _is_done(store.submitted(store.finish, commit), store.patience)
        else:
            store.finish(commit)

    def _failed(
        self, commit: Commit, error: BaseException, *, sent: bool, decided: bool = False
    ) -> None:
        """A commit that raised: it may have been carried out, or may yet be."""
        fault = classify(error) if isinstance(error, Exception) else None
        if decided or (sent and (fault is None or fault.ambiguous_at_commit)):
            self._store.lost(commit)
        else:
            self._finish_soon(commit)

    def _finish_soon(self, commit: Commit) -> None:
        """Without a wait: an error is on its way out."""
        if self._store.blocking and self._asynchronous:
            self._store.submitted(self._store.finish, commit)
        else:
            self._store.finish(commit)


def _unannounced(touched: Touched) -> frozenset[str]:
    """What it has written since it was announced."""
    return frozenset(touched.names).difference(*(each.names for each in touched.announced))


def touched_in(record: ConnectionRecord | None) -> Any:
    """What the transaction that is open on a connection has written."""
    if record is None or record.transaction is None or record.pool_record is None:
        return None
    held: Any = record.pool_record()
    return None if held is None else touched_by(held.info, record)
