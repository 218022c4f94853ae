"""What is known of a scope, put into words: only when somebody asks."""

from __future__ import annotations

import time
from typing import Any

from ..clock import monotonic
from ..registry import Scope
from ..seen import SeenScope, Step
from ..trace import Trace


def seen(trace: Trace) -> SeenScope:
    """Of a scope that has ended."""
    offset = time.time() - monotonic()
    return _of(
        trace,
        outcome=trace.outcome,
        error=trace.error,
        ended_at=trace.ended + offset,
        seconds=trace.seconds,
        leaving=left_in(trace),
    )


def seen_open(scope: Scope, now: float) -> SeenScope | None:
    """Of one that is open; ``None`` where it has ended meanwhile, or nobody watches it."""
    trace: Any = scope.trace
    if trace is None:
        return None
    trace.describe(scope)
    return _of(
        trace,
        outcome=scope.outcome,
        error=None,
        ended_at=None,
        seconds=now - scope.started,
        leaving=now - trace.left if trace.left else 0.0,
    )


def server_of(trace: Trace) -> str | None:
    """The server that it went to, where there are several."""
    return getattr(getattr(trace.route, "state", None), "name", None)


def left_in(trace: Trace) -> float:
    """Seconds that the end of a scope took."""
    left = trace.left or trace.ended
    return max(0.0, trace.started + trace.seconds - left)


def _owner(trace: Trace) -> str:
    thread = f"thread {trace.thread!r}"
    return thread if trace.task is None else f"task {trace.task!r} of {thread}"


def _of(trace: Trace, **how: Any) -> SeenScope:
    # before the steps: what is answered meanwhile is better told twice than not at all
    under_way = trace.sql
    steps = [_step(trace, index, *step) for index, step in enumerate(list(trace.steps))]
    if under_way is not None and steps and steps[-1].at == trace.at - trace.started:
        under_way = None
    if under_way is not None:
        steps.append(Step(under_way, trace.at - trace.started, None))
    return SeenScope(
        number=trace.number,
        name=trace.name or trace.place.function,
        opened_at=str(trace.place),
        owner=_owner(trace),
        propagation=str(trace.options.propagation),
        readonly=trace.readonly,
        attempt=trace.attempt,
        tenant=trace.tenant,
        server=server_of(trace),
        waited=trace.waited,
        working=trace.working,
        statements=trace.statements,
        rows=trace.rows,
        round_trips=None if trace.uncounted else trace.round_trips,
        steps=tuple(steps),
        **how,
    )


def _step(trace: Trace, index: int, sql: str, sent: float, answered: float, rows: int) -> Step:
    at = sent - trace.started
    if answered:
        return Step(sql, at, answered - sent, rows=None if rows < 0 else rows)
    failed = None if trace.failures is None else trace.failures.get(index)
    if failed is None:
        return Step(sql, at, None)
    return Step(sql, at, None, failed[0] - sent, failed[1])
