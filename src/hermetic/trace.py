"""What one scope does, and when: written by its owner, read by whoever watches."""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from .clock import monotonic
from .seen import FindingError

if TYPE_CHECKING:
    from .connection import ConnectionRecord
    from .registry import Scope

_now = monotonic

# of a statement's text; and different ones of which a scope knows how often they were sent
_LONGEST = 2000
_DIFFERENT = 1000


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
        "base",
        "before",
        "began",
        "chatty",
        "code",
        "comment",
        "context",
        "contexts",
        "counts",
        "due",
        "ended",
        "error",
        "failures",
        "kept",
        "left",
        "meter",
        "name",
        "notes",
        "number",
        "options",
        "outcome",
        "place",
        "readonly",
        "remark",
        "repeats",
        "round_trips",
        "route",
        "rows",
        "seconds",
        "since",
        "sql",
        "started",
        "statements",
        "steps",
        "streams",
        "task",
        "tenant",
        "thread",
        "told",
        "uncounted",
        "waited",
        "watcher",
        "working",
    )

    def __init__(self, watcher: Any, kept: int, repeats: int, chatty: int) -> None:
        self.watcher = watcher
        self.kept = kept
        self.repeats = repeats
        self.chatty = chatty
        # text, when it was sent, when it was answered: 0 where it was not; and how many rows it
        # returned or changed, -1 where that is not known
        self.steps: list[tuple[str, float, float, int]] = []
        self.rows = 0
        # how often its server was waited for; what tells that of the connection that it has, and
        # what of it was before; whether it has had one that does not tell
        self.round_trips = 0
        self.meter: Any = None
        self.base = 0
        self.uncounted = False
        self.counts: dict[str, int] = {}
        self.statements = 0
        self.waited = 0.0
        # since when it waits for a place in the pool; 0 where it does not
        self.since = 0.0
        self.working = 0.0
        # whether its last statement is read from the server row by row
        self.streams = False
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
        # what the server has said, where a fault has ended it
        self.code: str | None = None
        self.outcome: Any = None
        # of a step that failed, by its index: when that was known, and what the server said
        self.failures: dict[int, tuple[float, str | None]] | None = None
        # the number of the scope of the attempt before
        self.before: int | None = None
        # where sinks are told of it: what each has noted at its opening, by its id, and, where one
        # wants them, the contexts that its statements were sent in
        self.notes: dict[int, tuple[Any, Any]] | None = None
        self.contexts: list[Any] | None = None
        self.context: Any = None
        # what puts comments on its statements, and the comment, once it was asked for
        self.comment: Any = None
        self.remark: str | None = None

    def sent(self, scope: Scope, sql: str) -> None:
        """A statement is about to be sent."""
        if self.sql is not None:
            self.failed()
        if self.due is not None:
            self.raise_due()
        count = self.counts.get(sql, 0) + 1
        if count > 1 or len(self.counts) < _DIFFERENT:
            self.counts[sql] = count
        if count == self.repeats:
            self.watcher.repeated(self, scope, sql)
        if self.statements + 1 == self.chatty:
            self.chatty = 0  # told once
            self.watcher.talkative(self, scope)
        self.statements += 1
        self.sql = sql
        if self.contexts is not None:
            self.context = copy_context()
        self.at = _now()
        if self.statements == 1:
            self.began = self.at

    def answered(self, rows: int) -> None:
        """It was.

        :param rows: how many it has returned or changed, as far as that is known by now; -1.
        """
        if self.meter is not None:
            self.look()
        if self.sql is None:
            return  # of a savepoint, or one that was sent before anybody watched
        now = _now()
        self.working += now - self.at
        if rows > 0:
            self.rows += rows
        self._keep(now, rows)
        self.at = now

    def fetched(self, step: int, rows: int) -> None:
        """Rows of a statement came later than its answer.

        :param step: its index; -1 where it is not among those that are kept.
        """
        self.rows += rows
        if 0 <= step < len(self.steps):
            sql, sent, answered, before = self.steps[step]
            self.steps[step] = (sql, sent, answered, max(before, 0) + rows)

    def meet(self, connection: ConnectionRecord) -> None:
        """The scope has taken a connection: what is sent on it from now on is the scope's."""
        self.meter = connection.exchanges
        if self.meter is not None:
            self.base = self.meter() - self.round_trips
        elif not connection.family.embedded:
            self.uncounted = True

    def look(self) -> None:
        """Take over how often the server was waited for, before the connection is another's."""
        if self.meter is not None:
            self.round_trips = self.meter() - self.base

    def failed(self) -> None:
        """It was refused, or nobody waits for its answer any more."""
        self.look()
        if self.sql is not None:
            now = _now()
            self.working += now - self.at
            kept = len(self.steps)
            self._keep(0.0, -1)
            self.at = now
            if len(self.steps) > kept:
                if self.failures is None:
                    self.failures = {}
                self.failures[kept] = (now, None)

    def faulted(self, code: str) -> None:
        """What the server has said to the statement that failed last, if one did."""
        last = len(self.steps) - 1
        if self.failures is not None and last in self.failures:
            self.failures[last] = (self.failures[last][0], code)

    def _keep(self, answered: float, rows: int) -> None:
        sql, self.sql = self.sql, None
        if len(self.steps) < self.kept and sql is not None:
            if len(sql) > _LONGEST:
                sql = sql[:_LONGEST] + "…"
            self.steps.append((sql, self.at, answered, rows))
            if self.contexts is not None:
                self.contexts.append(self.context)

    def unsent(self) -> None:
        """It was not sent after all; somebody else sends it."""
        if self.sql is not None:
            self.statements -= 1
            self.counts.pop(self.sql, None)
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

    def close(self, scope: Scope, error: BaseException | None) -> None:
        """Take over what is to be known of a scope, so that the scope itself can go."""
        self.meter = None  # the connection may be another scope's by now
        self.failed()
        self.ended = _now()
        self.describe(scope)
        self.seconds = scope.seconds
        if error is not None:
            self.error = type(error).__name__
            self.code = getattr(getattr(error, "fault", None), "code", None)
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
        owner = scope.owner
        task: Any = owner.task
        # words: the thread and the task may go
        self.thread = owner.thread.name
        self.task = None if task is None else task.get_name()
        self.readonly = scope.readonly
        self.attempt = scope.attempt
        self.tenant = scope.tenant
        self.route = scope.route
        self.started = scope.started
