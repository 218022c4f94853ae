"""Builds what is published, and tries it as a user would get it.

    python -m tools.check_package [--no-isolation] [--keep FOLDER]

A source package of this tree; from it, and from nothing else, a compiled wheel and a pure one; what
twine and check-wheel-contents say of them; each wheel in a fresh environment, where
``tools/smoke.py`` and the bank of ``examples/`` run. Needs the extra ``package``. It takes minutes,
most of them for C.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
FORMS: Final[Mapping[str, Mapping[str, str]]] = {
    "--pure": {"HERMETIC_DISABLE_COMPILED": "1"},
    "--compiled": {"HERMETIC_REQUIRE_COMPILED": "1"},
}
EXTRAS: Final = "sqlite,rich"
BANK: Final = ("--threads=2", "--tasks=2", "--transfers=40", "--accounts=4", "--seconds=60")


def run(command: Sequence[str | Path], *, at: Path, **variables: str) -> None:
    words = list(map(str, command))
    sys.stdout.write(f"$ {' '.join(words)}\n")
    sys.stdout.flush()
    # an environment that points here would have the source tried in the wheel's place
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(words, cwd=at, check=True, env={**inherited, **variables})


def build(what: str, source: Path, into: Path, options: Sequence[str], **variables: str) -> Path:
    """The one file that was built."""
    before = set(into.iterdir())
    command = [sys.executable, "-m", "build", what, *options, "--outdir", into, source]
    run(command, at=into, **variables)
    (made,) = set(into.iterdir()) - before
    return made


def unpacked(package: Path, into: Path) -> Path:
    with tarfile.open(package) as archive:
        archive.extractall(into, filter="data")
    return into / package.name.removesuffix(".tar.gz")


def try_out(wheel: Path, form: str, folder: Path) -> None:
    """Install a wheel into a fresh environment, and work with it."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, f"hermetic[{EXTRAS}] @ {wheel.as_uri()}"], at=folder)
    run([python, ROOT / "tools" / "smoke.py", form], at=folder)
    run([python, ROOT / "examples" / "bank.py", *BANK], at=folder)


def check(into: Path, options: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        package = build("--sdist", ROOT, into, options)
        source = unpacked(package, Path(scratch))
        wheels = {
            form: build("--wheel", source, into, options, **variables)
            for form, variables in FORMS.items()
        }
        tools = Path(sys.executable).parent
        run([tools / "twine", "check", "--strict", package, *wheels.values()], at=into)
        run([tools / "check-wheel-contents", *wheels.values()], at=into)
        for form, wheel in wheels.items():
            try_out(wheel, form, Path(scratch) / form.strip("-"))


def main() -> int:
    parser = argparse.ArgumentParser(description="Build what is published, and try it.")
    parser.add_argument(
        "--no-isolation", action="store_true", help="build with what is installed here"
    )
    parser.add_argument("--keep", type=Path, help="a folder for what was built")
    given = parser.parse_args()
    options = ["--no-isolation"] if given.no_isolation else []
    with tempfile.TemporaryDirectory() as scratch:
        into = (given.keep or Path(scratch)).resolve()
        into.mkdir(parents=True, exist_ok=True)
        try:
            check(into, options)
        except subprocess.CalledProcessError as error:
            sys.stderr.write(f"failed with {error.returncode}: {error.cmd}\n")
            return 1
    sys.stdout.write("The source package, the compiled wheel and the pure one work.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
