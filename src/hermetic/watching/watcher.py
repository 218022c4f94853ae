"""One Database, watched: every scope from its opening to its end, and what should not be."""

from __future__ import annotations

import os
import time
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from threading import RLock
from typing import Any

from ..boundary import Entry
from ..clock import monotonic
from ..events import Found, emit, logger
from ..owner import Owner
from ..place import user_frame
from ..pool import LENT
from ..registry import Registry, Scope
from ..seen import Finding, FindingError, SeenScope, Watch
from ..trace import Trace
from ..watchdog import Watchdog
from .causes import cause_of_statement, described
from .commenting import commenter_of
from .findings import Findings
from .looking import Look
from .series import Series, Timeline
from .sink import Sink, overrides, tell_ended, tell_found, tell_opened
from .telling import seen, seen_open

# names of scopes of which there are series; all others are one
_NAMES = 200
# seconds and number of the stretches: an hour of the whole, an hour of each name
_WIDTH, _LENGTH = 10.0, 360
_NAME_WIDTH, _NAME_LENGTH = 60.0, 60
# ended scopes that wait to be counted, at most, before whoever ends the next one does it
_PENDING = 200

# of how many statements a scope keeps text and time while it is recorded
RECORDED = 10_000
_INDEPENDENT = frozenset({Entry.TRANSACTION, Entry.PLAIN})

# of every watched Database; its thread ends when there is nothing left to look at
_watchdog = Watchdog("hermetic-watch")
os.register_at_fork(after_in_child=_watchdog.start_anew)


