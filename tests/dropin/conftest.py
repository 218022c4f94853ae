"""Fixtures of the tests of the drop-in names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import Engine, orm
from sqlalchemy.ext import asyncio as sa_asyncio

import hermetic
from tests.conftest import shared_server
from tests.databases import FamilyUrl
from tests.dropin.ground import Ground


@dataclass(frozen=True)
class Library:
    """Where the six names come from."""

    name: str
    Session: Any
    AsyncSession: Any
    sessionmaker: Any
    async_sessionmaker: Any
    scoped_session: Any
    async_scoped_session: Any


SQLALCHEMY = Library(
    "sqlalchemy",
    orm.Session,
    sa_asyncio.AsyncSession,
    orm.sessionmaker,
    sa_asyncio.async_sessionmaker,
    orm.scoped_session,
    sa_asyncio.async_scoped_session,
)
HERMETIC = Library(
    "hermetic",
    hermetic.Session,
    hermetic.AsyncSession,
    hermetic.sessionmaker,
    hermetic.async_sessionmaker,
    hermetic.scoped_session,
    hermetic.async_scoped_session,
)


@pytest.fixture(params=[SQLALCHEMY, HERMETIC], ids=lambda library: library.name)
def library(request: pytest.FixtureRequest) -> Library:
    """Both: a test with it holds what hermetic promises against what SQLAlchemy does."""
    chosen: Library = request.param
    return chosen


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
