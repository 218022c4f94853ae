"""`make compat`: what it refuses, and what it does not let pass."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

import tools.compat
from tests.compat.differences import intended
from tools import source_package
from tools.source_package import Unavailable, unpacked


@pytest.fixture
def without_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole of it, but for the tests themselves."""
    monkeypatch.setattr(tools.compat, "unpacked", lambda: Path("nowhere"))
    monkeypatch.setattr(tools.compat, "run", lambda *_: None)


def test_every_difference_has_its_reason() -> None:
    assert all(test.count("::") == 2 and reason for test, reason in intended().items())


def test_without_the_source_package_it_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = SimpleNamespace(returncode=1, stderr="No matching distribution found")
    monkeypatch.setattr(source_package, "CACHE", tmp_path)
    monkeypatch.setattr("subprocess.run", lambda *_, **__: failed)

    code = tools.compat.main([])

    assert code == 2
    assert "does not get its source package" in (said := capsys.readouterr().err)
    assert "No matching distribution found" in said
    with pytest.raises(Unavailable):
        unpacked()


@pytest.mark.usefixtures("without_tests")
def test_a_difference_that_did_not_show_fails_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    code = tools.compat.main(["-n", "2"])

    assert code == 1
    said = capsys.readouterr().out
    assert all(f"{test} is listed as different, and did not differ" in said for test in intended())


@pytest.mark.usefixtures("without_tests")
def test_a_selection_need_not_show_the_differences() -> None:
    assert tools.compat.main(["-n", "2", "-k", "versioning"]) == 0
