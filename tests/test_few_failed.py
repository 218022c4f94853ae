"""A failed run is tried again only where a few tests have failed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reasons import NOTE
from tools.few_failed import FEW, failed, told


def note(folder: Path, names: list[str]) -> Path:
    noted = folder / "lastfailed"
    noted.write_text(json.dumps(dict.fromkeys(names, True)))
    return noted


@pytest.mark.parametrize(("count", "few"), [(0, False), (1, True), (FEW, True), (FEW + 1, False)])
def test_a_few_are_worth_it(tmp_path: Path, count: int, few: bool) -> None:
    names = [f"tests/test_it.py::test_{number}" for number in range(count)]

    assert failed(note(tmp_path, names)) == (names if few else [])


def test_where_no_test_has_failed_something_else_has(tmp_path: Path) -> None:
    assert failed(tmp_path / "missing") == []


@pytest.mark.parametrize("name", ["", "gw1", "tests/test_it.py"])
def test_what_kept_tests_from_running_is_no_race(tmp_path: Path, name: str) -> None:
    assert failed(note(tmp_path, [name, "tests/test_it.py::test_it"])) == []


def test_why_is_told(tmp_path: Path) -> None:
    reasons = tmp_path / "reasons"
    reasons.write_text(json.dumps({"tests/test_it.py::test_it": "it.py:1: no"}))

    text = told(["tests/test_it.py::test_it", "tests/test_it.py::test_other"], reasons)

    assert "test_it\n    it.py:1: no\n" in text
    assert "test_other\n    ?\n" in text


def test_what_a_run_says_of_its_failures_is_kept(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(_CONFTEST)
    (tmp_path / "test_it.py").write_text(_TESTS)
    run = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, f"--rootdir={tmp_path}"]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    cached = ["-o", f"cache_dir={tmp_path}/cache"]

    done = subprocess.run(
        [*run, *cached, "."], cwd=tmp_path, env=env, capture_output=True, check=False
    )

    assert done.returncode == 1, done.stdout
    kept = json.loads((tmp_path / "cache" / "v" / NOTE).read_text())
    assert sorted(kept) == ["test_it.py::test_fails", "test_it.py::test_has_no_fixture"]
    assert "test_it.py:8: AssertionError: so it is\n" in kept["test_it.py::test_fails"]
    assert "so it is not" in kept["test_it.py::test_has_no_fixture"]
    assert max(map(len, kept.values())) <= 400


_CONFTEST = """
from tests.reasons import note_reasons


def pytest_terminal_summary(terminalreporter):
    note_reasons(terminalreporter)
"""
_TESTS = """import pytest

@pytest.fixture
def broken():
    raise ValueError("so it is not " * 100)

def test_fails():
    assert not "so it is", "so it is"

def test_has_no_fixture(broken): ...

def test_passes(): ...
"""
