"""The source package of the SQLAlchemy that is installed, for the tests that it holds."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Final

CACHE: Final = Path(__file__).parents[1] / ".compat"

# lib/sqlalchemy stays in the archive, so that it cannot be imported in place of what is installed;
# but for the plugin of pytest, which SQLAlchemy's conftest.py reads from there.
_WANTED: Final = ("test/", "lib/sqlalchemy/testing/plugin/", "setup.cfg", "pyproject.toml")


class Unavailable(Exception):
    """The package cannot be had."""


def unpacked() -> Path:
    """The folder that holds SQLAlchemy's tests, of the very release that is installed.

    It is downloaded once.

    :raises Unavailable: pip does not find the package, or it is not what it should be.
    """
    release = version("sqlalchemy")
    folder = CACHE / f"sqlalchemy-{release}"
    if not folder.is_dir():
        CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            archive = _downloaded(release, Path(scratch))
            # renamed when it is whole: what an interrupt left behind is never taken for it
            _extracted(archive, folder.name, Path(scratch)).rename(folder)
    return folder


def _downloaded(release: str, into: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    what = ["--no-deps", "--no-binary", "sqlalchemy", f"sqlalchemy=={release}"]
    done = subprocess.run(
        [*pip, "--no-input", "--dest", str(into), *what],
        capture_output=True,
        text=True,
        check=False,
    )
    archives = list(into.glob("*.tar.gz"))
    if done.returncode != 0 or len(archives) != 1:
        raise Unavailable(
            f"SQLAlchemy {release} is installed, and pip does not get its source package, which"
            f" holds its tests:\n{done.stderr.strip()}"
        )
    return archives[0]


def _extracted(archive: Path, name: str, into: Path) -> Path:
    wanted = tuple(f"{name}/{each}" for each in _WANTED)
    with tarfile.open(archive) as package:
        members = [each for each in package if each.name.startswith(wanted)]
        package.extractall(into, members, filter="data")
    if not (into / name / "test" / "orm").is_dir():
        raise Unavailable(f"{archive.name} has no {name}/test/orm")
    return into / name
