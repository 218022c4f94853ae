"""Work and faults on real servers, for a minute or two: what every push must stand.

`HERMETIC_FIRE_SEED` repeats a run: the same plan of faults, the same work. `make soak` is the same
for as long as one likes. Both processors are busy meanwhile, so that `make fire` runs it alone.
"""

from __future__ import annotations

import itertools
import os
import random
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from hermetic import Outcome, outcome
from tests.fire.nemesis import Nemesis
from tests.fire.plan import ACTS, STAGES, Step, plan
from tests.fire.report import Report
from tests.fire.snares import Act
from tests.fire.soak import FAMILIES, Soak
from tests.servers import installed

SEED: Final = os.environ.get("HERMETIC_FIRE_SEED") or str(random.randrange(1_000_000))

_RATE: Final = 45.0
# A busy machine injects fewer than a quiet one.
_FEWEST: Final = 3.0
# The plan has one in five there; what comes of it in so few seconds is by chance.
_IN_COMMIT: Final = 0.01

_FIRES: Final = [
    *((family,) for family in FAMILIES),
    FAMILIES,
]


def first_steps(seed: str, count: int = 5000) -> list[Step]:
    places, families = ("psycopg", "mariadb", "sqlite"), ("postgresql", "mariadb", "sqlite")
    return list(itertools.islice(plan(seed, places, families, _RATE), count))


def test_a_seed_has_one_plan() -> None:
    assert first_steps("7:1") == first_steps("7:1")
    assert first_steps("7:1") != first_steps("7:2")


def test_a_plan_has_every_fault_everywhere() -> None:
    steps = first_steps("7:1")

    assert {step.act for step in steps if step.fault == "wire"} == set(ACTS) == {*Act.__members__}
    assert {step.stage for step in steps if step.fault == "wire"} == set(STAGES)
    for fault in {step.fault for step in steps}:
        assert hasattr(Nemesis, f"_{fault.replace(' ', '_')}")
    assert {step.place for step in steps} == {"psycopg", "mariadb", "sqlite"}
    assert not any(step.place == "sqlite" for step in steps if step.fault == "wire")


@pytest.mark.slow
@pytest.mark.timing
@pytest.mark.timeout(240)
@pytest.mark.parametrize("families", _FIRES, ids="-".join)
def test_what_must_be_true_is_true_under_fire(families: tuple[str, ...], tmp_path: Path) -> None:
    missing = [name for name in families if name != "sqlite" and not installed()[name]]
    if missing:
        pytest.skip(f"{', '.join(missing)} MISSING")
    seed = f"{SEED}:{'-'.join(families)}"
    seconds = 20.0 if len(families) > 1 else 12.0
    sys.stdout.write(f"HERMETIC_FIRE_SEED={SEED}\n")
    report = Report(SEED, _RATE, None)

    with Soak(tmp_path, families, None) as soak:
        report.add(soak.round(seed, seconds, _RATE))

    sys.stdout.write(report.page())
    again = f"python -m tests.fire.soak --round {seed} --families {','.join(families)}"
    assert report.violations == [], f"HERMETIC_FIRE_SEED={SEED}, or: {again} --seconds {seconds}"
    assert soak.left == []
    assert report.injected / seconds > _FEWEST
    assert report.injected_in_commit > _IN_COMMIT * report.injected
    assert report.units["COMMITTED"] > 0


@pytest.mark.slow
@pytest.mark.timing
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("lie", "kinds"),
    [
        # it is run again, although it may have been applied
        (Outcome.NOT_COMMITTED, {"phantom", "duplicate"}),
        (Outcome.COMMITTED, {"lost commit"}),
    ],
)
def test_a_lie_about_lost_answers_does_not_pass(
    lie: Outcome, kinds: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not installed()["postgresql"]:
        pytest.skip("postgresql MISSING")
    truth = outcome.outcome_of

    def false(scope: Any, failed: BaseException) -> Outcome:
        told = truth(scope, failed)
        return lie if told is Outcome.UNKNOWN else told

    monkeypatch.setattr(outcome, "outcome_of", false)
    with Soak(tmp_path, ("postgresql",), None) as soak:
        found = soak.round(f"{SEED}:lie", 6.0, _RATE).record.violations

    assert kinds & {violation.kind for violation in found}
