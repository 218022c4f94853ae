"""A folder for the processes of one test alone, and a database for them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends import FAMILY_SCHEMES
from tests.databases import FamilyUrl


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the sockets are; a short path, as a socket's has to be."""
    with tempfile.TemporaryDirectory(prefix="run-", dir="/tmp") as runtime:
        place = Path(runtime) / "hermetic"
        # by its name, so that no other process of this machine is seen
        monkeypatch.setenv("HERMETIC_NEARBY", str(place))
        monkeypatch.delenv("HERMETIC_SERVICE", raising=False)
        yield place


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A SQLite file."""
    return f"sqlite:///{tmp_path / 'shop.db'}"


@pytest.fixture(
    params=[
        pytest.param(name, marks=getattr(pytest.mark, name))
        for name in FAMILY_SCHEMES
        if name in ("sqlite", "postgresql")
    ]
)
def some_url(request: pytest.FixtureRequest, family_url: FamilyUrl) -> str:
    """On a file, and on a server."""
    return family_url(request.param)
