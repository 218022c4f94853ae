"""Fixtures of the tests of the drop-in names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from tests.conftest import shared_server
from tests.databases import FamilyUrl
from tests.dropin.ground import Ground


@pytest.fixture
def ground(family: str, family_url: FamilyUrl, pytestconfig: pytest.Config) -> Iterator[Ground]:
    made = Ground(
        family,
        lambda database: family_url(family, database),
        lambda: shared_server(pytestconfig, family),
    )
    yield made
    made.close()


@pytest.fixture
def engine(ground: Ground) -> Engine:
    """SQLAlchemy's own engine, as an application makes it."""
    return ground.engine()
