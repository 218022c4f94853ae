"""What is published: a source package that builds, and the pure wheel, which works as this does.

The compiled wheel takes minutes: ``make package`` builds it, and tries all of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Final

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

ROOT: Final = Path(__file__).resolve().parents[1]
SOURCE: Final = ROOT / "src"
_MADE: Final = shutil.ignore_patterns(
    *(".git", ".venv*", ".*_cache", ".compat", ".hypothesis", "__pycache__", "*.egg-info"),
    *("build", "_build", "dist", "results", "*.c", "*.so"),
)
# some of what hermetic promises, where nothing is compiled
BEHAVIOUR: Final = (
    "tests/mission/test_row_03_transactional_scope.py",
    "tests/behaviour/test_scope_ends.py",
    "tests/behaviour/test_retry_units.py",
)


def build(what: str, source: Path, into: Path) -> Path:
    """What setuptools builds by itself; a frontend would fetch setuptools once more."""
    script = f"from setuptools import build_meta; print(build_meta.{what}({str(into)!r}))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HERMETIC_DISABLE_COMPILED": "1"},
    )
    assert done.returncode == 0, done.stderr
    return into / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def source_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("tree") / "hermetic"
    shutil.copytree(ROOT, tree, ignore=_MADE)
    return build("build_sdist", tree, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def unpacked(source_package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(source_package) as archive:
        archive.extractall(folder, filter="data")
    return folder / source_package.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def pure_wheel(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("build_wheel", unpacked, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(pure_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel is in, as an installer would have left it."""
    folder = tmp_path_factory.mktemp("installed") / "site-packages"
    with zipfile.ZipFile(pure_wheel) as archive:
        archive.extractall(folder)
    return folder


def with_the_wheel(
    installed: Path, *command: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=installed.parent,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(installed), **variables},
    )


def files_of_the_packages(*but: str) -> set[str]:
    """All that is kept of them, but for files of some kinds."""
    made = (".c", ".so", ".pyc", *but)
    files = (path for path in SOURCE.rglob("*") if path.is_file() and path.suffix not in made)
    names = {path.relative_to(SOURCE).as_posix() for path in files}
    return {name for name in names if ".egg-info/" not in name}


def test_the_source_package_has_all_that_is_built_from_and_nothing_that_was_built(
    unpacked: Path,
) -> None:
    packed = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*")}

    wanted = {f"src/{name}" for name in files_of_the_packages()}
    wanted |= {"setup.py", "pyproject.toml", "LICENSE", "README.md", "CHANGELOG.md", "SECURITY.md"}
    assert wanted <= packed
    assert {name for name in packed if name.endswith((".c", ".so", ".pyc"))} == set()


def test_the_wheel_has_every_module_and_no_part_that_is_for_building_alone(
    pure_wheel: Path,
) -> None:
    packed = set(zipfile.ZipFile(pure_wheel).namelist())

    ours = {name for name in packed if ".dist-info/" not in name}
    assert ours == files_of_the_packages(".pxd")
    assert {name.split("/")[0] for name in packed - ours} == {"hermetic-0.1.0.dist-info"}


def test_a_wheel_without_compiled_parts_is_for_every_platform(pure_wheel: Path) -> None:
    assert pure_wheel.name == "hermetic-0.1.0-py3-none-any.whl"


def test_the_pure_wheel_works_far_from_the_source(installed: Path) -> None:
    done = with_the_wheel(installed, str(ROOT / "tools" / "smoke.py"), "--pure")

    assert (done.stdout, done.stderr) == ("hermetic 0.1.0 --pure: works\n", "")


def test_the_smoke_test_can_fail(installed: Path) -> None:
    done = with_the_wheel(installed, str(ROOT / "tools" / "smoke.py"), "--compiled")

    assert done.returncode == 1
    assert "hermetic.pool is not in the form --compiled" in done.stderr


def test_what_must_be_compiled_says_so_in_the_pure_form(installed: Path) -> None:
    done = with_the_wheel(installed, "-c", "import hermetic", HERMETIC_REQUIRE_COMPILED="1")

    assert "HERMETIC_REQUIRE_COMPILED is set, and hermetic." in done.stderr


def test_the_wheel_has_the_pages_of_errors_word_for_word(installed: Path) -> None:
    done = with_the_wheel(installed, "-m", "hermetic.cli", "error", "hermetic.frames.UnfitValue")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.rstrip() in (SOURCE / "hermetic" / "commands" / "errors.txt").read_text(
        encoding="utf-8"
    )
    assert done.stdout.startswith("hermetic.UnfitValue, a HermeticError and a ValueError\n")


def test_the_smoke_test_misses_the_pages_of_errors(installed: Path, tmp_path: Path) -> None:
    without = tmp_path / "site-packages"
    shutil.copytree(installed, without)
    (without / "hermetic" / "commands" / "errors.txt").unlink()

    done = with_the_wheel(without, str(ROOT / "tools" / "smoke.py"), "--pure")

    assert (done.returncode, done.stderr) == (1, "hermetic error prints no page\n")


def test_it_is_imported_without_a_warning_by_the_strictest_python(installed: Path) -> None:
    done = with_the_wheel(installed, "-W", "error", "-X", "dev", "-c", "import hermetic")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


_TESTED: Final = """
import sys
import pytest
code = pytest.main(sys.argv[1:])
from hermetic.fast import modules
compiled = {name for name in modules.COMPILED if name in sys.modules} - {*modules.uncompiled()}
print(int(code), modules.__file__, sorted(compiled))
"""


def test_the_pure_form_behaves_as_the_tests_of_behaviour_say(installed: Path) -> None:
    options = ("-q", "-p", "no:cacheprovider", "-n", "0", "-k", "sqlite", f"--rootdir={ROOT}")

    done = with_the_wheel(
        installed,
        *("-c", _TESTED, *options, f"--config-file={ROOT / 'pyproject.toml'}"),
        *(str(ROOT / name) for name in BEHAVIOUR),
    )

    assert done.stdout, done.stderr[-4000:]
    last = done.stdout.splitlines()[-1]
    assert last == f"0 {installed / 'hermetic' / 'fast' / 'modules.py'} []", done.stdout[-4000:]
    assert " passed" in done.stdout
