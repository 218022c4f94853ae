"""This side, as the doctor sees it: drivers, limits, and how hermetic itself runs."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from hermetic import Database
from hermetic.doctor import Severity, client, examine
from hermetic.doctor.about import PRIMARY, About
from hermetic.fast.modules import uncompiled
from hermetic.fast.switch import ON
from tests.doctor.planted import TODAY
from tests.doctor.seen import codes, examined, one

_ABSENT = "postgresql+psycopg://app@127.0.0.1:1/app"


def test_this_side_is_looked_at_where_no_server_is() -> None:
    report = examined(_ABSENT, lock_timeout=60.0)

    assert not report.complete
    assert "lock-timeout-late" in codes(report, server="client")
    assert {each.server for each in report.findings} == {"client"}


def test_recommended_options_have_nothing_wrong_with_them(tmp_path: Path) -> None:
    report = examined(f"sqlite:///{tmp_path}/app.db")

    hints = {"fast-paths-off"} if not ON else set()
    hints |= {"not-compiled"} if uncompiled() else set()
    assert codes(report, server="client") == hints


def test_the_least_versions_are_those_of_the_extras() -> None:
    with Database("mysql+pymysql://app@127.0.0.1:1/app") as database:
        about = About(
            database="app",
            server=PRIMARY,
            url=database.server.url,
            options=database.options,
            today=TODAY,
        )
        facts = client.read(database.server, about, 1, 0.0)

    least = {each.driver.name: each.least for each in facts.installed}
    assert least["pymysql"] == (1, 2)
    assert least["asyncmy"] == (0, 2, 13)


def test_what_the_applications_own_code_raises_is_not_shown() -> None:
    def credentials() -> str:
        raise RuntimeError("s3cr3t-canary is no good any more")

    report = examined(_ABSENT, credentials=credentials)

    assert [each.why for each in report.unseen] == ["RuntimeError"]


def test_few_files_are_noticed() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        report = examined(_ABSENT, pool_size=120)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert "256 may be open" in one(report, "files-few").seen


def test_a_driver_that_is_named_is_the_one_that_is_taken() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        chosen = codes(examined("postgresql://app@127.0.0.1:1/app"))
        named = codes(examined(_ABSENT))

    # psycopg and asyncpg are both there for asyncio
    assert "driver-chosen" in chosen
    assert "driver-chosen" not in named


def test_it_runs_uncompiled_and_says_so(tmp_path: Path) -> None:
    program = (
        "from hermetic import Database\nfrom hermetic.doctor import examine\n"
        f"print(*sorted(e.code for e in examine(Database('sqlite:///{tmp_path}/a.db')).findings))"
    )
    switches = {"HERMETIC_DISABLE_FAST": "1", "HERMETIC_DISABLE_COMPILED": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **switches},
        check=True,
        capture_output=True,
        text=True,
    )

    assert {"fast-paths-off", "not-compiled"} <= set(done.stdout.split())


def test_a_family_without_checks_is_told_so() -> None:
    with Database("cockroachdb+psycopg://app@127.0.0.1:1/app", timeout=5.0) as database:
        report = examine(database)

    assert report.complete
    assert [each.why for each in report.unseen] == ["nothing is known of cockroachdb"]
    assert codes(report, Severity.ERROR) == set()


@pytest.mark.parametrize("wrong", [0, -1, True, "2"])
def test_numbers_outside_their_limits_are_refused(wrong: object) -> None:
    with Database("sqlite://") as database:
        for name in ("workers", "processes", "timeout"):
            with pytest.raises(ValueError, match=name):
                examine(database, **{name: wrong})  # type: ignore[arg-type]
