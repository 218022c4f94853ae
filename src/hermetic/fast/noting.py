"""An INSERT of hermetic's own, of one row of a table that nobody has mapped, which returns nothing.

By SQLAlchemy it would be the first statement of its transaction, whose connection nothing that
comes after it could have in hand.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Insert, orm

from ..dialects.wire import NotBegun
from . import private_flush as private
from .flush import is_off
from .flush_async import answer_to, connection_for, may_write
from .lane import Lane, lane_in_hand, send
from .lean_async import side_of_scope
from .write_plan import Statement

# for how many engines a statement is remembered
_DIALECTS = 16


class Noting:
    """The INSERT, whose one value is a parameter of the statement.

    :param name: of the parameter.
    """

    def __init__(self, construct: Insert, name: str) -> None:
        self.construct, self._name = construct, name
        # None for those of which the text is not all that there is to be sent
        self._statements: dict[Any, Statement | None] = {}

    def sent(self, session: Any, value: str) -> bool:
        """Send it on the connection that a scope has in hand, or may have; ``False``, and nothing
        sent, where SQLAlchemy has to.
        """
        scope = session._scope
        if scope is None or scope.side is None or scope.readonly or not _is_plain(session):
            return False
        statement = self._statement(scope.side.dialect)
        if statement is None:
            return False
        lane = lane_in_hand(session, session._autobegin_t())
        if lane is None:
            return False
        send(lane, statement, statement.sql, self._parameters(statement, value), False)
        return True

    async def asent(self, session: Any, value: str) -> bool:
        """As ``sent``, under asyncio."""
        side = side_of_scope(session)
        if side is None or not may_write(session, session._scope, side) or not _is_plain(session):
            return False
        statement = self._statement(side.dialect)
        if statement is None:
            return False
        lane = Lane(session, side.dialect)
        lane.record = await connection_for(session._scope, session._autobegin_t(), side)
        if lane.record is None:
            return False
        lane.scope, lane.side, lane.awaited = session._scope, side, True
        try:
            await answer_to(lane, (statement, self._parameters(statement, value), False))
        except NotBegun:
            return False  # somebody else holds the lock, or worse: SQLAlchemy's way waits
        return True

    def _statement(self, dialect: Any) -> Statement | None:
        try:
            return self._statements[dialect]
        except KeyError:
            pass
        compiled = private.compile_once(self.construct, dialect, (), many=False)
        statement: Statement | None = Statement(self.construct, compiled, insert=True, many=False)
        assert statement is not None
        plain = statement.names == (self._name,) and not private.bind_processors(compiled)
        if statement.aside or not plain or private.returns(compiled):
            statement = None
        elif len(self._statements) >= _DIALECTS:
            self._statements.clear()
        self._statements[dialect] = statement
        return statement

    def _parameters(self, statement: Statement, value: str) -> Any:
        return (value,) if statement.positional else {self._name: value}


def _is_plain(session: Any) -> bool:
    """Whether it has one engine, and is not in the middle of a flush."""
    own = session.binds or type(session).get_bind is not orm.Session.get_bind
    return not own and not is_off(session)
