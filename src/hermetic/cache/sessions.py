"""The session classes of scopes whose Database has a cache."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from sqlalchemy import Select, orm
from sqlalchemy.ext import asyncio as sa_asyncio

from ..async_session import AsyncSession
from ..fast.lean import ASIDE
from ..session import Session, asks_nothing
from . import quick
from .reads import Reads
from .replaying import is_answered, is_replaying, replayed
from .wishes import wish_of


class CachedSession(Session):
    """A Session that looks into the cache before it asks the database."""

    _reads: Reads
    # SQLAlchemy's connection, once somebody was given it, and may have changed it
    _given_out: Any = None

    if not TYPE_CHECKING:  # the signatures are SQLAlchemy's

        @functools.wraps(Session.get)
        def get(self, entity: Any, ident: Any, **more: Any) -> Any:
            if asks_nothing(more) and self._reads.has(entity):
                found = quick.get(self, self._reads, entity, ident)
                if found is not ASIDE:
                    return found
            return super().get(entity, ident, **more)

        @functools.wraps(Session.execute)
        def execute(self, statement: Any, *args: Any, **more: Any) -> Any:
            if type(statement) is Select and not args:
                found = quick.select(self, self._reads, statement, more, quick.executed)
                if found is not ASIDE:
                    return found
            return super().execute(statement, *args, **more)

        @functools.wraps(Session.scalars)
        def scalars(self, statement: Any, *args: Any, **more: Any) -> Any:
            if type(statement) is Select and not args:
                found = quick.select(self, self._reads, statement, more, quick.scalars)
                if found is not ASIDE:
                    return found
            return super().scalars(statement, *args, **more)

        @functools.wraps(Session.scalar)
        def scalar(self, statement: Any, *args: Any, **more: Any) -> Any:
            if type(statement) is Select and not args:
                found = quick.select(self, self._reads, statement, more, quick.executed)
                if found is not ASIDE:
                    return found.scalar()
            return super().scalar(statement, *args, **more)

        @functools.wraps(Session.connection)
        def connection(self, *args: Any, **more: Any) -> Any:
            found = self._given_out = super().connection(*args, **more)
            return found

    def _execute_internal(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
        if is_answered(kwargs):
            return super()._execute_internal(statement, *args, **kwargs)
        wish = wish_of(self._reads, statement, kwargs.get("execution_options"))
        if self._scope is None or self._flushing or (wish is None and not is_replaying(self)):
            return super()._execute_internal(statement, *args, **kwargs)
        plain = super()._execute_internal
        return replayed(self, self._reads, plain, statement, wish, args, kwargs)


class AsyncCachedSession(AsyncSession):
    """An AsyncSession that looks into the cache before it asks the database."""

    if not TYPE_CHECKING:  # the signatures are SQLAlchemy's

        @functools.wraps(AsyncSession.get)
        async def get(self, entity: Any, ident: Any, **more: Any) -> Any:
            session: Any = self.sync_session
            if not asks_nothing(more) or not session._reads.has(entity):
                return await super().get(entity, ident, **more)
            found = quick.got_at_once(session, session._reads, entity, ident)
            if found is not ASIDE:
                return found
            return await sa_asyncio.AsyncSession.get(self, entity, ident)

        @functools.wraps(AsyncSession.execute)
        async def execute(self, statement: Any, *args: Any, **more: Any) -> Any:
            return await self._read("execute", statement, args, more)

        @functools.wraps(AsyncSession.scalars)
        async def scalars(self, statement: Any, *args: Any, **more: Any) -> Any:
            return await self._read("scalars", statement, args, more)

        @functools.wraps(AsyncSession.scalar)
        async def scalar(self, statement: Any, *args: Any, **more: Any) -> Any:
            return await self._read("scalar", statement, args, more)

    async def _read(self, name: str, statement: Any, args: Any, more: Any) -> Any:
        session: Any = self.sync_session
        if wish_of(session._reads, statement, more.get("execution_options")) is None:
            return await getattr(super(), name)(statement, *args, **more)
        if type(statement) is Select and not args:
            result_of = quick.scalars if name == "scalars" else quick.executed
            found = quick.selected_at_once(session, session._reads, statement, more, result_of)
            if found is not ASIDE:
                return found.scalar() if name == "scalar" else found
        # past the way to the driver: what is sought may be in the cache, or waited for
        return await getattr(sa_asyncio.AsyncSession, name)(self, statement, *args, **more)


def maker_of(reads: Reads) -> Any:
    """What makes sessions for the scopes of a Database with this cache."""

    def make(*args: Any, **kwargs: Any) -> CachedSession:
        session = CachedSession.__new__(CachedSession)
        orm.Session.__init__(session, *args, **kwargs)
        session._reads = reads
        return session

    return make
