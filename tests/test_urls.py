"""Which driver a URL gets in which world, and what is said where there is none."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from hermetic import Database, MissingDriver
from hermetic.dialects import drivers


def driver(url: str, *, asynchronous: bool) -> str | None:
    return Database(url).driver(asynchronous=asynchronous)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Make it look as if only these driver modules were installed, in good versions."""

    def only(*modules: str) -> None:
        monkeypatch.setattr(drivers, "_installed", lambda module: module in modules)

    monkeypatch.setattr(importlib.metadata, "version", lambda name: "99.0")
    drivers._check_version.cache_clear()
    yield only
    drivers._check_version.cache_clear()


# ---------------------------------------------------------------- a bare scheme


@pytest.mark.parametrize(
    ("url", "threads", "asyncio"),
    [
        ("postgresql://h/d", "psycopg", "psycopg"),
        ("postgres://h/d", "psycopg", "psycopg"),
        ("mysql://h/d", "mysqldb", "asyncmy"),
        ("mariadb://h/d", "mysqldb", "asyncmy"),
        ("sqlite:///app.db", "pysqlite", "aiosqlite"),
    ],
)
def test_a_bare_scheme_takes_the_best_driver_of_each_world(
    installed: Callable[..., None], url: str, threads: str, asyncio: str
) -> None:
    installed(
        *("psycopg", "psycopg2", "asyncpg", "MySQLdb", "pymysql", "asyncmy", "sqlite3", "aiosqlite")
    )

    assert driver(url, asynchronous=False) == threads
    assert driver(url, asynchronous=True) == asyncio


@pytest.mark.parametrize(
    ("url", "asynchronous", "there", "chosen"),
    [
        ("postgresql://h/d", False, "psycopg2", "psycopg2"),
        ("postgresql://h/d", True, "asyncpg", "asyncpg"),
        ("mysql://h/d", False, "pymysql", "pymysql"),
        ("mariadb://h/d", False, "pymysql", "pymysql"),
    ],
)
def test_a_bare_scheme_takes_the_next_best_where_the_best_is_missing(
    installed: Callable[..., None], url: str, asynchronous: bool, there: str, chosen: str
) -> None:
    installed(there)

    assert driver(url, asynchronous=asynchronous) == chosen
    assert driver(url, asynchronous=not asynchronous) is None


def test_what_is_installed_here_serves_every_database_in_both_worlds() -> None:
    for scheme in ("sqlite:///x.db", "postgresql://h/d", "mysql://h/d", "mariadb://h/d"):
        db = Database(scheme)
        assert db.driver() is not None
        assert db.driver(asynchronous=True) is not None


# ---------------------------------------------------------------- a driver in the URL


@pytest.mark.parametrize(
    ("url", "threads", "asyncio"),
    [
        ("postgresql+psycopg://h/d", "psycopg", "psycopg"),
        ("postgresql+psycopg_async://h/d", "psycopg", "psycopg"),
        ("postgresql+asyncpg://h/d", "psycopg", "asyncpg"),
        ("postgresql+psycopg2://h/d", "psycopg2", "psycopg"),
        ("mysql+pymysql://h/d", "pymysql", "asyncmy"),
        ("mariadb+pymysql://h/d", "pymysql", "asyncmy"),
        ("mysql+mysqldb://h/d", "mysqldb", "asyncmy"),
        ("mysql+asyncmy://h/d", "mysqldb", "asyncmy"),
        ("mariadb+asyncmy://h/d", "mysqldb", "asyncmy"),
        ("sqlite+pysqlite:///x.db", "pysqlite", "aiosqlite"),
        ("sqlite+aiosqlite:///x.db", "pysqlite", "aiosqlite"),
    ],
)
def test_a_named_driver_serves_its_world_and_the_best_one_the_other(
    installed: Callable[..., None], url: str, threads: str, asyncio: str
) -> None:
    installed(
        *("psycopg", "psycopg2", "asyncpg", "MySQLdb", "pymysql", "asyncmy", "sqlite3", "aiosqlite")
    )

    assert driver(url, asynchronous=False) == threads
    assert driver(url, asynchronous=True) == asyncio


@pytest.mark.parametrize(
    ("url", "family"),
    [
        ("postgres://h/d", "postgresql"),
        ("postgres+psycopg://h/d", "postgresql"),
        ("mariadb://h/d", "mysql"),
        ("mysql://h/d", "mysql"),
        ("sqlite://", "sqlite"),
    ],
)
def test_a_scheme_belongs_to_a_family(url: str, family: str) -> None:
    assert Database(url).family.name == family


