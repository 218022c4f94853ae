"""What a checker answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that must not be: its kind, which is counted, and what was seen."""

    kind: str
    told: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.told}"
