"""The random histories of tests/pure, on servers."""

from __future__ import annotations

import pytest

from tests.databases import FamilyUrl
from tests.pure.machines import DatabaseMachine, run
from tests.pure.systems import observe


@pytest.mark.slow
@pytest.mark.parametrize(
    "family",
    [
        pytest.param(name, marks=getattr(pytest.mark, name), id=name)
        for name in ("postgresql", "mariadb")
    ],
)
def test_scopes_on_a_server_do_what_the_model_says(family: str, family_url: FamilyUrl) -> None:
    DatabaseMachine.url = family_url(family)
    DatabaseMachine.observer = observe(DatabaseMachine.url)
    try:
        run(DatabaseMachine, histories=60)
    finally:
        DatabaseMachine.observer.dispose()
