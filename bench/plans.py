"""How long a run measures, and how many rows it measures with."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.entity import Sizes
from bench.measure import Plan
from bench.works import Kind


@dataclass(frozen=True, slots=True)
class Plans:
    """A run: a plan for each kind of work, and the sizes of the tables."""

    by_kind: dict[Kind, Plan]
    sizes: Sizes = field(default_factory=Sizes)


FULL = Plans(
    {
        # turns shorter than a scheduler's slice: most are not interrupted, and the median drops
        # the others
        Kind.SMALL: Plan(turn_seconds=0.004, rounds=250, warm_up=100),
        Kind.BULK: Plan(turn_seconds=0.0, rounds=11, warm_up=1, least=1),
        Kind.CROWD: Plan(turn_seconds=0.5, rounds=15, warm_up=500, least=1_000),
    }
)
QUICK = Plans(
    {
        Kind.SMALL: Plan(turn_seconds=0.003, rounds=40, warm_up=30),
        Kind.BULK: Plan(turn_seconds=0.0, rounds=4, warm_up=1, least=1),
        Kind.CROWD: Plan(turn_seconds=0.2, rounds=4, warm_up=500, least=500),
    },
    Sizes(rows=10_000, changed=1_000, parents=200),
)