def test_mariadb_stays_mariadb() -> None:
    """SQLAlchemy refuses a MySQL server under this name, which is what its user wants."""
    assert Database("mariadb://h/d").server.url.get_backend_name() == "mariadb"
    assert drivers.url_for(make_url("mariadb://h/d"), asynchronous=True).drivername == (
        "mariadb+asyncmy"
    )


def test_nothing_of_the_url_is_lost_when_a_driver_is_chosen() -> None:
    url = make_url("postgresql://u:p%40@h:6000/d?sslmode=require&target_session_attrs=any")

    chosen = drivers.url_for(url, asynchronous=True)

    assert chosen == url.set(drivername="postgresql+psycopg")
    assert chosen.password == "p@"


@pytest.mark.parametrize("kind", [str, make_url])
def test_a_url_may_be_an_object(kind: Callable[[str], Any]) -> None:
    assert Database(kind("sqlite:///x.db")).name == "x.db"


# ---------------------------------------------------------------- a missing driver


@pytest.mark.parametrize(
    ("url", "asynchronous", "extra"),
    [
        ("postgresql://h/d", False, "postgresql"),
        ("postgresql+psycopg://h/d", True, "postgresql"),
        ("postgresql+asyncpg://h/d", True, "asyncpg"),
        ("mysql://h/d", False, "mysql"),
        ("mysql+mysqldb://h/d", False, "mysqlclient"),
        ("mysql://h/d", True, "mysql"),
        ("mariadb://h/d", False, "mysql"),
        ("sqlite://", True, "sqlite"),
    ],
)
def test_a_missing_driver_names_the_extra_that_brings_it(
    installed: Callable[..., None], url: str, asynchronous: bool, extra: str
) -> None:
    installed()
    db = Database(url)

    with pytest.raises(MissingDriver) as caught:
        drivers.url_for(db.server.url, asynchronous=asynchronous)

    assert caught.value.extra == extra
    assert f"pip install 'hermetic[{extra}]'" in str(caught.value)
    assert ("asyncio" if asynchronous else "threads") in str(caught.value)
    assert isinstance(caught.value, ImportError)
    assert db.driver(asynchronous=asynchronous) is None


def test_a_missing_psycopg2_is_not_promised_by_an_extra_that_brings_psycopg(
    installed: Callable[..., None],
) -> None:
    installed("psycopg")

    with pytest.raises(MissingDriver, match="psycopg2") as caught:
        drivers.url_for(make_url("postgresql+psycopg2://h/d"), asynchronous=False)

    assert "psycopg2" in caught.value.hint


def test_every_extra_that_is_named_exists() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    declared = set(project["optional-dependencies"])

    named = {
        each.extra
        for family in drivers.FAMILIES
        for each in (*family.sync_drivers, *family.async_drivers)
        if each.extra and each.module != "sqlite3"
    }

    assert named <= declared


def test_a_missing_driver_is_met_when_its_world_is_used_and_not_before(
    installed: Callable[..., None], tmp_path: Path
) -> None:
    installed("sqlite3")
    db = Database(f"sqlite:///{tmp_path}/x.db")

    with db.session() as session:
        assert session.scalar("SELECT 1") == 1

    async def use() -> None:
        async with db.session():
            pytest.fail("entered")

    coroutine = use()
    with pytest.raises(Exception, match="running event loop"):
        coroutine.send(None)
    coroutine.close()
    db.close()


async def test_a_missing_driver_is_met_in_the_block_that_needs_it(
    installed: Callable[..., None], tmp_path: Path
) -> None:
    installed("sqlite3")
    db = Database(f"sqlite:///{tmp_path}/x.db")

    with pytest.raises(MissingDriver, match=r"pip install 'hermetic\[sqlite\]'"):
        async with db.session():
            pytest.fail("entered")

    assert "No driver for sqlite in the world of asyncio" in db.explain()
    await db.aclose()


# ---------------------------------------------------------------- mysqlclient's name


