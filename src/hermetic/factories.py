"""SQLAlchemy's factories and registries, by the same names, giving hermetic's sessions."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from threading import local
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from sqlalchemy import orm
from sqlalchemy.ext import asyncio as sa_asyncio

from .async_session import AsyncSession
from .errors import Outcome
from .events import logger
from .loan import Loan
from .owner import Task, current_task
from .redaction import redacted
from .registry import Scope
from .release import IS_2_0
from .session import Session
from .strings import AsyncStringScopedSession, StringScopedSession

_S = TypeVar("_S", bound=orm.Session)
_A = TypeVar("_A", bound=sa_asyncio.AsyncSession)
_T = TypeVar("_T")
_F = TypeVar("_F", bound=Callable[..., Any])


class sessionmaker(orm.sessionmaker[_S]):
    """``sqlalchemy.orm.sessionmaker``, making hermetic.Session.

    It takes SQLAlchemy's arguments, at once or later through ``configure``, and differs in one
    default: ``expire_on_commit=False``, so that what a session loaded can be read after it.
    """

    @overload
    def __init__(
        self,
        bind: Any = None,
        *,
        class_: type[_S],
        autoflush: bool = True,
        expire_on_commit: bool = False,
        info: dict[Any, Any] | None = None,
        **kw: Any,
    ) -> None: ...
    @overload
    def __init__(
        self: sessionmaker[Session],
        bind: Any = None,
        *,
        autoflush: bool = True,
        expire_on_commit: bool = False,
        info: dict[Any, Any] | None = None,
        **kw: Any,
    ) -> None: ...
    def __init__(
        self,
        bind: Any = None,
        *,
        class_: Any = Session,
        autoflush: bool = True,
        expire_on_commit: bool = False,
        info: dict[Any, Any] | None = None,
        **kw: Any,
    ) -> None:
        super().__init__(
            bind,
            class_=class_,
            autoflush=autoflush,
            expire_on_commit=expire_on_commit,
            info=info,
            **kw,
        )

    def __repr__(self) -> str:
        return _described(self, self.class_, self.kw)


class async_sessionmaker(sa_asyncio.async_sessionmaker[_A]):
    """``sqlalchemy.ext.asyncio.async_sessionmaker``, making hermetic.AsyncSession.

    It differs in one default: ``expire_on_commit=False``.
    """

    @overload
    def __init__(
        self,
        bind: Any = None,
        *,
        class_: type[_A],
        autoflush: bool = True,
        expire_on_commit: bool = False,
        info: dict[Any, Any] | None = None,
        **kw: Any,
    ) -> None: ...
    @overload
    def __init__(
        self: async_sessionmaker[AsyncSession],
        bind: Any = None,
        *,
        autoflush: bool = True,
        expire_on_commit: bool = False,
        info: dict[Any, Any] | None = None,
        **kw: Any,
    ) -> None: ...
    def __init__(
        self,
        bind: Any = None,
        *,
        class_: Any = AsyncSession,
        autoflush: bool = True,
        expire_on_commit: bool = False,
        info: dict[Any, Any] | None = None,
        **kw: Any,
    ) -> None:
        super().__init__(
            bind,
            class_=class_,
            autoflush=autoflush,
            expire_on_commit=expire_on_commit,
            info=info,
            **kw,
        )

    def __repr__(self) -> str:
        return _described(self, self.class_, self.kw)


def _described(factory: object, class_: type[Any], kw: dict[str, Any]) -> str:
    """A factory in words; SQLAlchemy's own show the URL of the bind with its query."""
    shown = []
    for name, value in kw.items():
        engine = getattr(value, "engine", None)
        text = repr(value) if engine is None else redacted(engine.url)
        shown.append(f"{name}={text}")
    return f"{type(factory).__name__}(class_={class_.__name__}, {', '.join(shown)})"


class _Kept:
    """A thread's session. A thread that ends lets go of its locals, and of this: it is closed."""

    def __init__(self, session: Any, forget: Callable[[Any, Task | None], None]) -> None:
        self.session = session
        self.process = os.getpid()
        self._forget = forget

    def __del__(self) -> None:
        # a forked child must not touch the socket, which is its parent's
        if self.process == os.getpid() and self.session.in_transaction():
            self._forget(self.session, None)


