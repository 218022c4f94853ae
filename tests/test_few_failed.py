"""A failed run is tried again only where a few tests have failed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.few_failed import FEW, main


@pytest.mark.parametrize(("count", "status"), [(0, 1), (1, 0), (FEW, 0), (FEW + 1, 1)])
def test_a_few_are_worth_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int, status: int
) -> None:
    failed = [f"tests/test_it.py::test_{number}" for number in range(count)]
    noted = tmp_path / "lastfailed"
    noted.write_text(json.dumps(dict.fromkeys(failed, True)))

    assert main(noted) == status

    named = capsys.readouterr().out
    assert [name in named for name in failed] == [status == 0] * count


def test_where_no_test_has_failed_something_else_has(tmp_path: Path) -> None:
    assert main(tmp_path / "missing") == 1
