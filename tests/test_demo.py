"""The demo does its job on every database, and its checks can fail."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.engine import make_url

from hermetic.dialects.drivers import url_for
from tests.databases import FamilyUrl
from tests.terminal.screens import Terminal

pytestmark = pytest.mark.slow

ROOT: Final = Path(__file__).resolve().parents[1]
SMALL: Final = ("--threads=2", "--tasks=2", "--transfers=40", "--accounts=4", "--seconds=30")
CHECKS: Final = (
    "money conserved",
    "units applied exactly once",
    "balances are the sum of the transfers",
    "failed unit rolled back",
    "task cancelled midway",
    "task cancelled at commit",
    "object read after its session closed",
    "retries counted",
    "every scope has an outcome",
    "0 connections leaked",
    "sessions used well",
)


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "examples" / "bank.py", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "error"},
    )


def failed(done: subprocess.CompletedProcess[str]) -> set[str]:
    """The checks that the last line says have failed."""
    last = done.stdout.strip().splitlines()[-1]
    return set(last.removeprefix("FAILED: ").split(", ")) if last.startswith("FAILED: ") else set()


def test_demo_does_its_job_shows_it_and_cleans_up(family: str, family_url: FamilyUrl) -> None:
    url = family_url(family)

    done = demo(url, *SMALL)

    shown = done.stdout
    assert done.returncode == 0, shown + done.stderr
    assert done.stderr == ""
    assert [check for check in CHECKS if not re.search(rf"ok +{check} ", shown)] == []
    assert f"All {len(CHECKS)} checks passed." in shown
    assert "40 transfers in " in shown
    assert " per second" in shown
    assert "hermetic top  bank (" in shown
    assert re.search(r" [1-9]\d* open  ", shown.replace("\n", " "))
    assert "bank writer" in shown
    assert "\x1b" not in shown
    assert tables(url) == []


def test_demo_opens_with_the_terminal_view_where_there_is_a_terminal() -> None:
    program = (sys.executable, str(ROOT / "examples" / "bank.py"), *SMALL)
    with Terminal(*program, PYTHONPATH=str(ROOT / "src"), COLUMNS="100") as terminal:
        terminal.shows("hermetic top  bank (")
        terminal.shows(f"All {len(CHECKS)} checks passed.")
        assert terminal.ends() == 0


def test_demo_offers_the_page() -> None:
    program = (sys.executable, str(ROOT / "examples" / "bank.py"), "--web", *SMALL, "--seconds=5")
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "error"}
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=env) as running:
        assert running.stdout is not None
        line = next(line for line in running.stdout if "with the token" in line)
        found = re.search(r"Look at (http://127\.0\.0\.1:\d+/) with the token ([\w-]+);", line)
        assert found is not None, line
        url, token = found.groups()
        asked = Request(f"{url}api/live", headers={"Authorization": f"Bearer {token}"})
        with urlopen(asked, timeout=30) as answered:
            shown = answered.read().decode()
        with pytest.raises(HTTPError, match="401"):
            urlopen(f"{url}api/live", timeout=30)
        rest = running.stdout.read()

    assert '"name": "bank"' in shown.replace('":"', '": "')
    assert f"All {len(CHECKS)} checks passed." in rest
    assert running.returncode == 0


def test_demo_needs_no_url() -> None:
    done = demo(*SMALL)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "sqlite:///" in done.stdout


def test_conflicts_really_happen(family: str, family_url: FamilyUrl) -> None:
    url = family_url(family)

    shown = demo(url, "--accounts=2", "--threads=3", "--tasks=3", "--transfers=100").stdout

    line = next(line for line in shown.splitlines() if " per second" in line)
    retries = int(line.split("; ")[1].partition(" retries")[0])
    assert retries > 0


@pytest.mark.parametrize(
    ("kind", "noticed_by"),
    [
        ("money", {"money conserved", "balances are the sum of the transfers"}),
        ("twice", {"units applied exactly once"}),
        ("retries", {"retries counted"}),
        ("cancel", {"units applied exactly once", "task cancelled midway"}),
    ],
)
def test_sabotage_is_noticed_by_the_check_for_it(kind: str, noticed_by: set[str]) -> None:
    done = demo(*SMALL, f"--sabotage={kind}")

    assert done.returncode == 1, done.stdout + done.stderr
    assert failed(done) == noticed_by


def test_leaked_connection_is_noticed(family: str, family_url: FamilyUrl) -> None:
    url = family_url(family)

    done = demo(url, *SMALL, "--sabotage=leak")

    # one connection to a SQLite file has several files open
    left = r"[1-9]\d* in open files" if family == "sqlite" else "1 in the server"
    assert done.returncode == 1, done.stdout + done.stderr
    assert failed(done) == {"0 connections leaked"}
    assert re.search(f"1 held at the end; after closing {left}", done.stdout)


def test_demo_leaves_tables_alone_that_are_not_its_own(family: str, family_url: FamilyUrl) -> None:
    url = family_url(family)
    run_sql(url, "CREATE TABLE hermetic_bank_accounts (precious INTEGER)")
    run_sql(url, "INSERT INTO hermetic_bank_accounts VALUES (7)")

    done = demo(url, *SMALL)

    assert done.returncode == 2
    assert "hermetic_bank_accounts already" in done.stdout
    assert tables(url) == ["hermetic_bank_accounts"]
    assert run_sql(url, "SELECT precious FROM hermetic_bank_accounts") == [(7,)]


def test_demo_says_which_argument_is_wrong() -> None:
    done = demo("--accounts=1")

    assert done.returncode == 2
    assert "--accounts: must be 2 or more" in done.stderr


def test_demo_says_that_a_url_is_wrong_without_repeating_it() -> None:
    done = demo("nosuch://ann:secret@localhost/x")

    assert done.returncode == 2
    assert "nosuch" in done.stdout
    assert "secret" not in done.stdout + done.stderr


def tables(url: str) -> list[str]:
    engine = create_engine(url_for(make_url(url), asynchronous=False))
    try:
        return inspect(engine).get_table_names()
    finally:
        engine.dispose()


def run_sql(url: str, sql: str) -> list[tuple[object, ...]]:
    engine = create_engine(url_for(make_url(url), asynchronous=False))
    try:
        with engine.begin() as connection:
            answer = connection.execute(text(sql))
            return [tuple(row) for row in answer] if answer.returns_rows else []
    finally:
        engine.dispose()
