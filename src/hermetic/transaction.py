"""The transaction of a scope's session."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.orm import SessionTransaction

from .execution import begin_of
from .pool import demanding
from .registry import Scope
from .release import connections_of


class ScopeTransaction(SessionTransaction):
    """The transaction of a scope's session.

    Every way in which SQLAlchemy takes a connection for a session, a flush or a savepoint ends in
    this one method (private, checked on 2.1.7 to 2.1.9); here the scope goes along with it.
    """

    def _connection_for_bind(self, bind: Any, execution_options: Any) -> Connection:
        scope: Scope | None = self.session._scope  # type: ignore[attr-defined]
        if scope is None or bind in self._connections or not isinstance(bind, Engine):
            return super()._connection_for_bind(bind, execution_options)
        scope.check_statement()
        if execution_options and "isolation_level" in execution_options:
            session: Any = self.session
            raise session._controls(
                "connection(execution_options=…)", "Open the scope with isolation=… instead."
            )
        family = scope.registry.family
        if family is not None and (options := family.execution_options(begin_of(scope))):
            execution_options = {**options, **(execution_options or {})}
        route = scope.route
        if route is not None and route.open and self._parent is None and bind is self.session.bind:
            connection: Connection = route.take(
                scope, lambda engine: self._demanded(scope, engine, execution_options)
            )
            return connection
        return self._demanded(scope, bind, execution_options)

    def adopted(self, bind: Engine) -> Connection:
        """SQLAlchemy's connection over the one that a fast path had in hand."""
        scope: Scope = self.session._scope  # type: ignore[attr-defined]
        return self._demanded(scope, bind, None)

    def _demanded(self, scope: Scope, bind: Engine, execution_options: Any) -> Connection:
        token = demanding.set(scope)
        try:
            return super()._connection_for_bind(bind, execution_options)
        finally:
            demanding.reset(token)

    def commit(self, _to_root: bool = False) -> None:
        self._check_hand("commit")
        super().commit(_to_root=_to_root)

    def rollback(self, _capture_exception: bool = False, _to_root: bool = False) -> None:
        self._check_hand("rollback")
        super().rollback(_capture_exception=_capture_exception, _to_root=_to_root)

    def close(self, invalidate: bool = False) -> None:
        self._check_hand("close")
        scope: Scope | None = self.session._scope  # type: ignore[attr-defined]
        record = None if scope is None else scope.transaction
        if scope is not None and record is not None and scope.failed and not record.over:
            # its rollback failed: SQLAlchemy would give the connection back to the pool
            for connection in connections_of(self):
                if not connection.closed and not connection.invalidated:
                    connection.invalidate()
        super().close(invalidate)

    def _check_hand(self, what: str) -> None:
        session: Any = self.session
        scope: Scope | None = session._scope
        if scope is not None and not scope.ending:
            raise session._controls(what, "The scope ends its transaction when its block ends.")
