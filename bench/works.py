"""The works: what every contender is asked to do, and how its time is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from bench.entity import Sizes


class Kind(Enum):
    """How a work is measured."""

    SMALL = "one unit of work: many to a turn"
    BULK = "many rows: one to a turn"


@dataclass(frozen=True, slots=True)
class Work:
    """``rows`` is what a time is divided by: of one unit, or of one of the rows in it."""

    name: str
    text: str
    kind: Kind = Kind.SMALL
    rows: Callable[[Sizes], int] = lambda _: 1
    needs: str = "hermetic cannot do this"

    @property
    def unit(self) -> str:
        return "µs" if self.kind is Kind.SMALL else "µs/row"


GET, SELECT, READONLY = "get", "select", "readonly"
INSERT, CHANGE = "insert", "change"
EMPTY, NESTED = "empty", "nested"

WORKS: dict[str, Work] = {
    work.name: work
    for work in (
        Work(GET, "get by key, commit"),
        Work(SELECT, "select().where(), commit"),
        Work(READONLY, "read-only, get by key"),
        Work(INSERT, "insert one, commit"),
        Work(CHANGE, "get, change one, commit"),
        Work(EMPTY, "empty scope"),
        Work(NESTED, "nested scope with one get"),
    )
}
