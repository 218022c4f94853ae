"""Puts the figures of the last `make bench` into the README.

make bench && python -m tools.readme_costs
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
README: Final = ROOT / "README.md"
RESULTS: Final = ROOT / "bench" / "results" / "latest.json"

_STAGES: Final = {
    "sqlite": "SQLite, threads",
    "aiosqlite": "SQLite, asyncio",
    "psycopg": "PostgreSQL, threads",
    "psycopg_async": "PostgreSQL, asyncio (psycopg)",
    "asyncpg": "PostgreSQL, asyncio (asyncpg)",
}
_WORKS: Final = ("get", "empty", "nested")
_PART: Final = re.compile(r"(?<=<!-- bench -->\n).*?(?=<!-- end -->)", re.DOTALL)


def table(results: dict[str, Any]) -> str:
    """The figures as a Markdown table: a row for each stage, medians over all rounds."""
    found = {(each["stage"], each["work"]): each for each in results["results"]}
    rows = [
        "| | raw driver | SQLAlchemy | hermetic | ratio: get | empty scope | nested scope |",
        "|---|---|---|---|---|---|---|",
    ]
    for stage, name in _STAGES.items():
        works = [found.get((stage, work)) for work in _WORKS]
        if None in works:
            raise SystemExit(f"{RESULTS.name} has not every work of {stage}: run `make bench`")
        cpu = found[stage, "get"]["cpu"]
        times = [f"{cpu[who]:.0f}" for who in ("raw driver", "SQLAlchemy", "hermetic")]
        ratios = [_ratio(each["cpu_ratio"]) for each in works if each is not None]
        rows.append(f"| {' | '.join([name, *times, *ratios])} |")
    versions = ", ".join(f"{name} {version}" for name, version in results["packages"].items())
    rounds = max(each["rounds"] for each in results["results"])
    return "\n".join(
        [
            "Microseconds of CPU time for one unit of work (open, get one object by its key,",
            "commit), and hermetic's time as a multiple of plain SQLAlchemy's `with",
            "sessionmaker.begin()`, with the quartiles of the rounds. The raw driver makes no",
            "objects.",
            "",
            *rows,
            "",
            f"`make bench`: up to {rounds} rounds in turns, Python {results['python']},",
            f"{versions}. It prints wall time too.",
            "",
        ]
    )


def _ratio(found: dict[str, float]) -> str:
    return f"{found['median']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


def main() -> int:
    figures = table(json.loads(RESULTS.read_text(encoding="utf-8")))
    text = README.read_text(encoding="utf-8")
    README.write_text(_PART.sub(lambda _: figures, text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
