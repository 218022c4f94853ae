"""The range of versions: tests on each Python and SQLAlchemy, and with the oldest of everything.

    nox --list
    nox --session "tests-3.13(sqlalchemy 2.1)"
    nox --session oldest
    nox --session "tests-3.12(sqlalchemy 2.0)" -- tests     # all, in the place of a selection

A Python that is not on this machine is left out, with a word about it. Which Pythons, and which
releases are the oldest, is read from pyproject.toml: what is written there is what is tried.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.5"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_venv = "yes"

PYTHONS = nox.project.python_versions(nox.project.load_toml("pyproject.toml"))
SERIES = {
    "sqlalchemy 2.1": ["sqlalchemy>=2.1,<2.2"],
    # a bare postgresql:// of plain SQLAlchemy, which tests compare with, is psycopg2's there
    "sqlalchemy 2.0": ["sqlalchemy>=2.0,<2.1", "psycopg2-binary"],
}
# every driver, every boundary of a scope, factories, many rows, and what stands on private parts
SELECTION = [
    "tests/mission",
    "tests/dropin",
    "tests/behaviour/test_scope_ends.py",
    "tests/behaviour/test_savepoints.py",
    "tests/behaviour/test_hooks.py",
    "tests/behaviour/test_many_rows.py",
    "tests/fast/test_private.py",
    "tests/fast/test_psycopg_private.py",
    "tests/test_explain.py",
    "tests/test_release.py",
    "tests/test_sqlalchemy_inside.py",
]
# what stands on a library besides
EDGES = [
    "tests/behaviour/test_cache_in_redis.py",
    "tests/frames",
    "tests/notebooks",
    "tests/pure",
    "tests/sinks",
    "tests/terminal",
    "tests/web",
    "tests/workers",
]

series = nox.parametrize("series", [nox.param(value, id=key) for key, value in SERIES.items()])


@nox.session(python=PYTHONS)
@series
def tests(session: nox.Session, series: list[str]) -> None:
    """The selection, with the newest of everything else."""
    install(session, *series)
    run(session, SELECTION)


@nox.session(python=PYTHONS[:1])
@series
def oldest(session: nox.Session, series: list[str]) -> None:
    """The selection and the edges, with the oldest release of all that pyproject.toml names."""
    install(session, *series, "--constraint", str(lower_bounds(session, series[0])))
    run(session, SELECTION + EDGES)


@nox.session(python=PYTHONS)
def smoke(session: nox.Session) -> None:
    """hermetic with nothing but SQLAlchemy and aiosqlite, uncompiled, installed as a package."""
    session.install(".[sqlite]", env={"HERMETIC_DISABLE_COMPILED": "1"})
    session.run("python", "-W", "error", "-X", "dev", "-c", "import hermetic")
    session.run("python", "tools/smoke.py", "--pure")


def lower_bounds(session: nox.Session, series: str) -> Path:
    """A file of constraints: what the package and its extras need, each as old as it may be.

    What these need themselves is new: old releases of that are theirs to try.
    """
    session.install("uv")
    folder = Path(session.create_tmp())
    asked, found = folder / "series.in", folder / "oldest.txt"
    asked.write_text(series)
    compiling = ["uv", "pip", "compile", "--resolution", "lowest-direct", "--quiet"]
    compiling += ["--python-version", str(session.python), "--extra", "all"]
    session.run(*compiling, "pyproject.toml", str(asked), "--output-file", str(found))
    return found


def install(session: nox.Session, *what: str) -> None:
    """The tests' extras, and the compiled modules where the machine can build them.

    These are built beside their sources, once for each Python: an editable install builds them anew
    for each environment.
    """
    session.install("--editable", ".[dev]", *what, env={"HERMETIC_DISABLE_COMPILED": "1"})
    session.run("python", "setup.py", "--quiet", "build_ext", "--inplace", env=compiler())


def compiler() -> dict[str, str]:
    return {} if "CC" in os.environ or not shutil.which("ccache") else {"CC": "ccache gcc"}


def run(session: nox.Session, selection: list[str]) -> None:
    session.run("pytest", "-n", "2", "-q", *(session.posargs or selection))