def run_python(source: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(source)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
from hermetic import Database, MissingDriver
"""


def test_mysql_goes_through_pymysql_where_mysqlclient_is_missing() -> None:
    told = run_python(
        "BLOCKED = {'MySQLdb'}"
        + BLOCKER
        + "db = Database('mysql://u:p@h/d')\n"
        + "print(db.driver(), db.engine.dialect.driver)"
    )

    assert told == "pymysql pymysql"


@pytest.mark.parametrize("url", ["mysql://u:p@h/d", "mysql+mysqldb://u:p@h/d", "mariadb://u:p@h/d"])
def test_mysql_goes_through_pymysql_that_was_installed_as_mysqldb(url: str) -> None:
    told = run_python(
        f"""
        import pymysql
        pymysql.install_as_MySQLdb()
        from hermetic import Database
        db = Database({url!r})
        print(db.driver(), db.engine.dialect.driver, db.engine.dialect.dbapi.__name__)
        """
    )

    assert told == "pymysql pymysql pymysql"


def test_a_real_mysqlclient_is_not_taken_for_pymysql(monkeypatch: pytest.MonkeyPatch) -> None:
    real = type(sys)("MySQLdb")
    monkeypatch.setitem(sys.modules, "MySQLdb", real)

    assert driver("mysql://h/d", asynchronous=False) == "mysqldb"


def test_a_blocked_driver_is_missing_in_a_fresh_process() -> None:
    """The same as above without a stand-in: an import system that has no driver at all."""
    told = run_python(
        "BLOCKED = {'MySQLdb', 'pymysql', 'psycopg', 'psycopg2', 'asyncpg', 'asyncmy'}"
        + BLOCKER
        + textwrap.dedent(
            """
            for url in ("mysql://h/d", "postgresql://h/d"):
                try:
                    Database(url).engine
                except MissingDriver as error:
                    print(error.extra)
            """
        )
    )

    assert told.split() == ["mysql", "postgresql"]


@pytest.mark.parametrize(
    "blocked", ["aiosqlite", "asyncpg", "asyncmy", "psycopg", "pymysql", "pandas", "rich"]
)
def test_no_optional_library_is_needed_to_import_or_to_use_sqlite(blocked: str) -> None:
    told = run_python(
        f"BLOCKED = {{{blocked!r}}}"
        + BLOCKER
        + textwrap.dedent(
            """
            with Database("sqlite://") as db, db.session() as session:
                print(session.scalar("SELECT 1"))
            """
        )
    )

    assert told == "1"


# ---------------------------------------------------------------- old drivers


def test_an_old_driver_is_warned_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"asyncmy": "0.2.11"}
    monkeypatch.setattr(drivers, "_installed", lambda module: True)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: versions.get(name, "99"))
    drivers._check_version.cache_clear()
    db = Database("mysql://h/d")

    with pytest.warns(RuntimeWarning, match=r"asyncmy 0\.2\.11 is older than 0\.2\.13.*rows"):
        assert db.driver(asynchronous=True) == "asyncmy"

    assert db.driver(asynchronous=True) == "asyncmy"  # a second warning would be an error
    drivers._check_version.cache_clear()


def test_a_driver_that_mixes_up_rows_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drivers, "_installed", lambda module: True)
    drivers._check_soundness.cache_clear()
    db = Database("mysql+aiomysql://h/d")

    with pytest.warns(RuntimeWarning, match="aiomysql.*asyncmy"):
        assert db.driver(asynchronous=True) == "aiomysql"
    assert db.driver(asynchronous=True) == "aiomysql"  # a second warning would be an error


def test_an_old_sqlalchemy_is_warned_of_under_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drivers, "_installed", lambda module: True)
    versions = {"sqlalchemy": "2.1.6"}
    monkeypatch.setattr(importlib.metadata, "version", lambda name: versions.get(name, "99"))
    drivers._check_soundness.cache_clear()
    db = Database("postgresql+psycopg://h/d")

    assert db.driver() == "psycopg"
    with pytest.warns(RuntimeWarning, match=r"SQLAlchemy 2\.1\.6 is older than 2\.1\.7"):
        assert db.driver(asynchronous=True) == "psycopg"
    drivers._check_soundness.cache_clear()


@pytest.mark.parametrize("version", ["0.2.13", "0.2.13.post1", "0.3", "1.0rc1", "10"])
def test_a_driver_that_is_new_enough_is_not_warned_of(
    monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(drivers, "_installed", lambda module: True)
    versions = {"asyncmy": version}
    monkeypatch.setattr(importlib.metadata, "version", lambda name: versions.get(name, "99"))
    drivers._check_version.cache_clear()

    assert Database("mysql://h/d").driver(asynchronous=True) == "asyncmy"
    drivers._check_version.cache_clear()


def test_pymysql_has_its_minimum_checked_under_its_own_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The distribution is called PyMySQL; names of distributions know no case."""
    assert importlib.metadata.version("pymysql") == importlib.metadata.version("PyMySQL")
