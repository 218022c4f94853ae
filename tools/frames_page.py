"""Puts the figures of the last ``python bench/frames.py`` into docs/frames.md."""

from __future__ import annotations

import json
import re
import sys
from typing import Any, Final

from tools.bench_results import ROOT

PAGE: Final = ROOT / "docs" / "frames.md"
RESULTS: Final = ROOT / "bench" / "results" / "frames.json"
_PART: Final = re.compile(r"(?<=<!-- bench: frames -->\n).*?(?=<!-- end -->)", re.DOTALL)
_TIMES: Final = "\N{MULTIPLICATION SIGN}"

_INTO_SQL: Final = "`pandas.to_sql`"
_READ_SQL: Final = "`pandas.read_sql`"
# family, reading or writing, ours, the other, what was done, beside what, the goal; a goal below 0
# is a bound on the time, as so many times the other's
_LINES: Final[tuple[tuple[str, str, str, str, str, str, float], ...]] = (
    ("postgresql", "read", "arrow", "read_sql", "PostgreSQL into Arrow", _READ_SQL, 7),
    ("postgresql", "read", "arrow", "ADBC", "PostgreSQL into Arrow", "ADBC", 0.8),
    ("postgresql", "read", "polars", "read_sql", "PostgreSQL into polars", _READ_SQL, 7),
    ("postgresql", "read", "pandas", "read_sql", "PostgreSQL into pandas", _READ_SQL, 4),
    ("postgresql", "write", "arrow", "to_sql", "into PostgreSQL", _INTO_SQL, 15),
    ("postgresql", "write", "arrow", "COPY", "into PostgreSQL", "COPY of the bytes", -1.3),
    ("sqlite", "read", "arrow", "fetchall", "SQLite into Arrow", "`fetchall`", -1.4),
    ("sqlite", "write", "arrow", "executemany", "into SQLite", "`executemany`", -1.2),
    ("mariadb", "read", "arrow", "read_sql", "MariaDB into Arrow", _READ_SQL, 3),
    ("mariadb", "write", "arrow", "to_sql", "into MariaDB", _INTO_SQL, 8),
)


def figures(results: dict[str, Any]) -> str:
    """The table."""
    lines = ["| | beside | hermetic | the other | |\n", "|---|---|---|---|---|\n"]
    for family, work, ours, other, what, beside, goal in _LINES:
        times = results.get(family, {}).get(work, {})
        if ours in times and other in times:
            told = _told(times[ours], times[other], goal)
            seconds = f"{times[ours]:.2f} s | {times[other]:.2f} s"
            lines.append(f"| {what} | {beside} | {seconds} | {told} |\n")
    grown = ", ".join(
        f"{value:.0f} MB after {int(rows):,} rows" for rows, value in results["memory"].items()
    )
    sizes = (
        f"{results['rows']:,} rows of 7 columns, medians of {results['rounds']} rounds in turns."
    )
    return "".join(lines) + f"\n{sizes}\nWhat `batches` had the process grow by: {grown}.\n"


def _told(ours: float, theirs: float, goal: float) -> str:
    ratio = theirs / ours if goal > 0 else ours / theirs
    met = ratio >= goal if goal > 0 else ratio <= -goal
    word = "as fast" if goal > 0 else "its time"
    return f"{ratio:.1f}{_TIMES} {word}" + ("" if met else f" (goal {abs(goal):g})")


def main() -> int:
    made = figures(json.loads(RESULTS.read_text(encoding="utf-8")))
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(_PART.sub(lambda _: made, text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
