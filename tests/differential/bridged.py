"""Cases in the world of asyncio: the same functions, in a greenlet of SQLAlchemy's, with a session
whose methods are those of the AsyncSession.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.util import await_only

import hermetic
from tests.differential.ground import Ground

_AWAITED = frozenset(
    (
        *("execute", "scalar", "scalars", "get", "get_one", "flush", "refresh", "delete", "merge"),
        *("commit", "rollback", "close", "reset", "connection"),
    )
)


class Bridged:
    """An AsyncSession that is used without `await`."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.sync_session = session.sync_session

    def __getattr__(self, name: str) -> Any:
        if name == "begin_nested":
            return self._begin_nested
        if name not in _AWAITED:
            # also what only the sync session has: `query`, the transaction
            return getattr(self.sync_session, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            return await_only(getattr(self._session, name)(*args, **kwargs))

        return call

    def __contains__(self, thing: Any) -> bool:
        return thing in self.sync_session

    def _begin_nested(self) -> Savepoint:
        return Savepoint(self._session.begin_nested())


class Savepoint:
    """An AsyncSessionTransaction that is begun, and used without `await`."""

    def __init__(self, transaction: Any) -> None:
        self._transaction = await_only(transaction.start())

    def commit(self) -> None:
        await_only(self._transaction.commit())

    def rollback(self) -> None:
        await_only(self._transaction.rollback())

    def __enter__(self) -> Savepoint:
        return self

    def __exit__(self, *what: Any) -> Any:
        return await_only(self._transaction.__aexit__(*what))


class AsyncByFactory:
    """Sessions of an async_sessionmaker."""

    def __init__(self, name: str, factory: Any, engine: AsyncEngine, ground: Ground) -> None:
        self.name = name
        self.ground = ground
        self._engine = engine
        self._factory = factory

    @property
    def engine(self) -> Engine:
        return self._engine.sync_engine

    @contextmanager
    def scope(self, **options: Any) -> Iterator[Any]:
        session: AsyncSession = self._factory(self._engine, expire_on_commit=False)(**options)
        try:
            try:
                yield Bridged(session)
                await_only(_nothing())
                await_only(session.commit())
            except BaseException:
                await_only(session.rollback())
                raise
        finally:
            await_only(session.close())

    def session(self, **options: Any) -> AbstractContextManager[Any]:
        raise NotImplementedError("by hand is for threads")

    def close(self) -> None:
        self.ground.close()

    async def aclose(self) -> None:
        await self._engine.dispose()
        self.close()


class AsyncScoped:
    """Scopes of a Database, in asyncio."""

    def __init__(self, name: str, db: hermetic.Database, ground: Ground) -> None:
        self.name = name
        self.ground = ground
        self._db = db

    @property
    def engine(self) -> Engine:
        return self._db.async_engine.sync_engine

    @contextmanager
    def scope(self, **options: Any) -> Iterator[Any]:
        unit = self._db.session(**options)
        session = await_only(unit.__aenter__())
        try:
            try:
                yield Bridged(session)
            finally:
                await_only(_nothing())
        except BaseException as error:
            if not await_only(unit.__aexit__(type(error), error, error.__traceback__)):
                raise
        else:
            await_only(unit.__aexit__(None, None, None))

    def session(self, **options: Any) -> AbstractContextManager[Any]:
        raise NotImplementedError("a scope's session is not driven by hand")

    def close(self) -> None:
        self.ground.close()

    async def aclose(self) -> None:
        await self._db.aclose()
        self.close()


async def _nothing() -> None:
    """Awaited so that the bridge lets go of the value that it gave last."""
