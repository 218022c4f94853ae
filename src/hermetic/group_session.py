"""The session of a group's scope: one unit of work over several engines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Engine, orm
from sqlalchemy.orm import SessionTransaction, SessionTransactionOrigin
from sqlalchemy.orm.session import SessionTransactionState

from .binding import Binding
from .branch import Branches
from .execution import begin_of
from .registry import Scope
from .session import Session
from .transaction import ScopeTransaction


class GroupSession(Session):
    """A scope's session whose statements go to the database that they are for."""

    _binding: Binding

    def get_bind(
        self,
        mapper: Any = None,
        *,
        clause: Any = None,
        bind: Any = None,
        bind_key: str | None = None,
        **more: Any,
    ) -> Any:
        """As SQLAlchemy's; ``bind_key`` names a database of the group."""
        if bind is not None:
            return bind
        binding, branches = self._binding, self._branches()
        if bind_key is not None:
            return branches.engine(binding.known(bind_key))
        return branches.engine(binding.of(mapper, clause))

    def _branches(self) -> Branches:
        scope = self._scope
        assert scope is not None
        found: Branches = scope.route
        return found

    def _autobegin_t(self, begin: bool = False) -> SessionTransaction:
        if self._transaction is None:
            return GroupTransaction(self, SessionTransactionOrigin.AUTOBEGIN)
        return super()._autobegin_t(begin)

    def _described_bind(self) -> str:
        return " and ".join(self._binding.names)


class GroupTransaction(ScopeTransaction):
    """The transaction of a group's session: one in each database that was touched."""

    def _connection_for_bind(self, bind: Any, execution_options: Any) -> Connection:
        scope: Scope | None = self.session._scope  # type: ignore[attr-defined]
        if scope is None or bind in self._connections or not isinstance(bind, Engine):
            return super()._connection_for_bind(bind, execution_options)
        scope.check_statement()
        session: Any = self.session
        branch = scope.route.branch(bind)
        if branch is None:
            raise session._controls(
                "execute(bind_arguments={'bind': …})", "Name a database by its 'bind_key' instead."
            )
        if execution_options and "isolation_level" in execution_options:
            raise session._controls(
                "connection(execution_options=…)", "Open the scope with isolation=… instead."
            )
        family = branch.registry.family
        if family is not None and (options := family.execution_options(begin_of(branch))):
            execution_options = {**options, **(execution_options or {})}
        connection = self._demanded(branch, bind, execution_options)
        if scope.connection is None:
            scope.connection = branch.connection
        if branch.route is not None:
            scope.route.coordinator.check(branch.key, connection)
        return connection

    def commit(self, _to_root: bool = False) -> None:
        self._check_hand("commit")
        if self._state is SessionTransactionState.ACTIVE:
            self._prepare_impl()
        self._branches().commit(self._connections, self._connect)
        super().commit(_to_root=_to_root)

    def _connect(self, key: str) -> Connection:
        """The connection of a database, taken at the very end if it is not there yet."""
        state, self._state = self._state, SessionTransactionState.ACTIVE
        try:
            return self._connection_for_bind(self._branches().engine(key), None)
        finally:
            self._state = state

    def rollback(self, _capture_exception: bool = False, _to_root: bool = False) -> None:
        self._check_hand("rollback")
        try:
            self._branches().roll_back(self._connections)
        finally:
            super().rollback(_capture_exception=_capture_exception, _to_root=_to_root)

    def close(self, invalidate: bool = False) -> None:
        self._check_hand("close")
        try:
            if self._connections:
                self._branches().roll_back(self._connections)
        finally:
            super().close(invalidate)

    def _branches(self) -> Any:
        session: Any = self.session
        return session._branches()


def group_session(
    scope: Scope, binding: Binding, options: Mapping[str, Any], *_: Any, **more: Any
) -> GroupSession:
    """A session for a scope, which knows whose it is."""
    session = GroupSession.__new__(GroupSession)
    session._scope = scope
    session._binding = binding
    orm.Session.__init__(session, expire_on_commit=False, **options)
    return session
