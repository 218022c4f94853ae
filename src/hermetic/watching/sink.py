"""How a sink is told of scopes: logs, metrics, traces, or whatever somebody else makes of them."""

from __future__ import annotations

import contextvars
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import Outcome, ScopeRef
from ..events import Event, logger
from ..seen import Finding, SeenScope
from ..trace import Trace
from .telling import left_in, seen, server_of

if TYPE_CHECKING:
    from ..registry import Scope


class Sink:
    """What is told of the scopes of a Database, from ``hermetic.sinks.attach(db, sink)`` on.

    Override what is wanted; what is not overridden is not called, and costs nothing. A method is
    called in the thread or task in which it happened, under no lock; what it raises is logged
    under ``hermetic`` and changes nothing. A scope's owner waits for it: what takes long, as
    sending over a network, belongs into a thread of the sink's own.
    """

    # whether ``ScopeView.contexts`` is wanted: a copy of the context for each statement
    contexts: bool = False

    def opened(self, scope: ScopeView) -> Any:
        """A scope was opened; nothing was sent yet.

        :return: what ``ended`` is to be given with this scope, as a span. Default ``None``.
        """

    def ended(self, scope: ScopeView, note: Any) -> None:
        """A scope has ended, and its connection is back; its hooks have not run yet.

        :param note: what ``opened`` has returned; ``None`` of a scope that was open before the sink
            was attached, too.
        """

    def found(self, finding: Finding) -> None:
        """Something that should not be was found for the first time, where the Database has
        ``watch=``.
        """

    def told(self, event: Event) -> None:
        """An event, as with ``db.listen``: while somebody wants events, every scope makes them."""

    def comment(self, scope: ScopeView) -> Mapping[str, str]:
        """What its statements are to carry in a comment; asked before the first of them.

        The same for all scopes of a name, if that can be: each text of a statement is prepared by
        itself.
        """
        return {}

    def forked(self) -> None:
        """This is a forked child: what was counted was the parent's, and locks are to be new."""


class ScopeView:
    """What a sink sees of a scope. What it is called is known from its opening on, the rest at its
    end; ``seen`` has all of it as one record.
    """

    __slots__ = ("_trace",)

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def __repr__(self) -> str:
        return f"<ScopeView {self.ref}>"

    @property
    def database(self) -> str:
        """The Database's name."""
        name: str = self._trace.watcher.registry.name
        return name

    @property
    def number(self) -> int:
        """Its number, which no other scope of the process has."""
        number: int = self._trace.number
        return number

    @property
    def name(self) -> str:
        """What it is called: ``name=``, or the function that opened it."""
        trace = self._trace
        return trace.name or trace.place.function

    @property
    def ref(self) -> ScopeRef:
        """Name, number and opening line."""
        return ScopeRef(self.name, self.number, self.opened_at)

    @property
    def opened_at(self) -> str:
        """The line that opened it."""
        return str(self._trace.place)

    @property
    def started(self) -> float:
        """When it was opened, in monotonic seconds."""
        return self._trace.started

    @property
    def readonly(self) -> bool:
        """Whether it only reads."""
        return self._trace.readonly

    @property
    def attempt(self) -> int:
        """Which run of its unit it is, from 1; known at its end."""
        attempt: int = self._trace.attempt
        return attempt

    @property
    def before(self) -> int | None:
        """The number of the scope of the attempt before; known at its end."""
        return self._trace.before

    @property
    def tenant(self) -> str | None:
        """Whose rows it sees."""
        return self._trace.tenant

    @property
    def server(self) -> str | None:
        """The server that it went to, where the Database has several; known at its end."""
        return server_of(self._trace)

    @property
    def outcome(self) -> Outcome | None:
        """How its transaction ended; ``None`` where it had none."""
        outcome: Outcome | None = self._trace.outcome
        return outcome

    @property
    def error(self) -> str | None:
        """The class of what ended it, if it was an error."""
        return self._trace.error

    @property
    def code(self) -> str | None:
        """What the server said of that error (SQLSTATE, errno), if it did."""
        return self._trace.code or None

    @property
    def seconds(self) -> float:
        """Its life."""
        return self._trace.seconds

    @property
    def waited(self) -> float:
        """Seconds of it in line for a place in the pool."""
        return self._trace.waited

    @property
    def working(self) -> float:
        """Seconds of it at statements."""
        return self._trace.working

    @property
    def leaving(self) -> float:
        """Seconds that its end took: flush, COMMIT, giving back."""
        return left_in(self._trace)

    @property
    def used(self) -> float:
        """Seconds from its first statement to its end; 0 where it sent none."""
        trace = self._trace
        return trace.started + trace.seconds - trace.began if trace.statements else 0.0

    @property
    def statements(self) -> int:
        """How many it has sent."""
        return self._trace.statements

    @property
    def rows(self) -> int:
        """How many rows these have returned or changed."""
        return self._trace.rows

    @property
    def round_trips(self) -> int | None:
        """How often its server was waited for, BEGIN and COMMIT included; ``None`` where its driver
        cannot be seen to.
        """
        trace = self._trace
        return None if trace.uncounted else trace.round_trips

    @property
    def contexts(self) -> tuple[contextvars.Context, ...]:
        """The context that each step of ``seen`` was sent in, where a sink has asked for them."""
        return tuple(self._trace.contexts or ())

    @property
    def seen(self) -> SeenScope:
        """All of it, with its statements; it takes some microseconds to make."""
        return seen(self._trace)


def overrides(sink: Sink, method: str) -> bool:
    """Whether a sink wants to be called."""
    return getattr(type(sink), method) is not getattr(Sink, method)


def tell_opened(watcher: Any, scope: Scope, trace: Trace) -> None:
    """A scope was opened that sinks are to be told of."""
    if watcher.wants_contexts:
        trace.contexts = []
    trace.comment = watcher.commenter
    trace.describe(scope)
    view = ScopeView(trace)
    notes = trace.notes = {}
    for sink in watcher.told_opened:
        try:
            notes[id(sink)] = sink, sink.opened(view)  # a dataclass may have no hash
        except Exception:
            logger.exception("a sink failed at the opening of %s", view)


def tell_ended(watcher: Any, trace: Trace) -> None:
    """A scope has ended."""
    view = ScopeView(trace)
    pairs: Any = [(sink, None) for sink in watcher.told_ended]
    if trace.notes:
        pairs = _noted(watcher.told_ended, trace.notes)
    for sink, note in pairs:
        try:
            sink.ended(view, note)
        except Exception:
            logger.exception("a sink failed at the end of %s", view)
    # they hold whatever their owner's context holds
    trace.notes = trace.contexts = trace.context = trace.comment = None


def _noted(
    sinks: tuple[Sink, ...], notes: dict[int, tuple[Sink, Any]]
) -> Iterable[tuple[Sink, Any]]:
    """Who is told of an end, and what it has noted at the beginning."""
    found: dict[int, tuple[Sink, Any]] = {id(sink): (sink, None) for sink in sinks}
    # one that was taken off meanwhile is told of the end of what it was told of the beginning
    found |= {key: pair for key, pair in notes.items() if overrides(pair[0], "ended")}
    return found.values()


def tell_found(watcher: Any, finding: Finding) -> None:
    """Something was found for the first time."""
    for sink in watcher.sinks:
        try:
            sink.found(finding)
        except Exception:
            logger.exception("a sink failed on a finding")
