"""One attempt of a unit of work, as a block."""

from __future__ import annotations

from collections.abc import Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .errors import ScopeControls
from .registry import Scope
from .scope import (
    begin_async,
    begin_sync,
    end_async,
    end_sync,
    see_to_end,
    see_to_end_async,
)

if TYPE_CHECKING:
    from .async_session import AsyncSession
    from .attempts import Attempts, Run
    from .session import Session


class Attempt:
    """One attempt of a loop: enter it with ``with`` or ``async with``, whichever the loop was."""

    def __init__(self, loop: Attempts, run: Run) -> None:
        self._loop = loop
        self._run = run
        self._scope: Scope | None = None
        self.number = run.attempt + 1
        self._entered = False

    def _enter(self) -> None:
        if self._entered:
            raise ScopeControls(
                "An attempt was entered for the second time.",
                hint="Write: for attempt in db.attempts(…): with attempt as session: …",
            )
        self._entered = True

    def __repr__(self) -> str:
        return f"<Attempt {self.number} of {self._run.options.name or self._run.place.function!r}>"

    def __enter__(self) -> Session:
        self._enter()
        run = self._run
        scope = self._scope = begin_sync(run.database, run.options, run.place, run.prepare())
        try:
            run.opened(scope)
        except BaseException as struck:
            # Python leaves no block that it has not entered
            see_to_end(scope, struck, run.database.options.cleanup_timeout)
            raise
        facade: Session = scope.facade
        return facade

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        scope = self._scope
        assert scope is not None
        cleanup = self._run.database.options.cleanup_timeout
        try:
            end_sync(scope, error, cleanup)
        except BaseException as raised:
            see_to_end(scope, raised, cleanup)
            self._scope = None
            if self._again(scope, raised):
                return True
            raise
        self._scope = None
        return error is not None and self._again(scope, error)

    async def __aenter__(self) -> AsyncSession:
        self._enter()
        run = self._run
        self._scope = await begin_async(run.database, run.options, run.place, run.prepare())
        run.opened(self._scope)
        facade: AsyncSession = self._scope.facade
        return facade

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Coroutine[Any, Any, bool]:
        scope = self._scope
        assert scope is not None
        scope.left = True  # as for ``Block``
        return self._leave(scope, error)

    async def _leave(self, scope: Scope, error: BaseException | None) -> bool:
        scope.left = False
        cleanup = self._run.database.options.cleanup_timeout
        try:
            await end_async(scope, error, cleanup)
        except BaseException as raised:
            await see_to_end_async(scope, raised, cleanup)
            self._scope = None
            if self._again(scope, raised):
                return True
            raise
        self._scope = None
        return error is not None and self._again(scope, error)

    def _again(self, scope: Scope, error: BaseException) -> bool:
        self._loop.pause = self._run.pause_after(scope, error)
        return self._loop.pause is not None
