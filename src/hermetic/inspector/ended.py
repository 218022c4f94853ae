"""What has ended and what was found, as the inspector's state has it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

from ..seen import Finding, SeenScope
from ..watching.series import Series
from ..watching.watcher import Watcher
from .shape import (
    EndedState,
    Figures,
    FindingState,
    HistoryState,
    LinkState,
    NameState,
    PointState,
    StepState,
)

Hide = Callable[[str], str]

_PLACE = re.compile(r"(?P<file>.+):(?P<line>\d+) in .+")


def history(watcher: Watcher, hide: Hide, steps: int) -> HistoryState:
    """What a watched Database has seen.

    :param steps: how many statements of each ended scope are told.
    """
    by_time = sorted(watcher.by_name().items(), key=lambda each: -each[1].seconds)
    return HistoryState(
        recent=[ended(each, hide, steps) for each in watcher.recent()],
        slow=[ended(each, hide, steps) for each in watcher.slow()],
        failed=[ended(each, hide, steps) for each in watcher.failed()],
        names=[NameState(name=name, **_figures(series)) for name, series in by_time],
        timeline=[PointState(at=at, **_figures(series)) for at, series in watcher.over_time()],
    )


def ended(scope: SeenScope, hide: Hide, steps: int) -> EndedState:
    """One scope, also one that is still open."""
    return EndedState(
        number=scope.number,
        name=scope.name,
        opened_at=scope.opened_at,
        owner=scope.owner,
        propagation=scope.propagation,
        readonly=scope.readonly,
        attempt=scope.attempt,
        tenant=scope.tenant,
        server=scope.server,
        outcome=None if scope.outcome is None else scope.outcome.name,
        error=scope.error,
        ended_at=scope.ended_at,
        seconds=scope.seconds,
        waited=scope.waited,
        working=scope.working,
        leaving=scope.leaving,
        statements=scope.statements,
        rows=scope.rows,
        round_trips=scope.round_trips,
        steps=[
            StepState(
                statement=hide(step.statement), at=step.at, seconds=step.seconds, rows=step.rows
            )
            for step in scope.steps[:steps]
        ],
    )


def _figures(series: Series) -> Figures:
    return Figures(
        count=series.count,
        committed=series.committed,
        not_committed=series.not_committed,
        unknown=series.unknown,
        failed=series.failed,
        retried=series.retried,
        statements=series.statements,
        rows=series.rows,
        round_trips=series.round_trips,
        seconds=series.seconds,
        waited=series.waited,
        p50=series.percentile(0.5),
        p95=series.percentile(0.95),
        p99=series.percentile(0.99),
        longest=series.longest,
    )


def finding(found: Finding, hide: Hide) -> FindingState:
    """One finding. Its ``id`` is the same in every process that finds it at the same place."""
    place = _PLACE.fullmatch(found.place)
    statement = None if found.statement is None else hide(found.statement)
    return FindingState(
        id=_id_of(found),
        code=found.code,
        message=found.message,
        advice=found.advice,
        place=found.place,
        file=None if place is None else place["file"],
        line=None if place is None else int(place["line"]),
        scope=_link(found),
        statement=statement,
        stack=list(found.stack),
        count=found.count,
        first=found.first,
        last=found.last,
    )


def _id_of(found: Finding) -> str:
    own = found.statement if found.code == "repeated-statement" else None
    told = "\0".join((found.code, found.place, own or "")).encode(errors="replace")
    return hashlib.blake2b(told, digest_size=8).hexdigest()


def _link(found: Finding) -> LinkState | None:
    ref = found.scope
    if ref is None:
        return None
    return LinkState(number=ref.number, name=ref.name, opened_at=ref.opened_at)