class OwnerRegistry:
    """One session for each thread, and for each task of an event loop.

    A session that nobody removed is closed when its thread or task ends: it never keeps its
    connection for longer than whoever opened it lives. A forked child starts with none.
    """

    def __init__(
        self, createfunc: Callable[[], Any], forget: Callable[[Any, Task | None], None]
    ) -> None:
        self.createfunc = createfunc
        self._forget = forget
        self._threads = local()
        self._tasks: weakref.WeakKeyDictionary[Task, Any] = weakref.WeakKeyDictionary()

    def __call__(self) -> Any:
        task = current_task()
        if task is None:
            kept = self._kept()
            if kept is None:
                self._threads.kept = kept = _Kept(self.createfunc(), self._forget)
            return kept.session
        session = self._tasks.get(task)
        if session is None:
            session = self._tasks[task] = self.createfunc()
            task.add_done_callback(self._task_is_done)
        return session

    def has(self) -> bool:
        task = current_task()
        return self._kept() is not None if task is None else task in self._tasks

    def set(self, obj: Any) -> None:
        task = current_task()
        if task is None:
            self.clear()
            self._threads.kept = _Kept(obj, self._forget)
            return
        if task not in self._tasks:
            task.add_done_callback(self._task_is_done)
        self._tasks[task] = obj

    def clear(self) -> None:
        task = current_task()
        if task is not None:
            self._tasks.pop(task, None)
            return
        kept = self._threads.__dict__.pop("kept", None)
        if kept is not None:
            # it was removed, which is the remover's to close
            kept.process = 0

    def _kept(self) -> _Kept | None:
        kept: _Kept | None = getattr(self._threads, "kept", None)
        if kept is not None and kept.process != os.getpid():
            _inherited.append(kept)  # of the parent process: kept, not closed and not used
            return None
        return kept

    def _task_is_done(self, task: Task) -> None:
        session = self._tasks.pop(task, None)
        if session is not None:
            self._forget(session, task)


_inherited: list[_Kept] = []


class _ScopeNames:
    """What a session offers of its scope, proxied as SQLAlchemy's own methods are."""

    if TYPE_CHECKING:

        @property
        def _proxied(self) -> Any: ...

    @property
    def scope(self) -> Scope | None:
        """As Session.scope."""
        scope: Scope | None = self._proxied.scope
        return scope

    @property
    def outcome(self) -> Outcome | None:
        """As Session.outcome."""
        outcome: Outcome | None = self._proxied.outcome
        return outcome

    @property
    def position(self) -> str | None:
        """As Session.position."""
        position: str | None = self._proxied.position
        return position

    @property
    def tenant(self) -> str | None:
        """As Session.tenant."""
        tenant: str | None = self._proxied.tenant
        return tenant

    @property
    def cache_hits(self) -> int:
        """As Session.cache_hits."""
        hits: int = self._proxied.cache_hits
        return hits

    def insert_many(self, entity: Any, rows: Any, **options: Any) -> Any:
        """As Session.insert_many; awaited with an AsyncSession, as the next two."""
        return self._proxied.insert_many(entity, rows, **options)

    def update_many(self, entity: Any, rows: Any, **options: Any) -> Any:
        """As Session.update_many."""
        return self._proxied.update_many(entity, rows, **options)

    def delete_many(self, entity: Any, rows: Any, **options: Any) -> Any:
        """As Session.delete_many."""
        return self._proxied.delete_many(entity, rows, **options)

    def rollback_only(self) -> None:
        """As Session.rollback_only."""
        self._proxied.rollback_only()

    def on_commit(self, function: _F, *, key: object = None) -> _F:
        """As Session.on_commit."""
        self._proxied.on_commit(function, key=key)
        return function

    def on_rollback(self, function: _F, *, key: object = None) -> _F:
        """As Session.on_rollback."""
        self._proxied.on_rollback(function, key=key)
        return function

    def before_commit(self, function: _F, *, key: object = None) -> _F:
        """As Session.before_commit."""
        self._proxied.before_commit(function, key=key)
        return function

    def lend(self) -> Loan:
        """As Session.lend."""
        loan: Loan = self._proxied.lend()
        return loan


