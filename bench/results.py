"""What was measured, as records and as JSON."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.contenders import HERMETIC, RAW, SQLALCHEMY
from bench.entity import Sizes
from bench.floors import Bound, Floors, Measured
from bench.measure import Series, ratio
from hermetic.fast.modules import uncompiled

_PACKAGES = (
    "sqlalchemy",
    "psycopg",
    "asyncpg",
    "aiosqlite",
    "PyMySQL",
    "peewee",
    "django",
    "tortoise-orm",
)


@dataclass(frozen=True, slots=True)
class Result:
    """One work on one stage: what was found, what is asked, and what of that is not so."""

    stage: str
    work: str
    text: str
    unit: str
    rounds: int
    measures: dict[str, Measured]
    floor: Bound
    goal: Bound | None
    lost: list[str]
    missed: list[str]

    @property
    def behind(self) -> list[str]:
        """The peers that were faster than hermetic."""
        _, measured = next(iter(self.measures.items()))
        rivals = set(measured.slower) - {RAW, SQLALCHEMY, HERMETIC}
        return sorted(name for name in rivals if measured.slower[name].median < 1)


def judge(
    floors: Floors, stage: str, work: str, text: str, unit: str, found: dict[str, Series]
) -> Result:
    """Compare everyone's figures with hermetic's, and those with what is asked."""
    measures = _compared(found)
    floor, goal = floors.floor(stage, work), floors.goal(stage, work)
    return Result(
        stage,
        work,
        text,
        unit,
        len(next(iter(found[HERMETIC].kinds().values()))),
        measures,
        floor,
        goal,
        floor.unmet(measures),
        goal.unmet(measures) if goal else [],
    )


def _compared(found: dict[str, Series]) -> dict[str, Measured]:
    ours = found[HERMETIC].kinds()
    return {
        kind: Measured(
            {name: statistics.median(each.kinds()[kind]) for name, each in found.items()},
            {name: ratio(each.kinds()[kind], figures) for name, each in found.items()},
        )
        for kind, figures in ours.items()
    }


def write(results: Sequence[Result], skipped: Sequence[str], sizes: Sizes, path: Path) -> None:
    """Write everything as JSON, with the versions it was measured with."""
    document: dict[str, Any] = {
        "python": platform.python_version(),
        "uncompiled": uncompiled(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "sizes": asdict(sizes),
        "skipped": list(skipped),
        "results": [{**asdict(each), "behind": each.behind} for each in results],
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
