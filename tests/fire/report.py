"""What a soak has to tell, as JSON and as a page of tables."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.fire.rounds import Result


@dataclass
class Report:
    """Sums over rounds. A violation keeps the seed of its round."""

    seed: str
    rate: float
    resolve: str | None
    rounds: int = 0
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    by_place: Counter[str] = field(default_factory=Counter)
    in_commit: Counter[str] = field(default_factory=Counter)
    units: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    attempts: int = 0
    appended: int = 0
    unknown_and_there: int = 0
    asked: int = 0
    overruns: list[tuple[float, str]] = field(default_factory=list)
    recoveries: dict[str, list[float]] = field(default_factory=dict)
    violations: list[dict[str, str]] = field(default_factory=list)
    footprints: list[dict[str, float]] = field(default_factory=list)

    def add(self, result: Result) -> None:
        record = result.record
        self.rounds += 1
        self.seconds += result.seconds
        for (fault, place), count in record.faults.items():
            self.faults[fault] += count
            self.by_place[place] += count
        for (fault, _), count in record.in_commit.items():
            self.in_commit[fault] += count
        for (outcome, place), count in record.outcomes.items():
            self.outcomes[f"{outcome} {place}"] += count
        for (error, _), count in record.errors.items():
            self.errors[error] += count
        self.units.update(result.units)
        self.attempts += record.attempts
        self.appended += result.appended
        self.asked += result.asked
        self.unknown_and_there += result.unknown_and_there
        # the longest of each round are enough, however many rounds there are
        self.overruns = sorted([*self.overruns, *record.overruns])[-1000:]
        for place, times in record.recoveries.items():
            self.recoveries.setdefault(place, []).extend(times)
        self.violations += [
            {"seed": result.seed, "kind": each.kind, "told": each.told}
            for each in record.violations
        ]
        self.footprints.append({"at": self.seconds, **asdict(result.footprint)})

    # ------------------------------------------------------------ figures

    @property
    def injected(self) -> int:
        return sum(self.faults.values())

    @property
    def injected_in_commit(self) -> int:
        return sum(self.in_commit.values())

    def slope(self) -> float | None:
        """Megabytes of memory per hour, the first rounds aside, in which caches fill."""
        later = self.footprints[2:]
        if len(later) < 3:
            return None
        at = [each["at"] / 3600 for each in later]
        return statistics.linear_regression(at, [each["megabytes"] for each in later]).slope

    def figures(self) -> dict[str, Any]:
        slope = self.slope()
        return {
            "seed": self.seed,
            "resolve": self.resolve or "none",
            "rounds": self.rounds,
            "seconds": round(self.seconds, 1),
            "units": sum(self.units.values()),
            "attempts": self.attempts,
            "list transactions": self.appended,
            "faults": self.injected,
            "faults per second": round(self.injected / (self.seconds or 1), 1),
            "faults in COMMIT": self.injected_in_commit,
            "unknown, and found out when all was reachable": self.asked,
            "unknown": self.units["UNKNOWN"],
            "unknown and applied": self.unknown_and_there,
            "deadlines overrun by more than 0.25 s": sum(
                seconds > 0.25 for seconds, _ in self.overruns
            ),
            "longest overrun": round(max(self.overruns, default=(0.0, ""))[0], 3),
            "memory slope, MB per hour": None if slope is None else round(slope, 1),
            "violations": len(self.violations),
        }

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        told = {"figures": self.figures(), **vars(self)}
        (folder / "report.json").write_text(json.dumps(told, indent=1) + "\n")
        (folder / "report.md").write_text(self.page())

    def page(self) -> str:
        recovered = {
            f"{place}, {len(times)} times": f"{statistics.median(times):.2f} s in the middle, "
            f"{max(times):.2f} s at most"
            for place, times in sorted(self.recoveries.items())
        }
        parts = [
            "# Soak",
            _table(("figure", ""), self.figures()),
            "## Violations",
            _violations(self.violations),
            "## Deadlines that were overrun",
            _table(("unit", "seconds"), {unit: f"{s:.3f}" for s, unit in self.overruns[-10:]}),
            "## Faults",
            _table(("fault", "injected", "in COMMIT"), self.faults, self.in_commit),
            _table(("place", "faults"), self.by_place),
            "## Units",
            _table(("outcome and place", "units"), self.outcomes),
            _table(("ended with", "units"), self.errors),
            "## Recovery: from when the server accepts to the first commit",
            _table(("place", "seconds"), recovered),
        ]
        return "\n\n".join(parts) + "\n"


def _table(head: Sequence[str], *columns: Mapping[str, Any]) -> str:
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name in sorted(columns[0]) if isinstance(columns[0], Counter) else columns[0]:
        cells = " | ".join(str(column.get(name, "")) for column in columns)
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


def _violations(violations: Sequence[Mapping[str, str]]) -> str:
    if not violations:
        return "None."
    return "\n".join(f"- seed `{v['seed']}`, {v['kind']}: {v['told']}" for v in violations)
