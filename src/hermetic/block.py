"""A scope as a block: ``with`` or ``async with``."""

from __future__ import annotations

from collections.abc import Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from .current import innermost
from .errors import ScopeControls
from .options import ScopeOptions
from .place import Place, caller_frame
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
    from .database import Database
    from .session import Session


class Block:
    """What is entered and left; the same object may be so many times, also by several threads and
    tasks at once.
    """

    __slots__ = ("__weakref__", "_cleanup", "_database", "_open", "_options", "_retry_given")

    def __init__(self, database: Database, options: ScopeOptions, *, retry_given: bool) -> None:
        self._database = database
        self._options = options
        self._retry_given = retry_given and options.retry is not None
        self._cleanup = database.options.cleanup_timeout
        # by number; which of them a leave belongs to is found through the context first
        self._open: dict[int, Scope] = {}

    def __repr__(self) -> str:
        return f"<Unit of {self._database.name!r}, {self._options}>"

    def __enter__(self) -> Session:
        if self._retry_given:
            self._refuse_block()
        scope = begin_sync(self._database, self._options, Place(caller_frame()))
        self._opened(scope)
        facade: Session = scope.facade
        return facade

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Literal[False]:
        scope: Scope | None = None
        try:
            scope = self._find()
            self._open.pop(scope.number, None)
            end_sync(scope, error, self._cleanup)
        except BaseException as struck:
            if scope is None and isinstance(struck, ScopeControls):
                raise
            # Python does not leave a block twice
            scope = scope or self._find()
            self._open.pop(scope.number, None)
            see_to_end(scope, struck, self._cleanup)
            raise
        return False

    async def __aenter__(self) -> AsyncSession:
        if self._retry_given:
            self._refuse_block()
        scope = await begin_async(self._database, self._options, Place(caller_frame()))
        self._opened(scope)
        facade: AsyncSession = scope.facade
        return facade

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Coroutine[Any, Any, Literal[False]]:
        # Python looks for interrupts between this call and the wait for the coroutine, which then
        # is never begun
        left: Scope | None = innermost()
        if left is not None:
            left.left = left.unit is self
        return self._leave(left, error)

    async def _leave(self, left: Scope | None, error: BaseException | None) -> Literal[False]:
        if left is not None:
            left.left = False
        scope: Scope | None = None
        try:
            scope = self._find()
            self._open.pop(scope.number, None)
            await end_async(scope, error, self._cleanup)
        except BaseException as struck:
            if scope is None and isinstance(struck, ScopeControls):
                raise
            scope = scope or self._find()
            self._open.pop(scope.number, None)
            await see_to_end_async(scope, struck, self._cleanup)
            raise
        return False

    def _refuse_block(self) -> None:
        raise ScopeControls(
            "A block cannot be run again, so retry= does nothing for 'with db.session(…)'.",
            hint="Decorate a function with it, or write "
            "'for attempt in db.attempts(…): with attempt as session: …'.",
        )

    def _opened(self, scope: Scope) -> None:
        scope.unit = self
        self._open[scope.number] = scope
        scope.handed = True

    def _find(self) -> Scope:
        """The scope that this leave ends: the caller's innermost one of this unit.

        A generator or a fixture may be left in another context, thread or task than it was entered
        in; there the caller's last one is taken, or the last one at all.
        """
        scope: Scope | None = innermost()
        while scope is not None and (scope.unit is not self or scope.number not in self._open):
            scope = scope.parent
        if scope is None or not scope.holder().is_current():
            scope = self._left_elsewhere()
        return scope

    def _left_elsewhere(self) -> Scope:
        known: list[Any] = list(self._open.values())
        mine = [each for each in known if each.owner.is_current()]
        if not known:
            raise ScopeControls(
                "A unit was left that had not been entered, or had been left already.",
                hint="Leave every 'with db.session()' once.",
            )
        found: Scope = (mine or known)[-1]
        return found
