"""OpenTelemetry: a span for each scope, its statements inside; metrics of both, and of pools.

Names and attributes are those of OpenTelemetry's conventions for databases.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from ..checking import Checker
from ..clock import monotonic_ns
from ..errors import ConfigurationError, Outcome
from ..seen import SeenScope, Step
from ..watching.attaching import HasScopes
from ..watching.attaching import attach as attach_sink
from ..watching.sink import ScopeView, Sink
from .measures import Measures
from .wording import operation_of, summary_of, without_values

try:
    from opentelemetry import context as contexts
    from opentelemetry import metrics, trace
    from opentelemetry.trace import Span, SpanContext, SpanKind, Status, StatusCode
except ImportError as missing:
    raise ConfigurationError(
        "hermetic.sinks.opentelemetry needs opentelemetry-api.",
        hint="Install it with: pip install 'hermetic[opentelemetry]'",
    ) from missing

_NAME = "hermetic"
# scopes that ended with an error, of which the next attempt may want a link
_MOST_EARLIER = 1000
# statements of which the attributes are remembered
_MOST_KNOWN = 1000

# what returns its rows; of others it is those that they change
_RETURNING = frozenset({"SELECT", "WITH", "VALUES", "TABLE", "SHOW", "PRAGMA", "EXPLAIN"})
_KEY = contexts.create_key("hermetic-scope")


def attach(
    database: HasScopes,
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: metrics.MeterProvider | None = None,
    *,
    query_text: bool = True,
    names: int = 200,
) -> Callable[[], None]:
    """Have a Database or a Group traced and measured.

    A scope's span is the current one inside of it. Its statements are spans inside that, made at
    its end; each is inside the span that was current when it was sent.

    :param tracer_provider: default: the global one.
    :param meter_provider: default: the global one.
    :param query_text: whether spans have the text of their statement, literals replaced by ``?``.
        Default ``True``.
    :param names: how many names of scopes the metrics tell apart; further ones are ``other``. Spans
        have all. Default 200.
    :return: what takes it off again.
    """
    Checker("opentelemetry.attach()").whole("names", names, at_least=1, at_most=100_000)
    tracer = trace.get_tracer(_NAME, tracer_provider=tracer_provider)
    meter = metrics.get_meter(_NAME, meter_provider=meter_provider)
    measures = Measures(database, meter, names)
    detach = attach_sink(database, Traces(database, tracer, measures, query_text=query_text))

    def stop() -> None:
        measures.stop()
        detach()

    return stop


class _Mark:
    """The span of an open scope, and what the current context was before."""

    __slots__ = ("context", "ended", "offset", "outer", "place", "span")

    def __init__(
        self, span: Span, outer: contexts.Context, offset: int, place: dict[str, Any]
    ) -> None:
        self.span = span
        # what its attributes say of the database
        self.place = place
        self.outer = outer
        # what makes a Unix time of a monotonic one, in nanoseconds, the same for all of its times
        self.offset = offset
        self.ended = False
        self.context = contexts.set_value(_KEY, self, trace.set_span_in_context(span, outer))

    def nanoseconds(self, moment: float) -> int:
        return self.offset + int(moment * 1e9)  # a float has no nanoseconds since 1970


class Traces(Sink):
    """The sink."""

    contexts = True

    def __init__(
        self, database: Any, tracer: trace.Tracer, measures: Measures, *, query_text: bool
    ) -> None:
        self._tracer = tracer
        self._measures = measures
        self._place = measures.place
        self._query_text = query_text
        self._earlier: dict[int, SpanContext] = {}
        # the attributes of statements, by their text
        self._known: dict[tuple[str, str | None, str | None], dict[str, Any]] = {}

    def opened(self, scope: ScopeView) -> _Mark:
        offset = time.time_ns() - monotonic_ns()
        outer = contexts.get_current()
        place = self._place.attributes(None)
        attributes = {
            **place,
            "hermetic.scope.readonly": scope.readonly,
            "hermetic.scope.opened_at": scope.opened_at,
        }
        span = self._tracer.start_span(
            scope.name,
            context=outer,
            kind=SpanKind.INTERNAL,
            attributes=attributes,
            start_time=offset + int(scope.started * 1e9),
            record_exception=False,
            set_status_on_exception=False,
        )
        mark = _Mark(span, outer, offset, place)
        contexts.attach(mark.context)
        return mark

    def ended(self, scope: ScopeView, note: Any) -> None:
        mark: _Mark | None = note
        try:
            seen = scope.seen
            self._measures.ended(scope, seen)
            if mark is not None and mark.span.is_recording():
                self._statements(scope, seen, mark)
                self._describe(scope, seen, mark)
        finally:
            if mark is not None:
                mark.ended = True
                _leave(mark)
                mark.span.end(mark.nanoseconds(scope.started + scope.seconds))

    def forked(self) -> None:
        self._earlier = {}

    def _describe(self, scope: ScopeView, seen: SeenScope, mark: _Mark) -> None:
        span, place = mark.span, self._place.attributes(seen.server)
        outcome = "none" if seen.outcome is None else seen.outcome.name.lower()
        found = {} if place is mark.place else dict(place)
        found |= {
            "hermetic.scope.outcome": outcome,
            "hermetic.scope.attempt": seen.attempt,
            "hermetic.scope.statements": seen.statements,
            "hermetic.scope.rows": seen.rows,
            "hermetic.scope.waited": seen.waited,
            "hermetic.scope.leaving": seen.leaving,
        }
        if seen.round_trips is not None:
            found["hermetic.scope.round_trips"] = seen.round_trips
        if seen.tenant is not None:
            found["hermetic.scope.tenant"] = seen.tenant
        span.set_attributes(found)
        before = self._earlier.pop(scope.before or 0, None)
        if before is not None:
            span.add_link(before, {"hermetic.link": "attempt before"})
        if seen.error is not None:
            span.set_attribute("error.type", scope.code or seen.error)
            if scope.code is not None:
                span.set_attribute("db.response.status_code", scope.code)
            while len(self._earlier) >= _MOST_EARLIER:
                self._earlier.pop(next(iter(self._earlier)), None)
            self._earlier[scope.number] = span.get_span_context()
        if seen.error is not None or seen.outcome is Outcome.UNKNOWN:
            span.set_status(Status(StatusCode.ERROR, f"{seen.error or ''} {outcome}".strip()))

    def _statements(self, scope: ScopeView, seen: SeenScope, mark: _Mark) -> None:
        sent_in = scope.contexts
        for index, step in enumerate(seen.steps):
            parent = mark.context
            if index < len(sent_in):
                parent = sent_in[index].run(contexts.get_current)
            began = mark.nanoseconds(scope.started + step.at)
            attributes = self._attributes(step, seen.server)
            if step.rows is not None and attributes["db.operation.name"] in _RETURNING:
                attributes = {**attributes, "db.response.returned_rows": step.rows}
            span = self._tracer.start_span(
                attributes["db.query.summary"] or "statement",
                context=parent,
                kind=SpanKind.CLIENT,
                attributes=attributes,
                start_time=began,
                record_exception=False,
                set_status_on_exception=False,
            )
            took = step.seconds
            if took is None:
                took = step.failed_after or 0.0
                error = step.code or "_OTHER"
                span.set_attribute("error.type", error)
                span.set_status(Status(StatusCode.ERROR, step.code or ""))
                if step.code:
                    span.set_attribute("db.response.status_code", step.code)
            span.end(began + int(took * 1e9))

    def _attributes(self, step: Step, server: str | None) -> dict[str, Any]:
        place = self._place.attributes(server)
        key = step.statement, server, place.get("db.system.name")
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known = {}
            found = self._known[key] = self._made(step.statement, place)
        return found

    def _made(self, statement: str, place: dict[str, Any]) -> dict[str, Any]:
        backslashes = self._place.backslashes
        found = {
            **place,
            "db.operation.name": operation_of(statement),
            "db.query.summary": summary_of(statement, backslashes),
        }
        if self._query_text:
            found["db.query.text"] = without_values(statement, backslashes)
        return found


def traceparent() -> dict[str, str]:
    """The current span as W3C's ``traceparent``; empty where there is none."""
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return {}
    flags = int(span.trace_flags)
    return {"traceparent": f"00-{span.trace_id:032x}-{span.span_id:016x}-{flags:02x}"}


def _leave(mark: _Mark) -> None:
    """Make the surrounding context current again, where the scope's own is; a scope may end in
    another context than it began in, and not in the order in which others did.
    """
    if contexts.get_value(_KEY) is not mark:
        return
    outer = mark.outer
    inner: Any = contexts.get_value(_KEY, outer)
    while inner is not None and inner.ended:
        outer = inner.outer
        inner = contexts.get_value(_KEY, outer)
    with contextlib.suppress(ValueError):
        contexts.attach(outer)
