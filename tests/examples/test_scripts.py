"""The examples that are one file: the repository, and the script of ten lines."""

from __future__ import annotations

import ast
import io
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import repository
from repository import Members, NameTaken

from tests.databases import FamilyUrl

TEN_LINES = Path(repository.__file__).with_name("ten_lines.py")


@pytest.fixture
def members(family: str, family_url: FamilyUrl) -> Iterator[Members]:
    with Members(family_url(family)) as made:
        yield made


def test_the_repository_shows_what_it_is(
    family: str, family_url: FamilyUrl, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.main(family_url(family))

    assert capsys.readouterr().out.splitlines() == [
        "nothing was done: ann has 10, and bob is None",
        "ann has 6",
        "bob has 4",
    ]


def test_a_callers_unit_goes_on_without_a_member(members: Members) -> None:
    members.create("ann")

    with members.one_unit():
        members.create("bob")
        with pytest.raises(NameTaken, match="ann"):
            members.create("ann")

    assert [each.name for each in members.all()] == ["ann", "bob"]
    assert members.delete("ann")
    assert not members.delete("ann")


def test_a_script_of_ten_lines(
    family: str,
    family_url: FamilyUrl,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["ten_lines.py", family_url(family)])
    for _ in range(2):  # it counts anew each time
        monkeypatch.setattr(sys, "stdin", io.StringIO("to be or not to be"))
        runpy.run_path(str(TEN_LINES), run_name="__main__")
        assert capsys.readouterr().out == "1 not\n1 or\n2 be\n2 to\n"
    code = [line for line in TEN_LINES.read_text(encoding="utf-8").splitlines() if line]
    docstring = ast.get_docstring(ast.parse("\n".join(code)))
    assert docstring is not None
    assert len(code) - len(docstring.splitlines()) == 10
