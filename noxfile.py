"""The range of versions: a selection of the tests on each Python, SQLAlchemy and set of drivers.

    nox --list
    nox --session "tests-3.13(newest, sqlalchemy 2.1)"
    nox --session tests -- tests/mission -k sqlite      # other tests than the selection

A Python that is not on this machine is left out, with a word about it.
"""

from __future__ import annotations

import nox

nox.options.error_on_missing_interpreters = False
nox.options.reuse_venv = "yes"

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
SERIES = {
    "sqlalchemy 2.1": ["sqlalchemy>=2.1.7,<2.2"],
    # a bare postgresql:// of plain SQLAlchemy, which tests compare with, is psycopg2's there
    "sqlalchemy 2.0": ["sqlalchemy>=2.0.56,<2.1", "psycopg2-binary"],
}
# as pyproject.toml has them: what is written there is what is tried
OLDEST = [
    "psycopg[binary]==3.3.8",
    "asyncpg==0.30.0",
    "PyMySQL==1.2.0",
    "asyncmy==0.2.13",
    "aiosqlite==0.22.1",
]
DRIVERS = {"newest": [], "oldest": OLDEST}
# every driver, every boundary of a scope, the factories, and what stands on private parts of others
SELECTION = [
    "tests/mission",
    "tests/dropin",
    "tests/behaviour/test_scope_ends.py",
    "tests/behaviour/test_savepoints.py",
    "tests/behaviour/test_hooks.py",
    "tests/test_sqlalchemy_inside.py",
]
# and where they are on
FAST = ["tests/fast/test_private.py", "tests/fast/test_psycopg_private.py"]


@nox.session(python=PYTHONS)
@nox.parametrize("series", [nox.param(value, id=key) for key, value in SERIES.items()])
@nox.parametrize("drivers", [nox.param(value, id=key) for key, value in DRIVERS.items()])
def tests(session: nox.Session, drivers: list[str], series: list[str]) -> None:
    """The selection, in the form that the machine can build."""
    session.install("--editable", ".[dev]", *series, *drivers)
    selection = SELECTION if series is SERIES["sqlalchemy 2.0"] else SELECTION + FAST
    session.run("pytest", "-n", "2", "-q", *(session.posargs or selection))


@nox.session(python=PYTHONS)
def smoke(session: nox.Session) -> None:
    """hermetic with nothing but SQLAlchemy and aiosqlite, uncompiled, installed as a package."""
    session.install(".[sqlite]", env={"HERMETIC_DISABLE_COMPILED": "1"})
    session.run("python", "-W", "error", "-X", "dev", "-c", "import hermetic")
    session.run("python", "tools/smoke.py", "--pure")
