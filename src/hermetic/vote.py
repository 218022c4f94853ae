"""One database's part in a unit that is prepared before it is committed."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, ClassVar

from sqlalchemy.util import await_only

from .dialects.family import Begin
from .dialects.two_phase import Name, TwoPhase
from .registry import Scope


class Stage(enum.Enum):
    """How far it has come. ``ASKED``: PREPARE was sent, and was not answered."""

    NEW = 1
    ACTIVE = 2
    ASKED = 3
    PREPARED = 4
    OVER = 5


class Vote:
    """What a branch does at BEGIN, COMMIT and ROLLBACK. Its ``route``, which leads nowhere else.

    ``left``: nobody here knows what was decided. It stays prepared.
    """

    __slots__ = ("_driver", "_two_phase", "left", "name", "stage")

    branches: ClassVar[tuple[Scope, ...]] = ()
    open: ClassVar[bool] = False
    until: ClassVar[float | None] = None

    def __init__(self, two_phase: TwoPhase, driver: str, name: Name) -> None:
        self._two_phase = two_phase
        self._driver = driver
        self.name = name
        self.stage = Stage.NEW
        self.left = False

    @property
    def prepared(self) -> bool:
        """Whether the server keeps it."""
        return self.stage is Stage.PREPARED

    @property
    def pending(self) -> bool:
        """Whether the server may keep it."""
        return self.stage in (Stage.ASKED, Stage.PREPARED)

    def begin(self, dbapi: Any, begin: Begin) -> bool:
        """Begin in a way of its own; ``False``: there is none."""
        if self._two_phase.begins:
            level = None if begin.isolation is None else begin.isolation.value
            self._two_phase.begin(dbapi, self.name, level)
        self.stage = Stage.ACTIVE
        return self._two_phase.begins

    def prepare(self, dbapi: Any) -> None:
        """:raises RolledBack: the server has rolled it back instead."""
        self.stage = Stage.ASKED
        self._two_phase.prepare(dbapi, self._driver, self.name, await_only)
        self.stage = Stage.PREPARED

    def finish(self, connection: Any, *, commit: bool) -> str | None:
        """End it on another connection; why that was not possible, or ``None``."""
        return self._two_phase.finish(connection, self.name, commit=commit)

    def end(self, dbapi: Any, *, commit: bool) -> bool:
        """Commit or roll back; ``False``: the driver's own way has to do it."""
        if self.stage in (Stage.NEW, Stage.OVER):
            return False
        ended = self._two_phase.end(
            dbapi, self._driver, self.name, await_only, commit=commit, prepared=self.prepared
        )
        self.stage = Stage.OVER
        return ended


def vote_of(scope: Scope | None) -> Vote | None:
    """The vote of a group's branch; of any other scope there is none."""
    route = None if scope is None else scope.route
    return route if type(route) is Vote else None


def undo(dbapi: Any, scope: Scope | None, roll_back: Callable[[Any], None]) -> None:
    """Roll back: in a branch's own way, where it has one."""
    vote = vote_of(scope)
    if vote is None or not vote.end(dbapi, commit=False):
        roll_back(dbapi)
