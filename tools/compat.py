"""Runs SQLAlchemy's own tests with hermetic's sessions in the place of SQLAlchemy's.

python -m tools.compat [-n WORKERS] [--maxprocesses LIMIT] [ARGUMENTS OF PYTEST]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.compat.differences import intended
from tools.source_package import Unavailable, unpacked

ROOT: Final = Path(__file__).parents[1]

# Most of the tests of test/ext/asyncio ask for an asyncio driver, which the others must not have.
RUNS: Final = (
    ("--db=sqlite", "test/orm", "test/ext", "--ignore=test/ext/asyncio"),
    ("--db=aiosqlite", "test/ext/asyncio"),
)
_PYTEST: Final = (
    *("-p", "tests.compat.plugin", "-p", "no:cacheprovider"),
    # over SQLAlchemy's own options, which name every test that passes or is skipped
    *("-q", "-r", "fE", "--tb", "short"),
    *("--timeout", "120"),
)
_NO_TESTS: Final = 5  # pytest's exit code where a selection leaves none


@dataclass
class Results:
    """What all runs came to."""

    counts: Counter[str] = field(default_factory=Counter)
    differed: set[str] = field(default_factory=set)
    broken: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Request:
    """How to run them, and with which arguments of pytest besides: those that choose some."""

    workers: tuple[str, ...]
    selection: tuple[str, ...]

    @classmethod
    def parse(cls, arguments: list[str]) -> Request:
        parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
        parser.add_argument("-n", default="auto")
        parser.add_argument("--maxprocesses", default="4")
        known, others = parser.parse_known_args(arguments)
        workers = ("-n", known.n, "--maxprocesses", known.maxprocesses)
        return cls(workers, tuple(others))


def run(folder: Path, what: tuple[str, ...], request: Request, results: Results) -> None:
    """One call of pytest, added to the results."""
    # PYTHONNOUSERSITE is what SQLAlchemy's conftest.py asks before it puts its lib/ first
    env = os.environ | {"PYTHONNOUSERSITE": "1", "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "results.json"
        command = [sys.executable, "-m", "pytest", *_PYTEST, f"--results={file}", *what]
        command += [*request.workers, *request.selection]
        code = subprocess.run(command, cwd=folder, env=env, check=False).returncode
        if code != 0 and not (request.selection and code == _NO_TESTS):
            results.broken.append(f"pytest {' '.join(what)} ended with exit code {code}")
        if file.exists():
            found = json.loads(file.read_text(encoding="utf-8"))
            results.counts.update(found["counts"])
            results.differed.update(found["differed"])


def closing(results: Results, seconds: float) -> str:
    """The last line, as pytest's: how many of each."""
    counts = [f"{count} {word}" for word, count in results.counts.items() if count]
    minutes, rest = divmod(round(seconds), 60)
    line = f" {', '.join(counts) or 'no tests ran'} in {minutes}:{rest:02} "
    return line.center(shutil.get_terminal_size().columns, "=")


def main(arguments: list[str]) -> int:
    begun = time.monotonic()
    request = Request.parse(arguments)
    try:
        folder = unpacked()
    except Unavailable as error:
        sys.stderr.write(f"compat: {error}\n")
        return 2
    results = Results()
    for what in RUNS:
        run(folder, what, request, results)
    if not request.selection:
        for test in sorted(set(intended()) - results.differed):
            results.broken.append(f"{test} is listed as different, and did not differ")
    for each in results.broken:
        sys.stdout.write(f"compat: {each}\n")
    sys.stdout.write(f"{closing(results, time.monotonic() - begun)}\n")
    return 1 if results.broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
