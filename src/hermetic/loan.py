"""The explicit hand-over of a scope's session to another thread or task."""

from __future__ import annotations

from typing import Any

from .current import current_scope
from .errors import ForeignOwner
from .owner import Owner
from .registry import Scope


class Loan:
    """A session on loan. Enter it, with ``with`` or ``async with``, where it shall be used.

    It may be entered again after it was left, by one borrower at a time. It ends nothing.
    """

    def __init__(self, scope: Scope, session: Any) -> None:
        self._scope = scope
        self._session = session
        self._made_by = scope.owner
        self._lender: Owner | None = None
        self._outer_borrower: Owner | None = None
        self._before: Scope | None = None

    def __repr__(self) -> str:
        state = "not taken" if self._lender is None else f"taken by {self._scope.owner}"
        return f"<Loan of {self._scope.ref}, {state}>"

    def __enter__(self) -> Any:
        scope = self._scope
        borrower = Owner()
        if scope.owner is not self._made_by:
            raise ForeignOwner(
                f"This session is on loan to {scope.owner}, and {borrower} tried to take it too.",
                owner=str(scope.owner),
                user=str(borrower),
                scope=scope.ref,
                hint="Wait until it was given back.",
            )
        self._lender, scope.owner = scope.owner, borrower
        self._outer_borrower = scope.root.borrower
        scope.root.borrower = borrower
        try:
            scope.check_owner()
        except BaseException:
            scope.owner, self._lender = self._lender, None
            scope.root.borrower = self._outer_borrower
            raise
        self._before = current_scope.get()
        current_scope.set(scope)
        return self._session

    def __exit__(self, *exc_info: object) -> None:
        assert self._lender is not None
        self._scope.owner, self._lender = self._lender, None
        self._scope.root.borrower = self._outer_borrower
        if current_scope.get() is self._scope:
            current_scope.set(self._before)

    async def __aenter__(self) -> Any:
        return self.__enter__()

    async def __aexit__(self, *exc_info: object) -> None:
        self.__exit__(*exc_info)
