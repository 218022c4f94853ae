"""The checkers find what they look for, and nothing in a sound history."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermetic import Outcome
from tests.fire.checkers.fairness import check_fairness
from tests.fire.checkers.ledger import PARTS, Ledger, Mark
from tests.fire.checkers.reads import check_answer, check_bank, check_tenant

_ALL = range(PARTS)


def whole(token: str, run: int = 1) -> list[Mark]:
    return [(token, run, part) for part in _ALL]


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger()
    for token in ("good", "bad", "lost", "untold"):
        made.intend(token)
    made.told("good", Outcome.COMMITTED)
    made.told("bad", Outcome.NOT_COMMITTED)
    made.told("lost", Outcome.UNKNOWN)
    return made


@pytest.mark.parametrize(
    "marks",
    [
        whole("good"),
        whole("good", run=3),
        [*whole("good"), *whole("lost")],
        [*whole("good"), *whole("untold")],
    ],
)
def test_a_sound_ledger_has_no_violation(ledger: Ledger, marks: list[Mark]) -> None:
    assert ledger.check(marks) == []


@pytest.mark.parametrize(
    ("marks", "kind"),
    [
        ([], "lost commit"),
        ([*whole("good"), *whole("bad")], "phantom"),
        ([*whole("good"), *whole("good", run=2)], "duplicate"),
        ([*whole("good"), ("good", 1, 0)], "duplicate"),
        ([*whole("good"), *whole("lost"), *whole("lost", run=2)], "duplicate"),
        (whole("good")[:-1], "half a unit"),
        ([*whole("good"), *whole("lost")[1:]], "half a unit"),
        ([*whole("good"), *whole("untold")[:1]], "half a unit"),
        ([*whole("good"), *whole("nobody's")], "stranger"),
    ],
)
def test_a_false_ledger_is_found(ledger: Ledger, marks: list[Mark], kind: str) -> None:
    assert {violation.kind for violation in ledger.check(marks)} == {kind}


def test_a_ledger_counts_what_was_told(ledger: Ledger) -> None:
    assert ledger.counts() == {
        "COMMITTED": 1,
        "NOT_COMMITTED": 1,
        "UNKNOWN": 1,
        "untold": 1,
    }
    assert ledger.unknown_and_there([*whole("lost"), *whole("untold")]) == 1


def test_a_ledger_in_a_file_outlives_its_process(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    written = Ledger(path)
    written.intend("good")
    written.told("good", Outcome.COMMITTED)
    written.intend("untold")
    written.close()
    with path.open("a") as file:
        file.write('["torn", "comm')

    read = Ledger.read(path)

    assert read.counts() == {"COMMITTED": 1, "untold": 1}
    assert [violation.kind for violation in read.check(whole("untold"))] == ["lost commit"]


@pytest.mark.parametrize(
    ("balances", "found"),
    [([5, 5], 0), ([10, 0], 0), ([5, 4], 1), ([5, 6], 1), ([11, -1], 1), ([-1, 5], 2)],
)
def test_money_that_is_made_lost_or_owed_is_found(balances: list[int], found: int) -> None:
    assert len(check_bank(balances, 10)) == found


def test_another_querys_answer_is_found() -> None:
    assert check_answer("mine", "mine") == []
    assert [v.kind for v in check_answer("mine", "yours")] == ["foreign answer"]
    assert [v.kind for v in check_answer("mine", None)] == ["foreign answer"]


def test_another_tenants_row_is_found() -> None:
    assert check_tenant("ann", [(1, "ann"), (2, "ann")]) == []
    (found,) = check_tenant("ann", [(1, "ann"), (2, "bob")])
    assert found.kind == "foreign tenant"
    assert "'bob'" in found.told


@pytest.mark.parametrize(
    ("served", "waits", "found"),
    [
        ({"a": 10, "b": 11}, [0.1] * 100, 0),
        ({"a": 10, "b": 21}, [0.1] * 100, 1),
        ({"a": 0, "b": 0}, [0.1] * 100, 1),
        ({"a": 10, "b": 10}, [0.1] * 97 + [9.0] * 3, 1),
    ],
)
def test_an_unequal_service_is_found(
    served: dict[str, int], waits: list[float], found: int
) -> None:
    assert len(check_fairness(served, waits)) == found
