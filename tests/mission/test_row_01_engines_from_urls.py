"""Row 1: engines from URLs for PostgreSQL, MySQL and SQLite."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url

from hermetic import Database, sessionmaker
from tests.databases import FamilyUrl
from tests.dropin.ground import Ground

_DRIVERS = {
    "sqlite": ("pysqlite", "aiosqlite"),
    "postgresql": ("psycopg", "psycopg"),
    "mariadb": ("pymysql", "asyncmy"),
}

_AS_MYSQLDB = """
import os
import pymysql
pymysql.install_as_MySQLdb()

import sqlalchemy
from hermetic import Database, sessionmaker

url = os.environ["URL"]
"""


def test_an_engine_of_sqlalchemys_serves_the_factory(ground: Ground) -> None:
    engine = create_engine(ground.url)
    Session = sessionmaker(bind=engine)  # noqa: N806 - as the articles write it

    with Session() as session:
        answer = session.execute("SELECT 42").scalar()

    assert answer == 42
    engine.dispose()


def test_a_server_url_names_user_password_host_port_and_database(ground: Ground) -> None:
    if ground.family == "sqlite":
        pytest.skip("a file has no user, password, host or port")
    url = make_url(ground.bare_url)
    assert all((url.username, url.password, url.host, url.port, url.database))

    with Database(ground.bare_url) as db, db.session() as session:
        user = session.scalar("SELECT current_user")
        if ground.family == "postgresql":
            database = session.scalar("SELECT current_database()")
        else:
            database = session.scalar("SELECT database()")

    assert str(user).partition("@")[0] == url.username
    assert database == url.database


def test_a_password_with_every_awkward_character_is_understood(ground: Ground) -> None:
    if ground.family == "sqlite":
        pytest.skip("a file has no password")
    password = make_url(ground.bare_url).password or ""

    with Database(ground.bare_url) as db, db.session() as session:
        answer = session.scalar("SELECT 1")

    # the server was set up so that this test means something
    assert set("@/%?#:") <= set(password)
    assert answer == 1


def test_a_bare_scheme_picks_the_best_driver_for_each_world(ground: Ground, family: str) -> None:
    with Database(ground.bare_url) as db:
        chosen = (db.driver(), db.driver(asynchronous=True))

    assert chosen == _DRIVERS[family]


async def test_one_bare_url_serves_threads_and_asyncio(ground: Ground) -> None:
    db = Database(ground.bare_url)

    with db.session() as session:
        from_thread = session.scalar("SELECT 1")
    async with db.session() as session:
        from_task = await session.scalar("SELECT 2")
    await db.aclose()

    assert (from_thread, from_task) == (1, 2)


def test_a_named_driver_is_the_one_that_is_used(ground: Ground, family: str) -> None:
    scheme = make_url(ground.url).get_backend_name()
    named = make_url(ground.bare_url).set(drivername=f"{scheme}+{_DRIVERS[family][0]}")

    with Database(named) as db, db.session() as session:
        answer = session.scalar("SELECT 1")
        driver = db.engine.dialect.driver

    assert answer == 1
    assert driver == _DRIVERS[family][0]


@pytest.mark.mariadb
def test_mariadb_is_a_scheme_like_mysql(family_url: FamilyUrl) -> None:
    url = make_url(family_url("mariadb")).set(drivername="mariadb")

    with Database(url) as db, db.session() as session:
        version = session.scalar("SELECT version()")

    assert "mariadb" in str(version).lower()


@pytest.mark.postgresql
def test_the_old_scheme_postgres_still_works(family_url: FamilyUrl) -> None:
    url = family_url("postgresql").replace("postgresql://", "postgres://", 1)

    with Database(url) as db, db.session() as session:
        answer = session.scalar("SELECT 1")

    assert answer == 1


def _run_as_mysqldb(program: str, url: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _AS_MYSQLDB + program],
        env={**os.environ, "URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.mariadb
@pytest.mark.parametrize("scheme", ["mysql", "mysql+mysqldb"])
def test_pymysql_installed_as_mysqldb_serves_a_database(family_url: FamilyUrl, scheme: str) -> None:
    url = family_url("mariadb").replace("mysql://", f"{scheme}://", 1)

    printed = _run_as_mysqldb(
        """
with Database(url) as db, db.session() as session:
    print(session.scalar("SELECT :n + 1", {"n": 41}))
""",
        url,
    )

    assert printed == "42"


@pytest.mark.mariadb
def test_pymysql_installed_as_mysqldb_serves_the_articles_engine(family_url: FamilyUrl) -> None:
    printed = _run_as_mysqldb(
        """
engine = sqlalchemy.create_engine(url)
Session = sessionmaker(bind=engine)
session = Session()
print(session.execute("SELECT 42").scalar())
session.close()
engine.dispose()
""",
        family_url("mariadb"),
    )

    assert printed == "42"


@pytest.mark.sqlite
def test_a_relative_sqlite_path_lies_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with Database("sqlite:///app.db") as db, db.session() as session:
        session.execute("CREATE TABLE t (x INTEGER)")

    assert (tmp_path / "app.db").is_file()


@pytest.mark.sqlite
@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_an_in_memory_sqlite_database_lives_as_long_as_its_database(url: str) -> None:
    with Database(url) as db:
        with db.session() as session:
            session.execute("CREATE TABLE t (x INTEGER)")
            session.execute("INSERT INTO t VALUES (:x)", {"x": 7})
        with db.session() as session:
            kept = session.scalar("SELECT x FROM t")

    assert kept == 7


def test_the_password_is_never_shown(ground: Ground) -> None:
    with Database(ground.bare_url) as db, db.session() as session:
        session.execute("SELECT 1")
        shown = f"{db!r} {session!r} {db.snapshot()!r} {db.explain()} {db.engine!r}"

    password = make_url(ground.bare_url).password
    if password is None:
        assert "sqlite" in shown
    else:
        assert password not in shown
        assert "p%40ss" not in shown
