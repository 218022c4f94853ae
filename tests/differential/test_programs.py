"""Random programs of models, data and steps, played by SQLAlchemy and by hermetic.

HERMETIC_DIFFERENTIAL=20 plays twenty times as many.
"""

from __future__ import annotations

import functools
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import in_ci
from tests.differential.compare import compare
from tests.differential.contestants import Contestant
from tests.differential.ears import GROUPS
from tests.differential.programs.play import play
from tests.differential.programs.program import Program, programs

EXAMPLES = 60 * int(os.environ.get("HERMETIC_DIFFERENTIAL", "1"))

played = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=in_ci(),
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def check(contestants: dict[str, Contestant], kind: str, group: str, program: Program) -> None:
    compare(functools.partial(play, program), contestants["plain"], contestants[kind], group)


@pytest.mark.slow
@pytest.mark.timeout(60 * max(2, EXAMPLES // 100))
@pytest.mark.parametrize("kind", ["dropin", "scoped"])
@played
@given(program=programs())
def test_programs_end_the_same(
    contestants: dict[str, Contestant], kind: str, program: Program
) -> None:
    check(contestants, kind, "silent", program)


@pytest.mark.slow
@pytest.mark.timeout(60 * max(2, EXAMPLES // 100))
@pytest.mark.parametrize("kind", ["dropin", "scoped"])
@played
@given(program=programs(), group=st.sampled_from([name for name in GROUPS if name != "silent"]))
def test_programs_are_heard_the_same(
    contestants: dict[str, Contestant], kind: str, group: str, program: Program
) -> None:
    check(contestants, kind, group, program)