class scoped_session(_ScopeNames, StringScopedSession[_S]):
    """``sqlalchemy.orm.scoped_session``: a session per thread, and per task under asyncio.

    :param session_factory: what makes the sessions, as ``sessionmaker(bind=engine)``.
    :param scopefunc: as SQLAlchemy's: what tells the callers apart, in place of thread and task.
    """

    def __init__(
        self,
        session_factory: Callable[..., _S],
        scopefunc: Callable[[], Any] | None = None,
    ) -> None:
        factory: Any = session_factory
        super().__init__(factory, scopefunc)
        if scopefunc is None:
            self.registry: Any = OwnerRegistry(session_factory, _close_forgotten)

    @overload
    def rows(
        self,
        statement: Any,
        params: Any = None,
        *,
        into: type[_T],
        stream: Literal[False] = False,
        **more: Any,
    ) -> list[_T]: ...
    @overload
    def rows(
        self,
        statement: Any,
        params: Any = None,
        *,
        into: type[_T],
        stream: Literal[True],
        **more: Any,
    ) -> Generator[_T]: ...
    def rows(
        self,
        statement: Any,
        params: Any = None,
        *,
        into: type[_T],
        stream: bool = False,
        **more: Any,
    ) -> Any:
        """As Session.rows."""
        session: Any = self._proxied
        return session.rows(statement, params, into=into, stream=stream, **more)

    if IS_2_0 and not TYPE_CHECKING:  # of SQLAlchemy's own since 2.1

        def delete_all(self, instances):
            self._proxied.delete_all(instances)

        def merge_all(self, instances, **more):
            return self._proxied.merge_all(instances, **more)

    def __repr__(self) -> str:
        inside = repr(self.registry()) if self.registry.has() else "no session here"
        return f"<{type(self).__name__}: {inside}>"


class async_scoped_session(_ScopeNames, AsyncStringScopedSession[_A]):
    """``sqlalchemy.ext.asyncio.async_scoped_session``, with the running task as default scope.

    A session that its task did not ``await remove()`` is closed when the task is done.
    """

    def __init__(
        self,
        session_factory: Callable[..., _A],
        scopefunc: Callable[[], Any] | None = None,
    ) -> None:
        factory: Any = session_factory
        super().__init__(factory, scopefunc or current_task)
        if scopefunc is None:
            self.registry: Any = OwnerRegistry(session_factory, _aclose_forgotten)

    @overload
    def rows(
        self,
        statement: Any,
        params: Any = None,
        *,
        into: type[_T],
        stream: Literal[False] = False,
        **more: Any,
    ) -> Coroutine[Any, Any, list[_T]]: ...
    @overload
    def rows(
        self,
        statement: Any,
        params: Any = None,
        *,
        into: type[_T],
        stream: Literal[True],
        **more: Any,
    ) -> AsyncGenerator[_T]: ...
    def rows(
        self,
        statement: Any,
        params: Any = None,
        *,
        into: type[_T],
        stream: bool = False,
        **more: Any,
    ) -> Any:
        """As AsyncSession.rows."""
        session: Any = self._proxied
        return session.rows(statement, params, into=into, stream=stream, **more)

    def __repr__(self) -> str:
        inside = repr(self.registry()) if self.registry.has() else "no session here"
        return f"<{type(self).__name__}: {inside}>"


_closings: set[asyncio.Task[None]] = set()


def _close_forgotten(session: orm.Session, task: Task | None) -> None:
    try:
        session.close()
    except Exception:
        logger.exception("closing the forgotten session of %r failed", task)


def _aclose_forgotten(session: sa_asyncio.AsyncSession, task: Task | None) -> None:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return  # the loop is gone, and its connections with it
    closing = loop.create_task(session.close())
    _closings.add(closing)
    closing.add_done_callback(_closings.discard)
