"""The session class of asyncio: SQLAlchemy's, over a hermetic Session."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Select
from sqlalchemy.exc import NoResultFound

from .errors import Outcome
from .fast import flush_async, lean, lean_async
from .loan import Loan
from .many import AsyncManySession
from .registry import Scope
from .rows import AsyncRowsSession
from .session import Session, asks_nothing
from .strings import AsyncStringSession

_F = TypeVar("_F", bound=Callable[..., Any])
_P = ParamSpec("_P")
_R = TypeVar("_R")


class AsyncSession(AsyncRowsSession, AsyncManySession, AsyncStringSession):
    """SQLAlchemy's AsyncSession over a hermetic Session."""

    sync_session_class = Session
    sync_session: Session

    @property
    def scope(self) -> Scope | None:
        """The live record of its scope: name, owner, state, outcome. ``None`` outside any."""
        return self.sync_session._scope

    @property
    def outcome(self) -> Outcome | None:
        """How its scope ended; ``None`` while that is open, or outside any scope."""
        return self.sync_session.outcome

    @property
    def tenant(self) -> str | None:
        """Whose rows it sees; ``None`` for nobody's, or outside any scope."""
        return self.sync_session.tenant

    @property
    def cache_hits(self) -> int:
        """How many of its reads a cache has answered."""
        return self.sync_session.cache_hits

    @property
    def position(self) -> str | None:
        """As Session.position; no await, nothing is sent."""
        return self.sync_session.position

    if TYPE_CHECKING:

        async def run_sync(
            self,
            fn: Callable[Concatenate[Session, _P], _R],
            *arg: _P.args,
            **kw: _P.kwargs,
        ) -> _R: ...

    else:  # the signature is SQLAlchemy's

        @functools.wraps(AsyncStringSession.get)
        async def get(self, entity, ident, **more):
            if not more or asks_nothing(more):
                found = await lean_async.get(self.sync_session, entity, ident)
                if found is not lean.ASIDE:
                    return found
            return await super().get(entity, ident, **more)

        @functools.wraps(AsyncStringSession.get_one)
        async def get_one(self, entity, ident, **more):
            found = await self.get(entity, ident, **more)
            if found is None:
                raise NoResultFound("No row was found when one was required")
            return found

        @functools.wraps(AsyncStringSession.execute)
        async def execute(self, statement, *args, **more):
            if type(statement) is Select and not args and not more:
                found = await lean_async.execute(self.sync_session, statement)
                if found is not lean.ASIDE:
                    return found
            return await super().execute(statement, *args, **more)

        @functools.wraps(AsyncStringSession.scalars)
        async def scalars(self, statement, *args, **more):
            if type(statement) is Select and not args and not more:
                found = await lean_async.scalars(self.sync_session, statement)
                if found is not lean.ASIDE:
                    return found
            return await super().scalars(statement, *args, **more)

        @functools.wraps(AsyncStringSession.scalar)
        async def scalar(self, statement, *args, **more):
            if type(statement) is Select and not args and not more:
                found = await lean_async.scalar(self.sync_session, statement)
                if found is not lean.ASIDE:
                    return found
            return await super().scalar(statement, *args, **more)

        @functools.wraps(AsyncStringSession.flush)
        async def flush(self, objects=None):
            if objects is not None or not await flush_async.flush(self.sync_session):
                await super().flush(objects)

    def __repr__(self) -> str:
        return f"Async{self.sync_session!r}".replace("Async<", "<Async", 1)

    def rollback_only(self) -> None:
        """As Session.rollback_only; no await, nothing is sent."""
        self.sync_session.rollback_only()

    def on_commit(self, function: _F, *, key: object = None) -> _F:
        """As Session.on_commit; coroutine functions are awaited."""
        return self.sync_session.on_commit(function, key=key)

    def on_rollback(self, function: _F, *, key: object = None) -> _F:
        """As Session.on_rollback; coroutine functions are awaited."""
        return self.sync_session.on_rollback(function, key=key)

    def before_commit(self, function: _F, *, key: object = None) -> _F:
        """As Session.before_commit; coroutine functions are awaited."""
        return self.sync_session.before_commit(function, key=key)

    def lend(self) -> Loan:
        """As Session.lend."""
        return self.sync_session.lend()
