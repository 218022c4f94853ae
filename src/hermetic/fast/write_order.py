"""In which order the mappers of one flush are written."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

_order = attrgetter("plan.order")


def in_order(works: dict[Any, Any]) -> list[Any] | None:
    """Whom others refer to first, by name where nobody waits; ``None`` where that has no answer."""
    if len(works) == 1:
        return list(works.values())
    waiting = sorted(works.values(), key=_order)
    by_mapper = {work.plan.mapper: work for work in waiting}
    before: dict[Any, set[Any]] = {work: set() for work in waiting}
    for work in waiting:
        for mapper, first in work.plan.related:
            other = by_mapper.get(mapper)
            if other is work:
                continue  # its objects are refused where they refer to each other
            if other is None or first is None:
                if _refers(work):
                    return None
                continue
            earlier, later = (other, work) if first else (work, other)
            before[later].add(earlier)
    return _sorted(waiting, before)


def _sorted(waiting: list[Any], before: dict[Any, set[Any]]) -> list[Any] | None:
    done: list[Any] = []
    while waiting:
        ready = [work for work in waiting if before[work].issubset(done)]
        if not ready:
            return None
        done += ready
        waiting = [work for work in waiting if work not in ready]
    return done


def _refers(work: Any) -> bool:
    """Whether one of its loaded objects holds a related one: that may order other mappers."""
    relations = work.plan.relations
    return any(key in state.dict for state in work.states for key in relations)
