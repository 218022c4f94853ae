"""The results of `make bench`, as the tools that show them read them."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = ROOT / "bench" / "results"
RAW, SQLALCHEMY, HERMETIC = "raw driver", "SQLAlchemy", "hermetic"
NOT_PEERS: Final = frozenset({RAW, SQLALCHEMY, HERMETIC})

STAGES: Final = {
    "sqlite": "SQLite",
    "psycopg": "PostgreSQL",
    "aiosqlite": "aiosqlite",
    "psycopg_async": "psycopg, asyncio",
    "asyncpg": "asyncpg",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One work on one stage."""

    found: dict[str, Any]

    @property
    def text(self) -> str:
        return str(self.found["text"])

    @property
    def unit(self) -> str:
        return str(self.found["unit"])

    @property
    def goal(self) -> dict[str, float | None]:
        return self.found["goal"] or {}

    @property
    def behind(self) -> list[str]:
        return list(self.found["behind"])

    def figures(self, measure: str = "") -> dict[str, float]:
        """The medians by contender; of wall time, or of the count, where no measure is named."""
        return dict(self._measure(measure)["figures"])

    def slower(self, name: str, measure: str = "") -> float | None:
        """A contender's figure as a multiple of hermetic's; None if it did not take part."""
        found = self._measure(measure)["slower"].get(name)
        return None if found is None else float(found["median"])

    def _measure(self, name: str) -> dict[str, Any]:
        measures: dict[str, Any] = self.found["measures"]
        found: dict[str, Any] = measures[name] if name else next(iter(measures.values()))
        return found


class Results:
    """One run, by stage and work."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        self._cases = {
            (each["stage"], each["work"]): Case(each) for each in self.document["results"]
        }

    def case(self, stage: str, work: str) -> Case | None:
        return self._cases.get((stage, work))

    @property
    def versions(self) -> str:
        packages = {"Python": self.document["python"], **self.document["packages"]}
        return ", ".join(f"{name} {version}" for name, version in packages.items())

    @property
    def sizes(self) -> dict[str, int]:
        return dict(self.document["sizes"])

    @property
    def rounds(self) -> int:
        return max(int(each["rounds"]) for each in self.document["results"])


def chosen() -> Path:
    """The file that the command line names, or that of the last run."""
    return Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS / "latest.json"


def figure(value: float) -> str:
    """Three digits, or as many as there are before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
