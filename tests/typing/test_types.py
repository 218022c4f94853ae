"""Type checkers see what the files beside this one say they see."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SAMPLES = sorted(path for path in HERE.glob("*.py") if path.stem not in ("__init__", "test_types"))

# The first run reads all of SQLAlchemy; later ones have mypy's cache.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def mypy(*paths: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", *map(str, paths)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=380,
    )


def test_the_samples_are_found() -> None:
    assert [path.stem for path in SAMPLES] == ["blocks", "decorators", "statements"]


def test_mypy_agrees_with_every_sample() -> None:
    checked = mypy(*SAMPLES)

    assert (checked.stdout, checked.returncode) == ("", 0), checked.stdout


def test_mypy_rejects_what_the_samples_do_not_allow(tmp_path: Path) -> None:
    """The samples are able to fail: strictness, unused ignores and assert_type are in force."""
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from typing import assert_type\n"
        "from hermetic import AsyncSession, Database\n"
        'db = Database("sqlite://")\n'
        "with db.session() as session:\n"
        "    assert_type(session, AsyncSession)\n"
        "    session.add(1)  # type: ignore[arg-type]\n"
        "    session.execute(5)\n"
    )

    checked = mypy(wrong)

    found = {line.rpartition("[")[2].rstrip("]") for line in checked.stdout.splitlines()}
    assert {"assert-type", "unused-ignore", "call-overload"} <= found
    assert checked.returncode == 1
