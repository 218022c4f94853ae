"""Reads of any form out of the cache: SQLAlchemy's own way, over a cursor that was filled."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from sqlalchemy import orm

from ..registry import Scope
from .reading import Asked, answer, key_of, look_with, ready
from .reads import Reads
from .repeating import again, identity_of, remember
from .replay import Cursor, NotCached, connection_over
from .store import Entry
from .watch import FILL
from .wishes import Wish

_METHOD = "_connection_for_bind"
# with how many values a statement may be remembered: long lists would take a lot of memory
_MOST_VALUES = 100


class Fill:
    """Takes the rows of one statement on their way to its result."""

    def __init__(self, sql: str) -> None:
        self._sql = sql
        self.found: Any = None

    def take(self, cursor: Any, statement: str, context: Any) -> None:
        """Fetch all rows, and have the result take them from here.

        Statements that load more for it have the same options.
        """
        if self.found is not None or statement != self._sql or cursor.description is None:
            return
        rows = list(cursor.fetchall())
        described = tuple([tuple(column)[:7] for column in cursor.description])
        self.found = (described, rows)
        context.cursor = Cursor(cursor.description, rows)
        cursor.close()


class _Attempt:
    """One statement, which is asked of the cache, and then of the database."""

    def __init__(
        self, reads: Reads, session: Any, scope: Scope, plain: Callable[..., Any], wish: Wish
    ) -> None:
        self.reads = reads
        self.session = session
        self.scope = scope
        self.plain = plain
        self.wish = wish
        self.asked: Asked | None = None
        self.sql = ""
        self.parameters: Any = None
        self.context: Any = None

    def from_cache(
        self, statement: Any, args: Any, kwargs: Any, found: Entry | None, identity: Any = None
    ) -> Any:
        """The result, of rows that are there; of ``found``, or of what is in the cache.

        :param identity: as what it is remembered how this was done.
        :raises NotCached: there are none.
        """
        session = self.session
        asked = self._look if found is None else partial(_given, found)
        connection = connection_over(session.bind, asked)

        def connection_for(bind: Any, *more: Any, **named: Any) -> Any:
            if session._flushing or bind is not session.bind:
                return orm.Session._connection_for_bind(session, bind, *more, **named)
            return connection

        with _connecting_by(session, connection_for):
            if identity is None:
                return self.plain(statement, *args, **kwargs)
            whole = {name: value for name, value in kwargs.items() if name != "_scalar_result"}
            result = self.plain(statement, *args, **whole)
        self._remember(identity, result)
        return result.scalar() if kwargs.get("_scalar_result") else result

    def _remember(self, identity: Any, result: Any) -> None:
        few = self.parameters is None or len(self.parameters) <= _MOST_VALUES
        if few and self.asked is not None and identity not in self.reads.repeated:
            key = key_of(self.reads, self.scope, self.asked, self.parameters)
            remember(self.session, self.reads, identity, self.asked, key, self.context, result)

    def _look(self, sql: Any, parameters: Any, context: Any) -> Any:
        """The rows of a statement, in the form in which it would be sent."""
        names = self._names(sql, context)
        if names is None or context.executemany:
            raise NotCached
        driver = f"{context.dialect.name}+{context.dialect.driver}"
        self.asked = Asked(self.reads, "all", driver, sql, names)
        self.sql, self.parameters, self.context = sql, parameters, context
        entry = look_with(self.reads, self.scope, self.asked, parameters)
        if entry is None:
            raise NotCached
        return _given(entry, sql, parameters, context)

    def _names(self, sql: Any, context: Any) -> frozenset[str] | None:
        """The tables that it depends on; ``None`` where it is not to be cached."""
        reads, wish = self.reads, self.wish
        reach = reads.reaches.of(sql, context.compiled)
        if reach.locks:
            reads.store.counters["skipped: locks"] += 1
            return None
        if not wish.named:
            # nobody has said so of this statement: it has to be beyond doubt
            sure = reach.sure and reach.certain and not reach.writes
            return reach.reads if sure and reach.reads <= reads.tables else None
        if not wish.depends and (not reach.sure or reach.writes):
            reads.doubt(sql)
            return None
        return reach.reads | reads.following.read(wish.depends)

    def from_database(self, statement: Any, args: Any, kwargs: Any) -> Any:
        if self.asked is None:
            return self.plain(statement, *args, **kwargs)
        results: list[Any] = []

        def run() -> Any:
            fill = Fill(self.sql)
            options = {**(kwargs.get("execution_options") or {}), FILL: fill}
            results.append(self.plain(statement, *args, **{**kwargs, "execution_options": options}))
            return fill.found

        found = answer(self.reads, self.scope, self.asked, self.parameters, run)
        if results:
            return results[0]
        assert isinstance(found, Entry)
        return self.from_cache(statement, args, kwargs, found)


def _given(entry: Entry, sql: Any, parameters: Any, context: Any) -> Any:
    return entry.description, entry.taken()


def replayed(
    session: Any,
    reads: Reads,
    plain: Callable[..., Any],
    statement: Any,
    wish: Wish | None,
    args: Any,
    kwargs: Any,
) -> Any:
    """What a statement finds, as SQLAlchemy's result of it.

    :param wish: ``None`` for one that is not to be cached, inside another one that is.
    """
    if wish is None:
        with _connecting_by(session, None):
            return plain(statement, *args, **kwargs)
    if not session.dispatch.do_orm_execute:
        return _answered(session, reads, plain, statement, wish, args, kwargs)
    added = kwargs.get("_add_event")
    last = _Answering(reads, wish, added)
    return plain(statement, *args, **{**kwargs, "_add_event": last})


def _answered(
    session: Any,
    reads: Reads,
    plain: Callable[..., Any],
    statement: Any,
    wish: Wish,
    args: Any,
    kwargs: Any,
) -> Any:
    scope = ready(session)
    identity = None
    # of Redis it is the word with it that takes the time
    if statement is not None and not reads.store.blocking and not is_replaying(session):
        identity = identity_of(session, scope, wish, statement, args, kwargs)
    if identity is not None:
        found = again(reads, scope, identity, statement)
        if found is not None:
            return found.scalar() if kwargs.get("_scalar_result") else found
    attempt = _Attempt(reads, session, scope, plain, wish)
    try:
        return attempt.from_cache(statement, args, kwargs, None, identity)
    except NotCached:
        with _connecting_by(session, None):
            return attempt.from_database(statement, args, kwargs)


class _Answering:
    """The last of those who are told that a statement is about to be executed: it looks into the
    cache and asks the database, so that the others are told once.
    """

    def __init__(self, reads: Reads, wish: Wish, added: Any) -> None:
        """:param added: whom SQLAlchemy itself would have told as the last."""
        self._reads, self._wish, self._added = reads, wish, added

    def __call__(self, state: Any) -> Any:
        found = None if self._added is None else self._added(state)
        if found:
            return found

        def again(statement: Any, **options: Any) -> Any:
            return state.invoke_statement(**options)

        return _answered(state.session, self._reads, again, None, self._wish, (), {})


def is_answered(kwargs: Any) -> bool:
    """Whether a statement is one that is executed again by who was told of it, and of which the
    cache will be asked, or is being asked.
    """
    state = kwargs.get("_parent_execute_state")
    return state is not None and any(type(each) is _Answering for each in state._events_todo)


def is_replaying(session: Any) -> bool:
    """Whether a statement of this session is being answered without a connection."""
    return _METHOD in session.__dict__


@contextlib.contextmanager
def _connecting_by(session: Any, connection_for: Any) -> Iterator[None]:
    """Have a session get its connections by this, or by itself again: rows that are there may make
    SQLAlchemy load others, which are not.
    """
    # in the session's own dictionary it goes before SQLAlchemy's method
    own = session.__dict__
    outer = own.pop(_METHOD, None)
    if connection_for is not None:
        own[_METHOD] = connection_for
    try:
        yield
    finally:
        own.pop(_METHOD, None)
        if outer is not None:
            own[_METHOD] = outer
