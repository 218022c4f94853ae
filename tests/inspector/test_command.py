"""``hermetic inspect``: the processes of this host, in a browser."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from hermetic.cli import main
from hermetic.inspector import command
from tests.inspector.browser import Browser
from tests.inspector.serving import ask
from tests.servers.process import wait_until
from tests.terminal.conftest import place  # noqa: F401 - a fixture
from tests.terminal.workers import Worker, seen_soon
from tests.worlds import PATIENCE

TOKEN = "a-token-of-more-than-sixteen"


@contextmanager
def inspecting(*arguments: str, **env: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command as a process of its own, with the link that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "hermetic.cli", "inspect", "--port", "0", *arguments],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        link = process.stdout.readline().strip()
        assert link, process.communicate()
        yield process, link
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def states(url: str, cookie: str) -> Any:
    return json.loads(ask(url, "/api/live", Cookie=cookie).body)["states"]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/shop.db"


@pytest.mark.usefixtures("place")
def test_the_link_lets_one_browser_see_every_process(url: str) -> None:
    with (
        Worker(url) as one,
        Worker(url, {"service": "jobs"}) as two,
        inspecting() as (process, link),
    ):
        for worker in (one, two):
            worker.do("hold", "work", "repeat")
        seen_soon(2)
        parts = urlsplit(link)
        base = f"http://{parts.netloc}"
        assert ask(base, "/api/live").status == 401
        first = ask(base, f"/?{parts.query}")
        assert first.status == 303
        cookie = first.headers["set-cookie"].partition(";")[0]
        assert ask(base, f"/?{parts.query}").status == 401, "the link lets in once"
        assert wait_until(lambda: len(states(base, cookie)) == 2, PATIENCE)
        found = states(base, cookie)
        assert set(found) == {str(one.pid), str(two.pid)}
        (database,) = found[str(one.pid)]["databases"]
        (scope,) = database["scopes"]
        asked = f"process={one.pid}&database=shop&number={scope['number']}"
        detail = json.loads(ask(base, f"/api/scope?{asked}", Cookie=cookie).body)
        assert (detail["name"], detail["steps"][0]["statement"]) == ("holding", "SELECT 1")
        history = json.loads(ask(base, "/api/history", Cookie=cookie).body)
        assert history[str(two.pid)]["shop"]["recent"][0]["name"] == "order"
        (finding,) = database["findings"]
        asked = f"process={one.pid}&database=shop&number={finding['id']}"
        assert "SELECT 3" in ask(base, f"/api/source?{asked}", Cookie=cookie).text
        act = f"/api/act?process={one.pid}&database=shop&action=evict"
        assert ask(base, act, method="POST", Cookie=cookie, X_Hermetic="act").status == 403
        assert process.stdout is not None
        process.stdout.readline()
        token = process.stdout.readline().removeprefix("Token: ").strip()
        assert ask(base, "/api/live", Authorization=f"Bearer {token}").status == 200

        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0


@pytest.mark.usefixtures("place")
def test_one_service_is_looked_at_by_a_token_of_ones_own(url: str) -> None:
    own = {"HERMETIC_INSPECTOR_TOKEN": TOKEN}
    with (
        Worker(url) as one,
        Worker(url, {"service": "jobs"}) as two,
        inspecting("--service", "jobs", **own) as (process, link),
    ):
        for worker in (one, two):
            worker.do("hold")
        seen_soon(2)
        base = f"http://{urlsplit(link).netloc}"
        told = json.loads(ask(base, "/api/live", Authorization=f"Bearer {TOKEN}").body)
        assert set(told["states"]) <= {str(two.pid)}
        process.kill()
        said, _ = process.communicate()
        assert TOKEN not in said, "who has chosen it knows it"


@pytest.mark.usefixtures("place")
def test_a_process_that_stands_still_is_named(url: str, browser: Browser) -> None:
    with Worker(url) as one, Worker(url) as two, inspecting() as (_, link):
        for worker in (one, two):
            worker.do("hold")
        seen_soon(2)
        with browser.looking(link):
            browser.wait_for_text("#process", "2 processes")
            assert "code=" not in browser.driver.current_url
            browser.wait_for_text("#scopes", "holding")
            os.kill(two.pid, signal.SIGSTOP)
            try:
                browser.wait_for_text("#process", f"process {two.pid}: it did not answer")
            finally:
                os.kill(two.pid, signal.SIGCONT)
            browser.click("#scopes .row", "holding")
            browser.wait_for_text("#detail", "holding", "SELECT 1")


def test_who_connects_and_asks_nothing_is_let_go_in_silence(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command._Handler, "timeout", 0.05)
    with command._server("127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            with socket.create_connection(("127.0.0.1", server.server_port), PATIENCE) as idle:
                assert idle.recv(1) == b""
        finally:
            server.shutdown()
            thread.join(PATIENCE)
    assert capfd.readouterr().err == ""


def test_what_cannot_be_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["inspect", "--folder", str(tmp_path / "nowhere")]) == 2
    assert "--folder" in capsys.readouterr().err
    assert main(["inspect", "--host", "192.0.2.1", "--port", "0"]) == 2
    assert re.search(r"Nothing can be served at 192\.0\.2\.1", capsys.readouterr().err)
