"""What is asked of hermetic: floors that must not be lost, and goals that are to be reached."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from bench.contenders import HERMETIC, RAW, SQLALCHEMY
from bench.measure import Ratio

_FLOORS = Path(__file__).with_name("floors.toml")


@dataclass(frozen=True, slots=True)
class Measured:
    """One measure of one case: a figure for each contender.

    :param figures: medians, by contender.
    :param slower: each contender's figures as multiples of hermetic's, round by round.
    """

    figures: dict[str, float]
    slower: dict[str, Ratio]


@dataclass(frozen=True, slots=True)
class Bound:
    """Limits for one case; those that are None do not apply.

    :param faster: wall time, at least so many times as fast as SQLAlchemy.
    :param cpu: the same in CPU time.
    :param p99: the same in the latency that one unit in a hundred exceeds.
    :param less: a count, at least so many times below SQLAlchemy's.
    :param raw: wall time, at most so many times the raw driver's.
    :param most: a count, at most this.
    """

    faster: float | None = None
    cpu: float | None = None
    p99: float | None = None
    less: float | None = None
    raw: float | None = None
    most: float | None = None

    def unmet(self, measures: dict[str, Measured]) -> list[str]:
        """What is not as it should be, in words; empty where all is."""
        found = []
        for name, measure in (("faster", "wall"), ("cpu", "cpu"), ("p99", "p99"), ("less", "")):
            least, of = getattr(self, name), _measure(measures, measure)
            if least is None or of is None or SQLALCHEMY not in of.slower:
                continue
            if of.slower[SQLALCHEMY].median < least:
                found.append(f"{of.slower[SQLALCHEMY].median:.2f} {name}")
        wall, count = measures.get("wall"), measures.get("count")
        if self.raw and wall and RAW in wall.slower and 1 / wall.slower[RAW].median > self.raw:
            found.append(f"{1 / wall.slower[RAW].median:.2f} raw")
        if self.most is not None and count and count.figures[HERMETIC] > self.most:
            found.append(f"{count.figures[HERMETIC]:g}")
        return found

    def __str__(self) -> str:
        told = [
            f"{sign} {value:g}{unit}"
            for sign, value, unit in (
                ("≥", self.faster, "x"),
                ("≥", self.less, "x"),
                ("≤", self.raw, " raw"),
                ("≤", self.most, ""),
            )
            if value is not None
        ]
        return ", ".join(told)


def _measure(measures: dict[str, Measured], name: str) -> Measured | None:
    return measures.get(name or "count")


class Floors:
    """The floors and goals of ``floors.toml``."""

    def __init__(self, path: Path = _FLOORS) -> None:
        self._table = tomllib.loads(path.read_text(encoding="utf-8"))

    def floor(self, stage: str, work: str) -> Bound:
        return self._bound("floor", stage, work) or Bound(**self._table["floor"]["default"])

    def goal(self, stage: str, work: str) -> Bound | None:
        return self._bound("goal", stage, work)

    def _bound(self, of: str, stage: str, work: str) -> Bound | None:
        table = self._table[of]
        found = table.get(f"{stage}/{work}", table.get(work))
        return None if found is None else Bound(**found)
