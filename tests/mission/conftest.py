"""Fixtures of the mission's tests."""

from __future__ import annotations

import pytest

from hermetic import Database
from tests.dropin.conftest import engine, ground
from tests.dropin.ground import Ground

__all__ = ["db", "engine", "ground"]


@pytest.fixture
def db(ground: Ground) -> Database:
    return ground.database()
