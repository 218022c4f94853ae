"""What was measured, judged by the floors: a table for the terminal, and JSON."""

from __future__ import annotations

import json
import platform
import statistics
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.measure import Ratio, Series, ratio
from bench.stages import HERMETIC, RAW, SQLALCHEMY
from bench.work import WORKS

_FLOORS = Path(__file__).with_name("floors.toml")
_PACKAGES = ("sqlalchemy", "psycopg", "asyncpg", "aiosqlite")


@dataclass(frozen=True, slots=True)
class Result:
    """One work on one stage. Microseconds are medians, by contender; ratios are hermetic's."""

    stage: str
    work: str
    rounds: int
    wall: dict[str, float]
    cpu: dict[str, float]
    wall_ratio: Ratio
    cpu_ratio: Ratio
    wall_floor: float
    cpu_floor: float

    @property
    def passed(self) -> bool:
        return self.wall_ratio.median <= self.wall_floor and self.cpu_ratio.median <= self.cpu_floor


class Floors:
    """What hermetic may cost, from ``floors.toml``."""

    def __init__(self, path: Path = _FLOORS) -> None:
        self._table = tomllib.loads(path.read_text())

    def of(self, measure: str, stage: str, work: str) -> float:
        """The floor of a measure (``wall`` or ``cpu``), the stage's own where it has one."""
        table = self._table[measure]
        return float(table.get(stage, table).get(work, table[work]))

    def judge(self, stage: str, work: str, found: dict[str, Series]) -> Result:
        ours, theirs = found[HERMETIC], found[SQLALCHEMY]
        return Result(
            stage,
            work,
            len(ours.wall),
            {name: statistics.median(series.wall) for name, series in found.items()},
            {name: statistics.median(series.cpu) for name, series in found.items()},
            ratio(ours.wall, theirs.wall),
            ratio(ours.cpu, theirs.cpu),
            self.of("wall", stage, work),
            self.of("cpu", stage, work),
        )


# ---------------------------------------------------------------- the table

_COLUMNS = ("on", "work", "µs", "raw", "SQLAlchemy", "hermetic", "ratio", "quartiles", "floor", "")


def lines(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """Two lines for each result: wall time and CPU time."""
    rows: list[tuple[str, ...]] = []
    for result in results:
        for measure, times, of, floor in (
            ("wall", result.wall, result.wall_ratio, result.wall_floor),
            ("cpu", result.cpu, result.cpu_ratio, result.cpu_floor),
        ):
            first = measure == "wall"
            rows.append(
                (
                    result.stage if first else "",
                    WORKS[result.work] if first else "",
                    measure,
                    f"{times[RAW]:.1f}" if RAW in times else "",
                    f"{times[SQLALCHEMY]:.1f}",
                    f"{times[HERMETIC]:.1f}",
                    f"{of.median:.2f}",
                    f"{of.low:.2f} to {of.high:.2f}",
                    f"{floor:.2f}",
                    "ok" if of.median <= floor else "ABOVE",
                )
            )
    return rows


def show(results: Sequence[Result]) -> None:
    """Print the table, by rich where that is installed."""
    title = "Microseconds for one unit of work; ratio: hermetic to SQLAlchemy, median of the rounds"
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        _show_plain(title, lines(results))
        return
    table = Table(title=title)
    for column in _COLUMNS:
        table.add_column(column, justify="left" if column in ("on", "work", "µs", "") else "right")
    for row in lines(results):
        if row[0]:
            table.add_section()
        table.add_row(*row, style="red" if row[-1] == "ABOVE" else None)
    # as wide as it has to be where nobody tells how wide the reader is
    Console(width=None if sys.stdout.isatty() else 130).print(table)


def _show_plain(title: str, rows: list[tuple[str, ...]]) -> None:
    table = [_COLUMNS, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(_COLUMNS))]
    print(title)
    for row in table:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )


# ---------------------------------------------------------------- the file


def write(results: Sequence[Result], path: Path) -> None:
    """Write everything as JSON, with the versions it was measured with."""
    document: dict[str, Any] = {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        "results": [{**asdict(result), "passed": result.passed} for result in results],
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n")
