"""``hermetic doctor``: what it is given, what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from hermetic import cli
from hermetic.doctor.examining import REGISTRIES
from hermetic.doctor.findings import Finding, Looked, Report, Severity, Unseen
from hermetic.doctor.report import as_dict, as_text

CANARY = "s3cr3t-canary"

_FINDING = {"code", "severity", "database", "server", "seen", "why", "change"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a program is: the folder it runs in, with no variables of hermetic's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("HERMETIC_URL", "DATABASE_URL", "HERMETIC_GROUP"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    """The exit code, and the report."""
    code = cli.main(["doctor", "--json", *arguments])
    return code, json.loads(capsys.readouterr().out)


# ---------------------------------------------------------------- what it is given


def test_a_url_is_looked_at(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = run(capsys, f"sqlite:///{folder}/app.db")

    assert code == 0
    assert report["looked"][0]["family"] == "sqlite"
    assert list(folder.iterdir()) == []


def test_the_environment_is_looked_at(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in list(os.environ):
        if variable.startswith("HERMETIC_"):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("HERMETIC_URL", f"sqlite:///{folder}/app.db")
    monkeypatch.setenv("HERMETIC_FOREIGN_KEYS", "no")
    monkeypatch.setenv("HERMETIC_GROUP", "app:group")

    code, report = run(capsys)

    assert code == 1
    assert "foreign-keys-off" in {each["code"] for each in report["findings"]}


def test_a_toml_file_is_looked_at(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "app.toml").write_text(
        f'[hermetic]\nurl = "sqlite:///{folder}/app.db"\nforeign_keys = false\n'
        f'[both.databases.main]\nurl = "sqlite:///{folder}/main.db"\n'
        f'[both.databases.audit]\nurl = "sqlite:///{folder}/audit.db"\n'
    )

    assert run(capsys, "--toml", "app.toml")[0] == 1
    code, report = run(capsys, "--toml", "app.toml", "--table", "both")
    assert code == 0
    assert [each["database"] for each in report["looked"]] == ["main.db", "audit.db"]


def test_what_an_application_has_is_looked_at(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "its_doctored_app.py").write_text(
        "from hermetic import Database, Group\n"
        "db = Database('sqlite:///one.db', name='one')\n"
        "def made():\n    return Group(a=db, b=Database('sqlite:///two.db', name='two'))\n"
        "nothing = 1\n"
    )

    assert run(capsys, "its_doctored_app")[1]["looked"][0]["database"] == "one"
    looked = run(capsys, "its_doctored_app:made")[1]["looked"]
    assert [each["database"] for each in looked] == ["one", "two"]
    assert cli.main(["doctor", "its_doctored_app:nothing"]) == 2
    assert "no Database and no Group" in capsys.readouterr().err
    assert cli.main(["doctor", "no_such_app"]) == 2


def test_an_application_that_fails_is_not_a_finding(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "its_broken_app.py").write_text(f"raise RuntimeError('{CANARY}')\n")

    assert cli.main(["doctor", "its_broken_app"]) == 2
    said = capsys.readouterr()
    assert "it raises RuntimeError" in said.err
    assert CANARY not in said.out + said.err


def test_nothing_given_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 2
    assert "DATABASE_URL" in capsys.readouterr().err


# ---------------------------------------------------------------- how it ends


def test_the_severity_that_fails_is_chosen(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = f"sqlite:///{folder}/new.db"  # a hint: it is not there yet
    lost = f"sqlite:///{folder}/no/new.db"  # an error

    assert [run(capsys, new, "--fail-on", each)[0] for each in Severity] == [1, 0, 0]
    assert [run(capsys, lost, "--fail-on", each)[0] for each in Severity] == [1, 1, 1]


def test_a_server_that_cannot_be_looked_at_is_neither(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"postgresql+psycopg://app:{CANARY}@127.0.0.1:1/app?passfile={CANARY}"
    code, report = run(capsys, url, "--timeout", "3")

    assert code == 2
    assert report["complete"] is False
    (unseen,) = report["unseen"]
    assert unseen["whole"] is True


@pytest.mark.parametrize("form", [[], ["--json"]])
@pytest.mark.parametrize(
    "url",
    [
        f"postgresql+psycopg://app:{CANARY}@127.0.0.1:1/app?password={CANARY}",
        f"mysql+pymysql://app:{CANARY}@127.0.0.1:1/app?passwd={CANARY}",
        f"postgresql+psycopg://app:{CANARY}@{CANARY}.invalid/app",
    ],
)
def test_no_secret_is_printed(
    form: list[str], url: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["doctor", url, "--timeout", "3", *form])
    said = capsys.readouterr()

    assert CANARY not in said.out + said.err


# ---------------------------------------------------------------- what it prints


def test_json_has_the_keys_that_are_promised(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, report = run(capsys, f"sqlite:///{folder}/new.db")

    assert set(report) == {
        "schema",
        "hermetic",
        "complete",
        "counts",
        "looked",
        "findings",
        "unseen",
    }
    assert report["schema"] == 1
    assert list(report["counts"]) == ["error", "warning", "hint"]
    assert {frozenset(each) for each in report["looked"]} == {
        frozenset({"database", "server", "url", "family", "version"})
    }
    assert {frozenset(each) for each in report["findings"]} == {frozenset(_FINDING)}


def test_what_was_not_seen_is_in_both_forms() -> None:
    report = Report(
        (Looked("app", "primary", "sqlite:///app.db", "sqlite", "3.51.3"),),
        (Finding("echo", Severity.HINT, "app", "client", "echo=True", "it slows", "echo=False"),),
        (Unseen("app", "primary", "replication", "denied"),),
    )

    assert as_dict(report)["unseen"] == [
        {
            "database": "app",
            "server": "primary",
            "what": "replication",
            "why": "denied",
            "whole": False,
        }
    ]
    assert as_text(report) == (
        "app (primary): 3.51.3, sqlite:///app.db\n"
        "\n"
        "hint    echo: app (client)\n"
        "        seen    echo=True\n"
        "        why     it slows\n"
        "        change  echo=False\n"
        "\n"
        "not looked at:\n"
        "  app (primary), replication: denied\n"
        "\n"
        "0 errors, 0 warnings, 1 hint"
    )


def test_the_worst_comes_first(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["doctor", f"sqlite:///{folder}/no/app.db?timeout=0", "--workers", "2"])
    said = capsys.readouterr().out

    assert said.index("error   file-out-of-reach") > 0
    firsts = [line.split()[0] for line in said.splitlines() if line[:1].isalpha()]
    ranks = [Severity(first).rank for first in firsts if first in list(Severity)]
    assert len(ranks) > 1
    assert ranks == sorted(ranks, reverse=True)


def test_every_code_is_documented() -> None:
    page = Path(__file__).parents[2] / "docs" / "doctor.md"
    text = page.read_text(encoding="utf-8")

    assert [c.code for checks in REGISTRIES for c in checks if f"| `{c.code}` |" not in text] == []
