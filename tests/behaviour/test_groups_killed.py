"""Units of groups whose processes are killed with -9: what a recovery leaves is all or nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hermetic import InvalidOption, Recovery, cli
from tests.behaviour.ledgers import Entry, create, log_of, name_of, prepared, seen
from tests.behaviour.units_killed import group_of
from tests.databases import FamilyUrl
from tests.models import User
from tests.servers.mariadb import MariaDBServer
from tests.servers.postgresql import PostgreSQLServer
from tests.thorough import share

STEPS = {
    "main": ("preparing audit", "prepared audit", "deciding", "wrote the decision", "decided",
             "committed audit"),
    "file": ("preparing main", "prepared main", "prepared audit", "deciding", "decided",
             "committed main", "committed audit"),
}  # fmt: skip
KILLS = [(log, step) for log, steps in STEPS.items() for step in steps]
TURNS = [("postgresql", "mariadb"), ("mariadb", "postgresql")]
# each step with one of the two orders, by turns
TRIED = [
    (families, log, step)
    for number, (log, step) in enumerate(KILLS)
    for families in share(TURNS, number, 2)
]


def named(tried: tuple[tuple[str, str], str, str]) -> str:
    families, log, step = tried
    return f"{log}-{step}-{'-'.join(families)}"


def killed(urls: tuple[str, str, str], *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.behaviour.units_killed", *urls, *more],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def check_applied(urls: tuple[str, str, str], *, decided: bool) -> None:
    """One unit in both databases, or none in either.

    It is the first that came to its step: on a busy machine one before it may have failed.
    """
    users = seen(urls[0], "SELECT username FROM users")
    assert len(users) == int(decided)
    assert seen(urls[1], "SELECT said FROM entries") == users


def plain_urls(family_url: FamilyUrl, families: tuple[str, str], log: str) -> tuple[str, str, str]:
    drivers = {"postgresql": "postgresql+psycopg:", "mysql": "mysql+pymysql:"}
    main_url, audit_url = (
        re.sub(r"^(\w+)[^:]*:", lambda found: drivers[found[1]], family_url(family, name))
        for family, name in zip(families, ("main", "audit"), strict=True)
    )
    create(main_url, audit_url)
    with group_of(main_url, audit_url, log) as group:
        group.create_log()
    return main_url, audit_url, log


@pytest.mark.slow
@pytest.mark.postgresql
@pytest.mark.mariadb
@pytest.mark.parametrize(("families", "log", "step"), TRIED, ids=map(named, TRIED))
def test_whoever_is_killed_at_a_step_leaves_all_or_nothing(
    family_url: FamilyUrl, families: tuple[str, str], log: str, step: str, tmp_path: Path
) -> None:
    urls = plain_urls(family_url, families, str(log_of(log, tmp_path)))

    assert killed(urls, "--at", step).returncode == -9
    with group_of(*urls) as group:
        done = group.recover(grace=0)
        again = group.recover(grace=0)

    decided = step == "decided" or step.startswith("committed")
    check_applied(urls, decided=decided)
    assert prepared(urls[0], name_of(urls[0])) == prepared(urls[1], name_of(urls[0])) == []
    assert not done.left
    assert again == Recovery()


KILLED: list[tuple[tuple[str, str], str, str]] = [
    (("postgresql", "mariadb"), "main", ""),
    (("mariadb", "postgresql"), "main", ""),
    (("postgresql", "mariadb"), "file", ""),
    (("postgresql", "postgresql"), "audit", "--asyncio"),
]


@pytest.mark.slow
@pytest.mark.postgresql
@pytest.mark.mariadb
@pytest.mark.parametrize(("families", "log", "how"), KILLED)
def test_whoever_is_killed_at_any_moment_leaves_all_or_nothing(
    family_url: FamilyUrl, families: tuple[str, str], log: str, how: str, tmp_path: Path
) -> None:
    kills = int(os.environ.get("HERMETIC_KILLS", "8"))
    urls = plain_urls(family_url, families, str(log_of(log, tmp_path)))

    ran = killed(urls, "--kills", str(kills), *filter(None, [how]))
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
    found = json.loads(ran.stdout)

    assert found["kills"] >= kills
    assert found["acknowledged"] > 0
    assert (found["half_applied"], found["lost"], found["prepared"]) == (0, 0, 0)


# ---------------------------------------------------------------- servers


@pytest.mark.slow
@pytest.mark.postgresql
@pytest.mark.mariadb
@pytest.mark.parametrize("step", ["deciding", "decided"])
def test_what_is_prepared_outlives_the_crash_of_every_server(step: str) -> None:
    with (
        PostgreSQLServer(durable=True, settings={"max_prepared_transactions": "5"}) as first,
        MariaDBServer(durable=True) as second,
    ):
        for server in (first, second):
            server.create_database("app")
        urls = first.url("app", "postgresql+psycopg"), second.url("app", "mysql+pymysql"), "main"
        create(*urls[:2])
        with group_of(*urls) as group:
            group.create_log()
        assert killed(urls, "--at", step).returncode == -9
        for server in (first, second):
            server.kill()
            server.start()

        with group_of(*urls) as group:
            done = group.recover(grace=0)

        assert not done.left
        decided = step == "decided"
        assert (len(done.committed), len(done.rolled_back)) == (int(decided), 1 - int(decided))
        check_applied(urls, decided=decided)
        assert prepared(urls[0], "") == prepared(urls[1], name_of(urls[0])) == []


@pytest.mark.slow
@pytest.mark.postgresql
def test_a_server_that_prepares_nothing_is_refused_before_anything_is_done() -> None:
    with PostgreSQLServer(settings={"max_prepared_transactions": "0"}) as server:
        for name in ("app", "audit"):
            server.create_database(name)
        urls = server.url("app", "postgresql+psycopg"), server.url("audit", "postgresql+psycopg")
        create(*urls)
        with group_of(*urls, "main") as group:
            group.create_log()
            with (
                pytest.raises(InvalidOption, match="max_prepared_transactions above 0"),
                group.session() as session,
            ):
                session.add_all([User(username="ann"), Entry(said="ann came")])
        assert seen(urls[0], "SELECT username FROM users") == []


# ---------------------------------------------------------------- the command


@pytest.mark.slow
@pytest.mark.postgresql
def test_the_command_recovers(
    family_url: FamilyUrl,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    urls = plain_urls(family_url, ("postgresql", "postgresql"), "main")
    assert killed(urls, "--at", "decided").returncode == -9
    config = tmp_path / "app.toml"
    config.write_text(
        f'[hermetic.group]\nname = "{name_of(urls[0])}"\ntwo_phase = "main"\n'
        f'[hermetic.group.databases.main]\nurl = "{urls[0]}"\n'
        f'[hermetic.group.databases.audit]\nurl = "{urls[1]}"\n'
    )

    assert cli.main(["recover", "--toml", str(config), "--grace", "0"]) == 0
    assert "1 committed, 0 rolled back, 0 left" in capsys.readouterr().out
    assert seen(urls[1], "SELECT said FROM entries") == ["0-0"]

    (tmp_path / "its_app.py").write_text(
        "from pathlib import Path\nfrom hermetic import Group\n"
        "def made():\n    return Group.from_toml(Path(__file__).with_name('app.toml'))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HERMETIC_GROUP", "its_app:made")
    assert cli.main(["recover"]) == 0
    assert "0 committed" in capsys.readouterr().out
    assert cli.main(["recover", "its_app:Path"]) == 2
    assert cli.main(["recover", "no_such_app:group"]) == 2
    monkeypatch.delenv("HERMETIC_GROUP")
    assert cli.main(["recover"]) == 2
    assert "No group was named" in capsys.readouterr().err
