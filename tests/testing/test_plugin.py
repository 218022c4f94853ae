"""The pytest plugin, in runs of pytest of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text

from tests.databases import FamilyUrl
from tests.models import Base

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
_GIVEN = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]

CONFTEST = """
import pytest
from hermetic import Database

@pytest.fixture(scope="session")
def hermetic_database():
    with Database({url!r}) as database:
        yield database

@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"
"""
IMPORTS = """
import pytest
from sqlalchemy import select
from hermetic.testing import *
from tests.models import User

def add(db, name):
    with db.session() as session:
        session.add(User(username=name))

def names(db):
    with db.session(readonly=True) as session:
        return sorted(session.scalars(select(User.username)))
"""


def engine_of(url: str) -> Any:
    plain = make_url(url)
    if plain.get_backend_name() == "mysql":
        plain = plain.set(drivername="mysql+pymysql")
    if plain.get_backend_name() == "postgresql":
        plain = plain.set(drivername="postgresql+psycopg")
    return create_engine(plain)


def rows(url: str) -> list[str]:
    engine = engine_of(url)
    with engine.connect() as connection:
        found = connection.execute(text("SELECT username FROM users ORDER BY username"))
        names = list(found.scalars())
    engine.dispose()
    return names


@pytest.fixture
def prepared(pytester: pytest.Pytester, family_url: FamilyUrl) -> Callable[[str, str], str]:
    """A suite of tests of one file, on an empty database of a family with the tables."""

    def prepare(family: str, tests: str) -> str:
        url = family_url(family)
        engine = engine_of(url)
        Base.metadata.create_all(engine)
        engine.dispose()
        pytester.makeconftest(CONFTEST.format(url=url))
        pytester.makepyfile(test_it=IMPORTS + tests)
        return url

    return prepare


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT / "src"), str(ROOT), *_GIVEN)))
    monkeypatch.delenv("HERMETIC_URL", raising=False)


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """In a process of its own: modules that are imported a second time are not the same."""
    plugins = ("-p", "pytest_hermetic", "-p", "no:cacheprovider")
    return pytester.runpytest_subprocess(*plugins, *arguments)


def test_tests_see_nothing_of_each_other_and_a_url_is_enough(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nhermetic_url = sqlite:///app.db\n")
    engine = create_engine("sqlite:///app.db")
    Base.metadata.create_all(engine)
    engine.dispose()
    pytester.makepyfile(
        test_it=IMPORTS
        + """
@pytest.mark.parametrize("number", range(3))
def test_it(hermetic_database, hermetic_sandbox, number):
    assert names(hermetic_database) == []
    add(hermetic_database, "ann")
    assert names(hermetic_database) == ["ann"]
"""
    )
    run(pytester, "-p", "no:anyio", "-p", "no:asyncio").assert_outcomes(passed=3)
    assert rows("sqlite:///app.db") == []


def test_what_tests_leave_behind_fails_them_with_the_line(
    pytester: pytest.Pytester, prepared: Any
) -> None:
    prepared(
        "sqlite",
        """
@pytest.fixture
def session(hermetic_database, hermetic_sandbox):
    with hermetic_database.session() as session:
        yield session

def test_scope(hermetic_database, hermetic_sandbox):
    unit = hermetic_database.session()
    unit.__enter__().add(User(username="ann"))  # a scope

def test_next(hermetic_database, hermetic_sandbox):
    assert names(hermetic_database) == []

def test_connection(hermetic_database, hermetic_sandbox):
    test_connection.kept = hermetic_database.engine.connect()  # a connection

def test_commit(hermetic_database, hermetic_sandbox):
    with hermetic_database.session(propagation="not_supported") as session:
        try:
            session.execute("COMMIT")  # an end
        except SandboxEnded:
            pass

def test_fixture(session):
    session.add(User(username="ann"))
""",
    )
    result = run(pytester)
    result.assert_outcomes(passed=2, failed=3)
    source = Path("test_it.py").read_text(encoding="utf-8").splitlines()
    for what, test in (("a scope", "scope"), ("a connection", "connection"), ("an end", "commit")):
        line = next(n for n, each in enumerate(source, 1) if each.endswith(f"# {what}"))
        result.stdout.fnmatch_lines([f"*andbox 'test_it.py::test_{test}'*test_it.py:{line} in *"])


def test_without_a_database_it_says_how_to_name_one(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(hermetic_sandbox): pass")
    result = run(pytester)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*define a fixture 'hermetic_database'*"])


ASYNC = """
{mark}
@pytest.mark.parametrize("number", range(3))
async def test_it(hermetic_database, async_hermetic_sandbox, number):
    async with hermetic_database.session() as session:
        session.add(User(username="ann"))
    async with hermetic_database.session() as session:
        assert list(await session.scalars(select(User.username))) == ["ann"]
        if number == 2:
            await hermetic_database.session(propagation="requires_new").__aenter__()
"""


@pytest.mark.parametrize(
    ("runner", "family"), [("anyio", "postgresql"), ("pytest_asyncio", "mariadb")]
)
def test_under_asyncio(pytester: pytest.Pytester, prepared: Any, family: str, runner: str) -> None:
    if importlib.util.find_spec(runner) is None:
        reason = f"NOT TESTED: {runner} is not installed"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    mark = "pytest.mark.anyio" if runner == "anyio" else "pytest.mark.asyncio"
    url = prepared(family, ASYNC.format(mark=f"@{mark}"))
    scope = ("-o", "asyncio_default_fixture_loop_scope=function")
    result = run(
        pytester,
        "-W",
        "error",
        "-p",
        *(("no:asyncio",) if runner == "anyio" else ("no:anyio", *scope)),
    )
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*left open: scope 'test_it'*test_it.py:*"])
    assert rows(url) == []


@pytest.mark.parametrize("family", ["sqlite", "postgresql"])
def test_several_processes_on_one_database(
    pytester: pytest.Pytester, prepared: Any, family: str
) -> None:
    url = prepared(
        family,
        """
@pytest.mark.parametrize("number", range(12))
def test_it(hermetic_database, hermetic_sandbox, number):
    for each in range(3):
        add(hermetic_database, f"{number}-{each}")
    assert names(hermetic_database) == [f"{number}-{each}" for each in range(3)]
""",
    )
    result = run(pytester, "-n", "2", "-p", "no:anyio", "-p", "no:asyncio")
    result.assert_outcomes(passed=12)
    assert rows(url) == []


def test_it_imports_nothing_before_it_is_used() -> None:
    code = (
        "import sys, pytest_hermetic; "
        "assert not {'hermetic', 'sqlalchemy'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
