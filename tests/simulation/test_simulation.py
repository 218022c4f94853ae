"""Runs in virtual time, each by its seed; and what would be found if hermetic failed."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
FIRST: Final = int(os.environ.get("HERMETIC_SIMULATION_SEED") or random.randrange(10**9))
RUNS: Final = 30


def simulated(first: int, count: int, *sabotage: str) -> tuple[dict[str, Any], list[str]]:
    """What a process of its own reports of its runs, where time is virtual from its start."""
    command = [sys.executable, "-W", "error", "-m", "tests.simulation.run"]
    done = subprocess.run(
        [*command, str(first), str(count), *sabotage],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *violations, last = done.stdout.splitlines()
    return json.loads(last), violations


@pytest.mark.slow
def test_nothing_that_must_not_be_is_found_in_any_run() -> None:
    report, violations = simulated(FIRST, RUNS)

    again = f"HERMETIC_SIMULATION_SEED={FIRST}, or: python -m tests.simulation.run SEED 1"
    assert violations == [], again
    assert report["runs"] == RUNS
    # it was not peaceful
    for what in ("fault commit", "fault ioerr", "fault slow", "cancelled", "COMMITTED"):
        assert report[what] > RUNS / 10, again
    assert report.get("left unknown", 0) < report["fault commit"] / 10, again


@pytest.mark.slow
def test_a_seed_is_one_run() -> None:
    first, _ = simulated(7, 5)
    again, _ = simulated(7, 5)
    other, _ = simulated(8, 5)

    assert first == again
    assert first["digest"] != other["digest"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sabotage", "found"),
    [
        ("reruns", ("duplicate", "phantom")),
        ("guesses", ("phantom", "duplicate")),
        ("swallows", ("swallowed cancellation",)),
        ("loses", ("lost commit",)),
        ("keeps", ("phantom", "duplicate", "half a unit", "savepoint", "bank")),
    ],
)
def test_what_is_broken_on_purpose_is_found(sabotage: str, found: tuple[str, ...]) -> None:
    for first in range(1, 121, 15):
        _, violations = simulated(first, 15, sabotage)
        if any(f": {kind}:" in violation for violation in violations for kind in found):
            return
    pytest.fail("nothing was found in 120 runs")
