"""Puts the figures of a soak into "What survives": `python -m tools.soak_page [REPORT.json …]`.

Without a file those of the last `make soak`. Of several reports the counts are added up.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = ROOT / "docs" / "survives.md"
_LAST: Final = ROOT / "build" / "soak" / "report.json"
_PART: Final = re.compile(r"(?<=<!-- soak -->\n).*?(?=<!-- end -->)", re.DOTALL)


def table(reports: list[dict[str, Any]]) -> str:
    """The counts, fault by fault, then what came of them."""
    faults: Counter[str] = Counter()
    in_commit: Counter[str] = Counter()
    for report in reports:
        for counts, told in ((faults, report["faults"]), (in_commit, report["in_commit"])):
            for name, count in told.items():
                # at whatever message it struck
                counts[name.partition(" at ")[0].removesuffix(" in commit")] += count
    lines = ["| fault | injected | in COMMIT |", "|---|---|---|"]
    for name in sorted(faults):
        inside = f"{in_commit[name]:,}" if in_commit[name] else ""
        lines.append(f"| {name} | {faults[name]:,} | {inside} |")
    total, committing = sum(faults.values()), sum(in_commit.values())
    lines.append(f"| **all** | **{total:,}** | **{committing:,}** |")
    return "\n".join([*lines, "", *_outcome(reports)]) + "\n"


def _outcome(reports: list[dict[str, Any]]) -> list[str]:
    figures = [report["figures"] for report in reports]
    seconds = sum(each["seconds"] for each in figures)
    ways = ", ".join(sorted({each["resolve"] for each in figures}))
    told = {
        "units of work": f"{sum(each['units'] for each in figures):,}",
        "hours": f"{seconds / 3600:.2f}",
        "`resolve_commits`": ways,
        "unknown at first, and found out when all was reachable": f"{sum(map(_asked, figures)):,}",
        "unknown then": f"{sum(each['unknown'] for each in figures):,}",
        "violations": str(sum(each["violations"] for each in figures)),
        "deadlines overrun by more than 250 ms": str(
            sum(each["deadlines overrun by more than 0.25 s"] for each in figures)
        ),
        "longest overrun": f"{max(each['longest overrun'] for each in figures):.2f} s",
    }
    for place, times in _recoveries(reports).items():
        told[f"first commit after the server accepts again, {place}"] = (
            f"{max(times):.2f} s at most, of {len(times)}"
        )
    seeds = ", ".join(str(each["seed"]) for each in figures)
    return [
        "| outcome | |",
        "|---|---|",
        *(f"| {what} | {value} |" for what, value in told.items()),
        "",
        f"Seeds: {seeds}.",
    ]


def _asked(figures: dict[str, Any]) -> int:
    found: int = figures["unknown, and found out when all was reachable"]
    return found


def _recoveries(reports: list[dict[str, Any]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for report in reports:
        for place, times in report["recoveries"].items():
            found.setdefault(place, []).extend(times)
    return dict(sorted(found.items()))


def main() -> None:
    paths = [Path(name) for name in sys.argv[1:]] or [_LAST]
    reports = [json.loads(path.read_text()) for path in paths]
    PAGE.write_text(_PART.sub(lambda _: table(reports), PAGE.read_text()))


if __name__ == "__main__":
    main()
