"""The pytest plugin, in runs of pytest of its own."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text

from tests.databases import FamilyUrl
from tests.models import Base

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


class Suite:
    """Tests of somebody's, run by pytest in a process of their own."""

    # Not a test, whatever its name begins with.
    __test__ = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = ""

    def write(self, tests: str, *, conftest: str = "", ini: str = "") -> None:
        files = {"test_it.py": tests, "conftest.py": conftest, "pytest.ini": "[pytest]\n" + ini}
        for name, text_of in files.items():
            (self.folder / name).write_text(text_of, encoding="utf-8")

    def prepare(self, url: str, tests: str) -> None:
        """Tests of a database that has the tables."""
        engine = engine_of(url)
        Base.metadata.create_all(engine)
        engine.dispose()
        self.write(IMPORTS + tests, conftest=CONFTEST.format(url=url))

    def run(self, *arguments: str) -> dict[str, int]:
        """How many tests ended in which way."""
        path = os.pathsep.join((str(ROOT / "src"), str(ROOT), *_GIVEN))
        environment = {**os.environ, "PYTHONPATH": path}
        environment.pop("HERMETIC_URL", None)
        environment.pop("PYTEST_ADDOPTS", None)
        plugins = ("-p", "pytest_hermetic", "-p", "no:cacheprovider")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *plugins, *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        self.output = done.stdout + done.stderr
        last = done.stdout.strip().splitlines()[-1]
        found = re.findall(r"(\d+) (passed|failed|error)", last)
        return {how: int(number) for number, how in found}

    def says(self, pattern: str) -> bool:
        return re.search(pattern, self.output) is not None


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    folder = tmp_path / "suite"
    folder.mkdir()
    return Suite(folder)


def test_tests_see_nothing_of_each_other_and_a_url_is_enough(suite: Suite) -> None:
    url = f"sqlite:///{suite.folder}/app.db"
    suite.prepare(
        url,
        """
@pytest.mark.parametrize("number", range(3))
def test_it(hermetic_database, hermetic_sandbox, number):
    assert names(hermetic_database) == []
    add(hermetic_database, "ann")
    assert names(hermetic_database) == ["ann"]
""",
    )
    tests = (suite.folder / "test_it.py").read_text(encoding="utf-8")
    suite.write(tests, ini=f"hermetic_url = {url}\n")
    assert suite.run("-p", "no:anyio", "-p", "no:asyncio") == {"passed": 3}, suite.output
    assert rows(url) == []


def test_what_tests_leave_behind_fails_them_with_the_line(suite: Suite) -> None:
    suite.prepare(
        f"sqlite:///{suite.folder}/app.db",
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
    assert suite.run() == {"passed": 2, "failed": 3}, suite.output
    source = (suite.folder / "test_it.py").read_text(encoding="utf-8").splitlines()
    for what, test in (("a scope", "scope"), ("a connection", "connection"), ("an end", "commit")):
        line = next(n for n, each in enumerate(source, 1) if each.endswith(f"# {what}"))
        assert suite.says(f"andbox 'test_it.py::test_{test}'.*test_it.py:{line} in "), suite.output


def test_without_a_database_it_says_how_to_name_one(suite: Suite) -> None:
    suite.write("def test_it(hermetic_sandbox): pass")
    assert suite.run() == {"error": 1}, suite.output
    assert suite.says("define a fixture 'hermetic_database'")


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
def test_under_asyncio(suite: Suite, family_url: FamilyUrl, family: str, runner: str) -> None:
    if importlib.util.find_spec(runner) is None:
        reason = f"NOT TESTED: {runner} is not installed"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    mark = "pytest.mark.anyio" if runner == "anyio" else "pytest.mark.asyncio"
    url = family_url(family)
    suite.prepare(url, ASYNC.format(mark=f"@{mark}"))
    scope = ("-o", "asyncio_default_fixture_loop_scope=function")
    plugins = ("-p", *(("no:asyncio",) if runner == "anyio" else ("no:anyio", *scope)))
    assert suite.run("-W", "error", *plugins) == {"passed": 2, "failed": 1}, suite.output
    assert suite.says("left open: scope 'test_it'.*test_it.py:"), suite.output
    assert rows(url) == []


@pytest.mark.parametrize("family", ["sqlite", "postgresql"])
def test_several_processes_on_one_database(
    suite: Suite, family_url: FamilyUrl, family: str
) -> None:
    url = family_url(family)
    suite.prepare(
        url,
        """
@pytest.mark.parametrize("number", range(12))
def test_it(hermetic_database, hermetic_sandbox, number):
    for each in range(3):
        add(hermetic_database, f"{number}-{each}")
    assert names(hermetic_database) == [f"{number}-{each}" for each in range(3)]
""",
    )
    found = suite.run("-n", "2", "-p", "no:anyio", "-p", "no:asyncio")
    assert found == {"passed": 12}, suite.output
    assert rows(url) == []


def test_it_imports_nothing_before_it_is_used() -> None:
    code = (
        "import sys, pytest_hermetic; "
        "assert not {'hermetic', 'sqlalchemy'} & set(sys.modules), 'heavy'"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment)