class Watcher:
    """What is seen of a Database. Its methods may be called from anywhere, at any time.

    A scope's owner does no more than to write its Trace and, at the end, to hand it over; counting
    is done by the thread that looks, or by whoever asks. The lock is of those; a signal handler may
    be one of them. Nobody is told anything under it.
    """

    def __init__(self, registry: Registry, options: Watch, *, looks: bool = True) -> None:
        self.registry = registry
        self.options = options
        self.findings = Findings(frozenset(options.ignore), self._found)
        self.recorders: tuple[deque[Trace], ...] = ()
        self.sinks: tuple[Sink, ...] = ()
        self.tell(None)
        self._keep = options.keep
        self._steps = options.steps
        self._repeats = options.repeats + 1
        self._chatty = options.chatty + 1
        self._slow_seconds = options.slow
        self._lock = RLock()
        self._look = Look(registry, options, self._of_scope)
        # told when scopes are opened after a while without any
        self.at_work: Callable[[], None] | None = None
        # one that only records looks at nothing by itself
        self.looks = looks
        self._armed = not looks
        self._start()

    def _start(self) -> None:
        self._pending: deque[Trace] = deque()
        self._recent: deque[Trace] = deque(maxlen=self._keep)
        self._slow: deque[Trace] = deque(maxlen=self._keep)
        self._failed: deque[Trace] = deque(maxlen=self._keep)
        self._whole = Timeline(_WIDTH, _LENGTH)
        self._names: dict[str, Timeline] = {}

    def start_anew(self) -> None:
        """In a forked child: what the parent saw is the parent's."""
        self._lock = RLock()
        self._armed = not self.looks
        self._look = Look(self.registry, self.options, self._of_scope)
        self._start()
        self.findings.start_anew()

    # ------------------------------------------------------------ telling sinks

    def tell(self, sink: Sink | None) -> None:
        """Have one more told."""
        if sink is not None and not any(each is sink for each in self.sinks):
            self.sinks = (*self.sinks, sink)
        self.told_opened = tuple(each for each in self.sinks if overrides(each, "opened"))
        self.told_ended = tuple(each for each in self.sinks if overrides(each, "ended"))
        self.commenter = commenter_of(self.sinks)
        self.wants_contexts = any(each.contexts for each in self.sinks)
        wanted = self.wants_contexts or self.commenter is not None
        self.tells_opened = wanted or bool(self.told_opened)

    def forget(self, sink: Sink) -> None:
        """Have one told no longer."""
        self.sinks = tuple(each for each in self.sinks if each is not sink)
        self.tell(None)

    # ------------------------------------------------------------ told by scopes

    def opened(self, scope: Scope) -> None:
        """A scope was opened; what it does is written down from now on."""
        kept = RECORDED if self.recorders else self._steps
        trace = scope.trace = Trace(self, kept, self._repeats, self._chatty)
        if scope.connection is not None:
            trace.meet(scope.connection)  # it was open before anybody watched
        if not self._armed:
            self._armed = True
            _watchdog.arm(monotonic() + self.options.every, self._alarm)
            if self.at_work is not None:
                self.at_work()
        if scope.parent is not None and scope.entry in _INDEPENDENT:
            self._look.nested(scope)
        if self.tells_opened:
            tell_opened(self, scope, trace)

    def closed(self, trace: Trace) -> None:
        """It has ended."""
        for recorder in self.recorders:
            recorder.append(trace)
        if trace.notes is not None or self.told_ended:
            tell_ended(self, trace)
        if not self.looks:
            return
        self._pending.append(trace)
        if len(self._pending) > _PENDING:
            self.count()

    def repeated(self, trace: Trace, scope: Scope, sql: str) -> None:
        """It is about to send one statement once too often.

        :raises FindingError: if watched strictly.
        """
        if _is_bulk(scope):
            trace.counts.pop(sql, None)  # a row at a time is how it is written, where it has to be
            return
        cause = cause_of_statement()
        if cause.batch:
            trace.counts.pop(sql, None)
            return
        what = cause.relationship or cause.column
        message = f"One statement was sent {self.options.repeats} times in one scope, and again"
        message += f", to load {what} of one object after the other." if what else "."
        finding = Finding(
            "repeated-statement", message, cause.advice, cause.place, scope.ref, statement=sql
        )
        self._in_scope(finding)

    def talkative(self, trace: Trace, scope: Scope) -> None:
        """It is about to send one statement more than a scope should.

        :raises FindingError: if watched strictly.
        """
        if _is_bulk(scope):
            trace.chatty = trace.statements + 2  # the first one after it
            return
        finding = Finding(
            "chatty-scope",
            f"A scope has sent {self.options.chatty} statements, and goes on.",
            "Load and write in bulk, or split the unit: locks are held, and one snapshot kept, for "
            "all that time.",
            str(scope.place),
            scope.ref,
        )
        self._in_scope(finding)

    def _in_scope(self, finding: Finding) -> None:
        found = self.findings.add(finding)
        if found is not None and self.options.strict:
            raise FindingError(found)

    def _of_scope(self, finding: Finding, trace: Trace | None) -> None:
        """Found from outside: it is raised when the scope does its next step."""
        found = self.findings.add(finding)
        if found is not None and self.options.strict and trace is not None and not trace.ended:
            trace.due = found

    def _found(self, finding: Finding) -> None:
        scope = None if finding.scope is None else finding.scope.name
        logger.warning(
            "%s: %s %s (%s)",
            finding.code,
            finding.message,
            finding.advice,
            finding.place,
            extra={"finding": finding.code, "place": finding.place, "scope": scope},
        )
        tell_found(self, finding)
        if self.registry.listeners:
            emit(self.registry.listeners, Found(self.registry.name, finding))

    def lent(self, record: Any, fairy: Any, owner: Owner) -> None:
        """A connection was taken outside of any scope: if nobody gives it back, its place is told.

        SQLAlchemy's own callback on the fairy was made before this one, and runs after it.
        """
        if not self.looks:
            return  # nobody wants findings
        place = described(user_frame())
        told = partial(self._collected, place, owner, weakref.ref(record))
        record.record_info[LENT] = weakref.ref(fairy, told)

    def _collected(self, place: str, owner: Owner, record: Any, _: object) -> None:
        found = record()
        if found is None or not found.in_use:
            return
        self.findings.add(
            Finding(
                "connection-leak",
                f"A connection that {owner} took was given back by nobody; the collector found it.",
                "Close it: 'with engine.connect() as connection', or a scope in its place.",
                place,
            )
        )

    # ------------------------------------------------------------ looking and counting

    def _alarm(self) -> float | None:
        try:
            self.look()
        except Exception:  # what is open changes while it is looked at; the next look is soon
            logger.exception("a look at %r failed", self.registry.name)
        if self.registry.scopes or self._pending:
            return self.options.every
        # whoever opens a scope from now on arms anew; one that did so just before is seen to here
        self._armed = False
        if not self.registry.scopes:
            return None
        self._armed = True
        return self.options.every

    def look(self) -> None:
        """Look at everything that is open, as happens by itself every ``every`` seconds."""
        self._look(monotonic())
        self.count()

    def count(self) -> None:
        """Count the scopes that have ended since."""
        slow: list[Trace] = []
        with self._lock:
            while self._pending:
                trace = self._pending.popleft()
                self._count(trace)
                if trace.seconds - trace.waited > self._slow_seconds:
                    slow.append(trace)
        for trace in slow:
            self._look.slow(trace, trace.seconds - trace.waited, ended=True)

    def _count(self, trace: Trace) -> None:
        own = trace.seconds - trace.waited
        if self._keep:
            self._recent.append(trace)
            if own > self._slow_seconds:
                self._slow.append(trace)
            if trace.error is not None:
                self._failed.append(trace)
        failed, retried = trace.error is not None, trace.attempt > 1
        for line in (self._line_of(trace), self._whole):
            line.at(trace.ended).add(
                trace.seconds,
                trace.outcome,
                failed,
                retried,
                trace.statements,
                trace.waited,
                trace.rows,
                trace.round_trips,
            )

    def _line_of(self, trace: Trace) -> Timeline:
        name = trace.name or trace.place.function
        line = self._names.get(name)
        if line is None:
            if len(self._names) >= _NAMES:
                self._forget_names()
            line = self._names.setdefault(name, Timeline(_NAME_WIDTH, _NAME_LENGTH))
        return line

    def _forget_names(self) -> None:
        """Those of which the last scope is longest ago, half of them: a program may make new ones
        without end.
        """
        by_age = sorted(self._names, key=lambda name: self._names[name].last)
        for name in by_age[: _NAMES // 2]:
            del self._names[name]

    # ------------------------------------------------------------ asked by users

    def check(self) -> None:
        """Look, and raise what was found, if anything was: at the end of a test.

        :raises FindingError: the latest; ``findings()`` has all of them.
        """
        self.look()
        found = self.findings()
        if found:
            raise FindingError(found[0])

    def recent(self) -> tuple[SeenScope, ...]:
        """The scopes that ended last, the latest first."""
        return self._told(self._recent)

    def slow(self) -> tuple[SeenScope, ...]:
        """Those of them that took longer than ``slow``, without what they waited for the pool."""
        return self._told(self._slow)

    def failed(self) -> tuple[SeenScope, ...]:
        """Those that an error ended."""
        return self._told(self._failed)

    def open(self) -> tuple[SeenScope, ...]:
        """The scopes that are open, the oldest first, with their statements so far."""
        now = monotonic()
        told = (seen_open(scope, now) for scope in list(self.registry.scopes.values()))
        return tuple(each for each in told if each is not None)

    def _told(self, kept: deque[Trace]) -> tuple[SeenScope, ...]:
        self.count()
        with self._lock:
            traces = list(kept)
        return tuple(seen(trace) for trace in reversed(traces))

    def by_name(self) -> dict[str, Series]:
        """The last hour of each name of scopes."""
        self.count()
        since = monotonic() - _NAME_WIDTH * _NAME_LENGTH
        with self._lock:
            return {name: line.total(since) for name, line in self._names.items()}

    def over_time(self, name: str | None = None) -> tuple[tuple[float, Series], ...]:
        """The last hour in stretches of 10 s, or of one name in stretches of 60 s.

        :return: of each stretch that had scopes the Unix time of its beginning, and its Series.
        """
        self.count()
        offset = time.time() - monotonic()
        with self._lock:
            line = self._whole if name is None else self._names.get(name)
            if line is None:
                return ()
            since = monotonic() - 3600.0
            found = []
            for at, series in line.points(since):
                copy = Series()
                copy.merge(series)
                found.append((at + offset, copy))
        return tuple(found)


def _is_bulk(scope: Scope) -> bool:
    """Whether it is a flush, or a call for many rows, that sends what is sent."""
    session = scope.session
    return session is not None and bool(session._flushing or session._many)
