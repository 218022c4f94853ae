"""The ledger of features says what is so: its tests exist, its counts are right."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.generate_docs import refreshed
from tools.ledger import FEATURES, Ledger, Mark

_ROOT = Path(__file__).parents[1]
_PAGE = _ROOT / "docs" / "features.md"


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    return Ledger.read(_PAGE)


def test_every_feature_has_its_row_in_order(ledger: Ledger) -> None:
    assert [row.number for row in ledger.rows] == list(range(1, FEATURES + 1))


def test_every_yes_names_a_test(ledger: Ledger) -> None:
    bare = [row.label for row in ledger.rows if row.mark is Mark.YES and not row.tests]

    assert bare == []


def test_every_named_test_exists(ledger: Ledger) -> None:
    named = [test for row in ledger.rows for test in row.tests]
    defined = {file: set(_tests_in(_ROOT / file)) for file, _ in named}

    missing = [f"{file}::{name}" for file, name in named if name not in defined[file]]

    assert missing == []


def test_the_counts_are_those_of_the_rows() -> None:
    text = _PAGE.read_text(encoding="utf-8")

    assert refreshed(text) == text


def test_a_row_with_an_unknown_mark_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "features.md"
    page.write_text("| 1 | a feature | perhaps | |\n", encoding="utf-8")

    with pytest.raises(ValueError, match="perhaps"):
        Ledger.read(page)


def _tests_in(path: Path) -> Iterator[str]:
    if not path.is_file():
        return
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name
