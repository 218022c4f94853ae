"""Each fault that is put into a session is found, where it shows; a session without one is not."""

from __future__ import annotations

import functools

import pytest
from hypothesis import Phase, find, settings
from hypothesis.errors import NoSuchExample
from sqlalchemy.orm import Session

from tests.differential.compare import Difference, compare
from tests.differential.contestants import ByFactory, Contestant
from tests.differential.faulty import FAULTS, Fault, ForgetsHistory, LosesARow, factory
from tests.differential.programs.play import play
from tests.differential.programs.program import Program, programs


def with_session(contestants: dict[str, Contestant], session: type[Session]) -> Contestant:
    plain = contestants["dropin"]
    return ByFactory("faulty", factory(session), plain.engine, plain.ground)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f"{f.session.__name__}-{f.case.__name__}")
def test_a_fault_is_found(contestants: dict[str, Contestant], fault: Fault) -> None:
    faulty = with_session(contestants, fault.session)

    with pytest.raises(Difference) as found:
        compare(fault.case, contestants["plain"], faulty, fault.group)

    assert any(fault.shows in line for line in found.value.found)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f"{f.session.__name__}-{f.case.__name__}")
def test_without_a_fault_nothing_is_found(contestants: dict[str, Contestant], fault: Fault) -> None:
    compare(fault.case, contestants["plain"], with_session(contestants, Session), fault.group)


@pytest.mark.slow
@pytest.mark.parametrize("session", [ForgetsHistory, LosesARow])
def test_random_programs_find_a_fault(
    contestants: dict[str, Contestant], session: type[Session]
) -> None:
    faulty = with_session(contestants, session)

    def differs(program: Program) -> bool:
        try:
            compare(functools.partial(play, program), contestants["plain"], faulty)
        except Difference:
            return True
        return False

    try:
        find(
            programs(),
            differs,
            settings=settings(
                max_examples=500,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.generate],
            ),
        )
    except NoSuchExample:
        pytest.fail("500 programs have not found it")
