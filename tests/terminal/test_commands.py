"""`hermetic list` and `hermetic top`, on processes that are at work."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from hermetic.cli import main
from tests.terminal.screens import Terminal
from tests.terminal.workers import Worker, seen_soon
from tests.worlds import PATIENCE

pytestmark = pytest.mark.slow

_COMMAND = (sys.executable, "-W", "error", "-m", "hermetic.cli")


class Command:
    """The command, as the shell would call it, in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.errors = ""

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """What it prints."""
        assert main(arguments) == code
        said = self._capsys.readouterr()
        self.errors = said.err
        return said.out

    def listed(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self("list", "--json", *arguments))
        return found


@pytest.fixture
def hermetic(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, place: Path
) -> Command:
    monkeypatch.setenv("COLUMNS", "120")
    return Command(capsys)


def test_workers_of_one_service_are_added_up(some_url: str, hermetic: Command) -> None:
    with Worker(some_url) as one, Worker(some_url) as other:
        one.do("work", "hold")
        other.do("work", "repeat")
        seen_soon(2)

        found = hermetic.listed("--scopes")

        (service,) = found["services"]
        assert (found["version"], service["name"], found["left_out"]) == (1, "shop", [])
        assert sorted(service["processes"]) == sorted([one.pid, other.pid])
        assert service["open_scopes"] == 1
        assert service["counters"]["committed"] == 7 + 7 + 1
        limits = {pool["name"]: pool["limit"] for pool in service["pools"]}
        assert len(limits) == len(service["pools"])
        assert limits["shop writer"] in (2, 20)
        assert service["findings"] == 1
        (held,) = [
            scope
            for process in found["processes"]
            for database in process["databases"]
            for scope in database["scopes"]
        ]
        assert (held["name"], held["phase"]) == ("holding", "idle")
        assert [process["problem"] for process in found["processes"]] == [None, None]

        shown = hermetic("list", "--scopes")
        assert "shop: 2 workers, 1 open scopes, 15 committed" in shown
        assert "holding #" in shown
        (alone,) = hermetic.listed(f"--pid={one.pid}")["processes"]
        assert alone["pid"] == one.pid

        one.process.kill()
        one.process.wait(PATIENCE)
        assert [process["pid"] for process in hermetic.listed()["processes"]] == [other.pid]


def test_services_are_kept_apart(url: str, hermetic: Command) -> None:
    with Worker(url) as shop, Worker(url, {"service": "billing"}) as billing:
        shop.do("work")
        billing.do("work", "work")
        seen_soon(2)

        found = {each["name"]: each for each in hermetic.listed()["services"]}
        assert found["shop"]["counters"]["committed"] == 7
        assert found["billing"]["counters"]["committed"] == 14
        (alone,) = hermetic.listed("--service=billing")["processes"]
        assert alone["pid"] == billing.pid


def test_nobody_is_found(hermetic: Command) -> None:
    assert json.loads(hermetic("list", "--json", code=1))["processes"] == []
    assert hermetic("list", code=1) == ""
    assert "watch=True" in hermetic.errors
    hermetic("top", "--once", "--every=0.1", code=1)
    assert "watch=True" in hermetic.errors


def test_what_cannot_be_done_is_said(place: Path, hermetic: Command) -> None:
    place.mkdir(mode=0o755)
    place.chmod(0o755)

    for command in ("list", "top"):
        hermetic(command, f"--folder={place}", code=2)
        assert f"chmod 700 {place}" in hermetic.errors
    hermetic("list", code=1)
    assert "left out" in hermetic.errors
    hermetic("top", "--sort=nothing", code=2)
    assert "no column" in hermetic.errors
    with pytest.raises(SystemExit):
        hermetic("top", "--every=0")


def test_a_single_frame_is_printed_where_there_is_no_terminal(
    some_url: str, hermetic: Command
) -> None:
    with Worker(some_url) as worker:
        worker.do("repeat", "hold")
        seen_soon(1)

        shown = hermetic("top", "--every=0.1")
        assert re.search(r"holding #\d+ +idle ", shown)
        assert f"shop ({worker.pid})" in shown
        assert "\x1b" not in shown

        shown = hermetic("top", "--once", "--every=0.1", "--page=findings")
        assert "repeated-statement" in shown
        assert "worker.py" in shown
        assert "careless" in hermetic("top", "--every=0.1", "--page=names", "--sort=p99")


def test_a_terminal_is_drawn_in_and_keys_are_heard(url: str, place: Path) -> None:
    with Worker(url) as worker:
        worker.do("repeat", "hold")
        seen_soon(1)
        with Terminal(*_COMMAND, "top", "--every=0.2") as terminal:
            terminal.shows("holding #")
            terminal.press("5")
            terminal.shows("repeated-statement")
            terminal.press("\r")
            terminal.shows("Ask once for all")
            terminal.press("\x1b")
            terminal.shows("AGO")
            terminal.press("1\r")
            terminal.shows("Statements: 1")
            worker.do("release")
            terminal.shows("COMMITTED after")
            terminal.press("q")
            assert terminal.ends() == 0
            assert "\x1b[?1049l" in terminal.written  # back on the screen that was there


def test_ctrl_c_ends_it_and_no_colours_are_used_where_none_are_wanted(
    url: str, place: Path
) -> None:
    with Worker(url) as worker:
        worker.do("hold")
        seen_soon(1)
        with Terminal(*_COMMAND, "top", "--every=0.2", NO_COLOR="1") as terminal:
            terminal.shows("holding #")
            assert not re.search(r"\x1b\[(?:\d+;)*3\d", terminal.written)
            terminal.press("\x03")
            assert terminal.ends() == 0
