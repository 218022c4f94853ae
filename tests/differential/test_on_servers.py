"""The cases on PostgreSQL, and in asyncio on each driver that has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine, orm
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.util import greenlet_spawn

import hermetic
from tests.backends import BACKENDS, Backend
from tests.databases import FamilyUrl, FreshUrl
from tests.differential.bridged import AsyncByFactory, AsyncScoped
from tests.differential.cases import BY_HAND, CASES, errors
from tests.differential.compare import Case, Difference, compare
from tests.differential.contestants import (
    ByFactory,
    Contestant,
    Scoped,
    as_documented,
    sqlite_engine,
)
from tests.differential.ground import Ground
from tests.thorough import share

# those of PostgreSQL, and the one of SQLite
ASYNC = [backend for backend in BACKENDS if backend.is_async and backend.family != "mariadb"]


KINDS = ["dropin", "scoped"]

# docs/limits.md: psycopg's new rows travel as arrays, and the error of one names that statement
ARRAYS = [errors.a_unique_value_twice_among_many]


@pytest.fixture
def on_postgresql(fresh_url: FreshUrl) -> Iterator[Callable[[str], Contestant]]:
    made: list[Contestant] = []
    psycopg = next(backend for backend in BACKENDS if backend.name == "psycopg")

    def make(kind: str) -> Contestant:
        url = fresh_url(psycopg, kind)
        ground = Ground(create_engine(url))
        if kind == "scoped":
            made.append(Scoped(kind, hermetic.Database(url, hide_parameters=False), ground))
        else:
            factory = orm.sessionmaker if kind == "plain" else hermetic.sessionmaker
            made.append(ByFactory(kind, factory, create_engine(url), ground))
        return made[-1]

    yield make
    for contestant in made:
        contestant.close()


@pytest.mark.slow
@pytest.mark.postgresql
@pytest.mark.parametrize("group", ["silent", "all"])
@pytest.mark.parametrize("kind", ["dropin", "scoped"])
def test_there_is_no_difference_on_postgresql(
    on_postgresql: Callable[[str], Contestant], kind: str, group: str
) -> None:
    plain, other = on_postgresql("plain"), on_postgresql(kind)

    cases = except_for_arrays(group)
    if group == "all":  # SQLite has heard them all
        cases = share(cases, KINDS.index(kind), 2)
    assert not told_apart(cases, plain, other, group)
    if kind == "dropin":
        assert not told_apart(BY_HAND, plain, other, group)


@pytest.mark.postgresql
@pytest.mark.xfail(reason="the statement and parameters of the error are those of the arrays")
@pytest.mark.parametrize("kind", ["dropin", "scoped"])
def test_the_error_of_many_rows_names_the_same_statement(
    on_postgresql: Callable[[str], Contestant], kind: str
) -> None:
    assert not told_apart(ARRAYS, on_postgresql("plain"), on_postgresql(kind), "silent")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dropin", "scoped"])
@pytest.mark.parametrize(
    ("backend", "group"),
    [
        pytest.param(b, group, id=f"{b.name}-{group}", marks=getattr(pytest.mark, b.family))
        for b in ASYNC
        # what is heard does not depend on the server
        for group in (["silent", "all"] if b.family == "sqlite" else ["silent"])
    ],
)
async def test_there_is_no_difference_in_asyncio(
    backend: Backend, kind: str, group: str, fresh_url: FreshUrl, family_url: FamilyUrl
) -> None:
    plain = contestant(backend, "plain", fresh_url, family_url)
    other = contestant(backend, kind, fresh_url, family_url)
    try:
        cases = except_for_arrays(group) if backend.name == "psycopg_async" else CASES
        # each kind on one of the two drivers of PostgreSQL, by turns
        if backend.family != "sqlite" or group == "all":
            cases = share(cases, KINDS.index(kind) + (backend.name == "asyncpg"), 2)
        assert not await greenlet_spawn(told_apart, cases, plain, other, group)
    finally:
        await other.aclose()
        await plain.aclose()


def contestant(backend: Backend, kind: str, fresh_url: FreshUrl, family_url: FamilyUrl) -> Any:
    observed, url = family_url(backend.family, kind), fresh_url(backend, kind)
    if backend.family == "sqlite":
        ground = Ground(sqlite_engine(observed, foreign_keys=False))
    else:
        ground = Ground(create_engine(observed))
    if kind == "scoped":
        options: dict[str, Any] = {"hide_parameters": False}
        if backend.family == "sqlite":
            options["synchronous"] = "off"
        return AsyncScoped(kind, hermetic.Database(url, **options), ground)
    engine = create_async_engine(url)
    if backend.family == "sqlite":
        as_documented(engine.sync_engine)
    factory = async_sessionmaker if kind == "plain" else hermetic.async_sessionmaker
    return AsyncByFactory(kind, factory, engine, ground)


def except_for_arrays(group: str) -> list[Case]:
    return CASES if group != "silent" else [case for case in CASES if case not in ARRAYS]


def told_apart(cases: list[Case], plain: Any, other: Any, group: str) -> str:
    """The differences of all cases, so that one run shows all of them."""
    found = []
    for case in cases:
        try:
            compare(case, plain, other, group)
        except Difference as difference:
            found.append(str(difference))
        except Exception as error:
            found.append(f"{case.__name__}: {error!r}")
    return "\n".join(found)
