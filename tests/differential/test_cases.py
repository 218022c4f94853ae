"""Every case, by hermetic's scopes and drop-in sessions, is what it is by SQLAlchemy; with nobody
listening, and with listeners to each kind of event.
"""

from __future__ import annotations

import pytest

from tests.differential.cases import BY_HAND, CASES
from tests.differential.compare import Case, compare
from tests.differential.contestants import Contestant
from tests.differential.ears import GROUPS
from tests.thorough import share

Contestants = dict[str, Contestant]


# each of these hears a share of the cases
SOME = [group for group in GROUPS if group not in ("silent", "all")]


def name_of(case: Case) -> str:
    return case.__name__


@pytest.mark.parametrize("case", CASES, ids=name_of)
@pytest.mark.parametrize("kind", ["dropin", "scoped"])
def test_there_is_no_difference(contestants: Contestants, kind: str, case: Case) -> None:
    compare(case, contestants["plain"], contestants[kind])


@pytest.mark.parametrize("case", BY_HAND, ids=name_of)
def test_there_is_no_difference_by_hand(contestants: Contestants, case: Case) -> None:
    compare(case, contestants["plain"], contestants["dropin"])


@pytest.mark.parametrize("case", CASES, ids=name_of)
@pytest.mark.parametrize("kind", ["dropin", "scoped"])
def test_listeners_hear_the_same(contestants: Contestants, kind: str, case: Case) -> None:
    compare(case, contestants["plain"], contestants[kind], "all")


@pytest.mark.slow
@pytest.mark.parametrize("group", SOME)
@pytest.mark.parametrize("kind", ["dropin", "scoped"])
def test_listeners_to_some_events_hear_the_same(
    contestants: Contestants, kind: str, group: str
) -> None:
    number = SOME.index(group) + (kind == "scoped")
    for case in share(CASES, number, 3):
        compare(case, contestants["plain"], contestants[kind], group)
    for case in share(BY_HAND, number, 3) if kind == "dropin" else ():
        compare(case, contestants["plain"], contestants[kind], group)
