"""What one scope does, and when: written by its owner, read by whoever watches."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .seen import FindingError

if TYPE_CHECKING:
    from .registry import Scope

_now = time.monotonic


def is_due(scope: Scope) -> bool:
    """Whether something was found of a scope that is to be raised in it."""
    return scope.trace is not None and scope.trace.due is not None


class Trace:
    """The record of a watched scope. Once the scope has ended it is all that is kept of it.

    ``watcher`` is told when one statement was sent for the ``repeats``-th time, and when there were
    ``chatty`` of them; what it raises keeps the statement from being sent.
    """

    __slots__ = (
        "at",
        "attempt",
        "began",
        "chatty",
        "counts",
        "due",
        "ended",
        "error",
        "kept",
        "left",
        "name",
        "number",
        "options",
        "outcome",
        "owner",
        "place",
        "readonly",
        "repeats",
        "route",
        "seconds",
        "sql",
        "started",
        "statements",
        "steps",
        "task",
        "tenant",
        "told",
        "waited",
        "watcher",
        "working",
    )

    def __init__(self, watcher: Any, kept: int, repeats: int, chatty: int) -> None:
        self.watcher = watcher
        self.kept = kept
        self.repeats = repeats
        self.chatty = chatty
        # text, when it was sent, and when it was answered: 0 where it was not
        self.steps: list[tuple[str, float, float]] = []
        self.counts: dict[str, int] = {}
        self.statements = 0
        self.waited = 0.0
        self.working = 0.0
        # the statement that is being waited for, and since when; of none, when the last was
        # answered
        self.sql: str | None = None
        self.at = 0.0
        # when the first was sent
        self.began = 0.0
        # which findings of it were told
        self.told: set[str] | None = None
        # when the block was left
        self.left = 0.0
        # what is to be raised in this scope, where findings are
        self.due: Any = None
        self.ended = 0.0
        self.seconds = 0.0
        self.error: str | None = None
        self.outcome: Any = None

    def sent(self, scope: Scope, sql: str) -> None:
        """A statement is about to be sent."""
        if self.sql is not None:
            self._unanswered()
        if self.due is not None:
            self.raise_due()
        self.statements += 1
        count = self.counts.get(sql, 0) + 1
        self.counts[sql] = count
        if count == self.repeats:
            self.watcher.repeated(self, scope, sql)
        if self.statements == self.chatty:
            self.watcher.chatty(self, scope)
        self.sql = sql
        self.at = _now()
        if self.statements == 1:
            self.began = self.at

    def answered(self) -> None:
        """It was."""
        now = _now()
        self.working += now - self.at
        if len(self.steps) < self.kept and self.sql is not None:
            self.steps.append((self.sql, self.at, now))
        self.sql = None
        self.at = now

    def _unanswered(self) -> None:
        assert self.sql is not None
        if len(self.steps) < self.kept:
            self.steps.append((self.sql, self.at, 0.0))
        self.sql = None

    def unsent(self) -> None:
        """It was not sent after all; somebody else sends it."""
        if self.sql is not None:
            self.statements -= 1
            self.counts[self.sql] -= 1
            self.sql = None

    def tell(self, code: str) -> bool:
        """Whether a finding of it was not told yet."""
        if self.told is None:
            self.told = set()
        if code in self.told:
            return False
        self.told.add(code)
        return True

    def raise_due(self) -> None:
        """:raises FindingError: what was found of this scope, once."""
        due, self.due = self.due, None
        raise FindingError(due)

    def close(self, scope: Scope, error: str | None) -> None:
        """Take over what is to be known of a scope, so that the scope itself can go."""
        if self.sql is not None:
            self._unanswered()
        self.ended = _now()
        self.describe(scope)
        self.seconds = scope.seconds
        self.error = error
        self.outcome = scope.outcome
        self.due = None
        self.counts = {}
        self.watcher.closed(self)

    def describe(self, scope: Scope) -> None:
        """Whose it is, and what it is called."""
        self.number = scope.number
        self.name = scope.options.name
        self.options = scope.options
        self.place = scope.place
        self.owner = scope.owner
        self.readonly = scope.readonly
        self.attempt = scope.attempt
        self.tenant = scope.tenant
        self.route = scope.route
        self.started = scope.started
        task: Any = self.owner.task
        self.task = None if task is None else task.get_name()
