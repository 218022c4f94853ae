"""Fixtures of the tests of the fast paths."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine

from hermetic.fast import loading
from hermetic.release import NO_FAST_PATHS
from tests.behaviour.watching import servers_own_limit
from tests.fast.models import fill

__all__ = ["servers_own_limit"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if NO_FAST_PATHS is not None:
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=NO_FAST_PATHS))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with all rows."""
    path = tmp_path_factory.mktemp("fast") / "all.sqlite"
    engine = create_engine(f"sqlite:///{path}")
    fill(engine)
    engine.dispose()
    return path


@pytest.fixture
def engine(filled: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{filled}")
    yield engine
    engine.dispose()


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the smallest results take the compiled loop, in several batches."""
    monkeypatch.setattr(loading, "FEW", 0)
    monkeypatch.setattr(loading, "BATCH", 3)
