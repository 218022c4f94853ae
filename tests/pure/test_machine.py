"""Random histories of scopes and gates against models that were written without the code.

The same machine of scopes runs on boundary and registry.Transaction alone, thousands of times, and
on a Database over a SQLite file.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pure.machines import DatabaseMachine, GateMachine, PureMachine, run
from tests.pure.systems import observe


@pytest.mark.slow
def test_scopes_do_what_the_model_says() -> None:
    run(PureMachine, histories=300)


@pytest.mark.slow
def test_scopes_on_sqlite_do_what_the_model_says(tmp_path: Path) -> None:
    DatabaseMachine.url = f"sqlite:///{tmp_path}/machine.db"
    DatabaseMachine.observer = observe(DatabaseMachine.url)
    try:
        run(DatabaseMachine, histories=120)
    finally:
        DatabaseMachine.observer.dispose()


@pytest.mark.slow
def test_a_gate_does_what_the_model_says() -> None:
    run(GateMachine, histories=300)
