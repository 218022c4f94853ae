"""The table of cases: small programs, each of them one sharp question."""

from __future__ import annotations

from typing import Final

from tests.differential.compare import Case

# run as a scope, and on a session that is committed for it
CASES: Final[list[Case]] = []
# what begins and ends its session itself, and so is nothing for a scope
BY_HAND: Final[list[Case]] = []


def case(function: Case) -> Case:
    CASES.append(function)
    return function


def by_hand(function: Case) -> Case:
    BY_HAND.append(function)
    return function
