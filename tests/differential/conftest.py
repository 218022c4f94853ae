"""Contestants, made once for a test process: every run puts their databases back to the seeds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hermetic.fast import loading
from tests.differential.contestants import Contestant, on_sqlite
from tests.garbage import spare_what_stays


@pytest.fixture(scope="package", autouse=True)
def few_rows_are_many() -> Iterator[None]:
    """The programs load few rows, which a fast path would leave to SQLAlchemy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "FEW", 0)
        yield


@pytest.fixture(scope="package", autouse=True)
def spared_again() -> Iterator[None]:
    """Every run here ends with the collector going through everything again."""
    yield
    spare_what_stays()


@pytest.fixture(scope="package")
def contestants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Contestant]]:
    """Plain SQLAlchemy and hermetic, on SQLite files of the same content."""
    folder = tmp_path_factory.mktemp("differential")
    made = {kind: on_sqlite(kind, folder) for kind in ("plain", "dropin", "scoped")}
    yield made
    for contestant in made.values():
        contestant.close()
