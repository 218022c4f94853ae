"""Type checkers, mypy and pyright, see what the files beside this one say they see.

Each ``# type: ignore`` in them is on a line that must be refused: both checkers are told to report
one that is not needed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import in_ci

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
SAMPLES: Final = sorted(
    path for path in HERE.glob("*.py") if path.stem not in ("__init__", "test_types")
)
# The samples are able to fail: strictness, unused ignores and assert_type are in force. Of the last
# two lines mypy tells another reason from run to run.
WRONG: Final = """
from typing import assert_type
from hermetic import AsyncSession, Database, Session
db = Database("sqlite://")
with db.session() as session:
    assert_type(session, AsyncSession)  # refused
    session.add(1)  # type: ignore[arg-type]  # refused
    session.execute(5)  # refused
db.session("SERIALIZABLE")  # refused
@db.session  # refused
def without_parentheses(session: Session) -> int:
    return 1
"""
REFUSED: Final = {
    number for number, line in enumerate(WRONG.splitlines(), 1) if line.endswith("# refused")
}

# The first run reads all of SQLAlchemy; later ones have mypy's cache.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_the_samples_are_found() -> None:
    assert [path.stem for path in SAMPLES] == [
        *("blocks", "decorators", "many", "options", "statements"),
    ]


# mypy


def mypy(*paths: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", *map(str, paths)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=380,
    )


def test_mypy_agrees_with_every_sample() -> None:
    checked = mypy(*SAMPLES)

    assert (checked.stdout, checked.returncode) == ("", 0), checked.stdout


def test_mypy_rejects_what_the_samples_do_not_allow(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text(WRONG)

    checked = mypy(wrong)

    lines = [line.split(":") for line in checked.stdout.splitlines()]
    assert {int(line[1]) for line in lines if line[2] == " error"} == REFUSED, checked.stdout
    assert checked.returncode == 1


# pyright


@pytest.fixture(scope="module")
def by_pyright(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list[str]]:
    """What pyright says of the samples and of the wrong file, by file.

    basedpyright is pyright with Node.js and all else that it needs in its wheels.
    """
    if find_spec("basedpyright") is None:
        missing = "basedpyright is not installed: what pyright says of hermetic's types is not seen"
        if in_ci():
            pytest.fail(missing)
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("pyright")
    wrong = folder / "wrong.py"
    wrong.write_text(WRONG)
    config = {
        "include": [*map(str, SAMPLES), str(wrong)],
        "extraPaths": [str(ROOT / "src"), str(ROOT)],
        "typeCheckingMode": "standard",
        "pythonVersion": "3.11",
        "reportUnnecessaryTypeIgnoreComment": "error",
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "basedpyright", "-p", str(folder), "--outputjson"]
    done = subprocess.run(
        [*command, "--pythonpath", sys.executable],
        capture_output=True,
        text=True,
        check=False,
        timeout=380,
    )
    told = json.loads(done.stdout)
    assert told["summary"]["filesAnalyzed"] == len(SAMPLES) + 1, done.stdout + done.stderr
    found: dict[str, list[str]] = defaultdict(list)
    for each in told["generalDiagnostics"]:
        line = each["range"]["start"]["line"] + 1
        found[Path(each["file"]).stem].append(f"{line}: {each['message']} [{each.get('rule')}]")
    return found


def test_pyright_agrees_with_every_sample(by_pyright: Mapping[str, list[str]]) -> None:
    assert {name: told for name, told in by_pyright.items() if name != "wrong"} == {}


def test_pyright_rejects_what_the_samples_do_not_allow(
    by_pyright: Mapping[str, list[str]],
) -> None:
    assert {int(line.split(":")[0]) for line in by_pyright["wrong"]} == REFUSED
