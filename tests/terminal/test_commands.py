"""`hermetic list` and `hermetic top`, on processes that are at work."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any, Self

import pytest

from tests.terminal.workers import ROOT, Worker, eventually, seen_soon
from tests.worlds import PATIENCE

pytestmark = pytest.mark.slow

_COMMAND = (sys.executable, "-W", "error", "-m", "hermetic.cli")
_ORDER = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z]|[()][A-Z0-9])")


def hermetic(*arguments: str, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*_COMMAND, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
        env={**os.environ, "COLUMNS": "120", **env},
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def listed(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(hermetic("list", "--json", *arguments).stdout)
    return found


def test_workers_of_one_service_are_added_up(some_url: str, place: Path) -> None:
    with Worker(some_url) as one, Worker(some_url) as other:
        one.do("work", "hold")
        other.do("work", "repeat")
        seen_soon(2)

        found = listed("--scopes")

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

        shown = hermetic("list", "--scopes").stdout
        assert "shop: 2 workers, 1 open scopes, 15 committed" in shown
        assert "holding #" in shown
        assert json.loads(hermetic("list", "--json", f"--pid={one.pid}").stdout)["processes"][0][
            "pid"
        ] == (one.pid)

        one.process.kill()
        one.process.wait(PATIENCE)
        assert [process["pid"] for process in listed()["processes"]] == [other.pid]


def test_services_are_kept_apart(url: str, place: Path) -> None:
    with Worker(url) as shop, Worker(url, {"service": "billing"}) as billing:
        shop.do("work")
        billing.do("work", "work")
        seen_soon(2)

        found = {each["name"]: each for each in listed()["services"]}
        assert found["shop"]["counters"]["committed"] == 7
        assert found["billing"]["counters"]["committed"] == 14
        (alone,) = listed("--service=billing")["processes"]
        assert alone["pid"] == billing.pid


def test_nobody_is_found(place: Path) -> None:
    done = hermetic("list", "--json", code=1)
    assert json.loads(done.stdout)["processes"] == []

    done = hermetic("list", code=1)
    assert (done.stdout, "watch=True" in done.stderr) == ("", True)
    assert "watch=True" in hermetic("top", "--once", code=1).stderr


def test_a_folder_that_cannot_be_looked_into_is_named(place: Path) -> None:
    place.mkdir(mode=0o755)
    place.chmod(0o755)

    assert "chmod 700" in hermetic("list", f"--folder={place}", code=2).stderr
    assert "chmod 700" in hermetic("top", f"--folder={place}", code=2).stderr
    assert "left out" in hermetic("list", code=1).stderr
    assert "no column" in hermetic("top", "--sort=nothing", code=2).stderr


def test_a_single_frame_is_printed_where_there_is_no_terminal(some_url: str, place: Path) -> None:
    with Worker(some_url) as worker:
        worker.do("repeat", "hold")
        seen_soon(1)

        shown = hermetic("top", "--every=0.1").stdout
        assert re.search(r"holding #\d+ +idle ", shown)
        assert f"shop ({worker.pid})" in shown
        assert "\x1b" not in shown

        shown = hermetic("top", "--once", "--every=0.1", "--page=findings").stdout
        assert "repeated-statement" in shown
        assert "worker.py" in shown
        assert "careless" in hermetic("top", "--every=0.1", "--page=names", "--sort=p99").stdout


def _take_terminal() -> None:
    """Of a new session: its terminal, which sends Ctrl-C as a signal."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Terminal:
    """`hermetic top` in a terminal of its own, with what it has written so far."""

    def __init__(self, *arguments: str, **env: str) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [*_COMMAND, "top", *arguments],
            cwd=ROOT,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24", **env},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509 - there is one thread
        )
        os.close(theirs)
        self.written = ""

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def shows(self, text: str) -> None:
        """It writes this from now on, or has since the last time."""
        until = time.monotonic() + PATIENCE
        while text not in _ORDER.sub("", self.written):
            assert time.monotonic() < until, self.written[-3000:]
            ready, _, _ = select.select([self._ours], [], [], 0.2)
            if ready:
                self.written += os.read(self._ours, 65536).decode(errors="replace")
        self.written = ""

    def ends(self) -> int:
        eventually(self._poll, lambda code: code is not None)
        code = self._poll()
        assert code is not None
        return code

    def _poll(self) -> int | None:
        ready, _, _ = select.select([self._ours], [], [], 0)
        try:
            self.written += os.read(self._ours, 65536).decode(errors="replace") if ready else ""
        except OSError:
            pass  # it has gone
        return self.process.poll()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._ours)


def test_a_terminal_is_drawn_in_and_keys_are_heard(url: str, place: Path) -> None:
    with Worker(url) as worker:
        worker.do("repeat", "hold")
        seen_soon(1)
        with Terminal("--every=0.2") as terminal:
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
        with Terminal("--every=0.2", NO_COLOR="1") as terminal:
            terminal.shows("holding #")
            assert not re.search(r"\x1b\[(?:\d+;)*3\d", terminal.written)
            terminal.press("\x03")
            assert terminal.ends() == 0
