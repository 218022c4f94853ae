"""Programs as data: scopes of steps. A step's numbers choose among what there is when it comes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.differential.programs.verbs import BETWEEN, INSIDE


@dataclass(frozen=True)
class Step:
    verb: str
    a: int
    b: int
    c: int


@dataclass(frozen=True)
class Part:
    """One scope, and what is done with its objects after it."""

    inside: tuple[Step, ...]
    after: tuple[Step, ...]


@dataclass(frozen=True)
class Program:
    # which shapes its steps are about: few, so that they meet
    models: tuple[int, ...]
    parts: tuple[Part, ...]
    # whether the last scope is left with an error
    unwanted: bool


def steps(verbs: tuple[str, ...], most: int) -> st.SearchStrategy[tuple[Step, ...]]:
    number = st.integers(0, 29)
    step = st.builds(Step, st.sampled_from(verbs), number, number, number)
    return st.lists(step, max_size=most).map(tuple)


def programs(*, most: int = 16) -> st.SearchStrategy[Program]:
    part: Any = st.builds(Part, steps(INSIDE, most), steps(BETWEEN, 3))
    parts = st.lists(part, min_size=1, max_size=3).map(tuple)
    models = st.lists(st.integers(0, 29), min_size=1, max_size=4).map(tuple)
    return st.builds(Program, models, parts, st.booleans())
