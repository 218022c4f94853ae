"""Processes are found without configuration, by nobody but their user, and are not held by it."""

from __future__ import annotations

import logging
import os
import resource
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from hermetic import Database, Watch
from hermetic.nearby import folder, wire
from hermetic.nearby.asking import Process, ask, ask_all, processes
from hermetic.nearby.door import Answer, Door, door
from tests.terminal.workers import Worker, eventually, seen, seen_soon
from tests.worlds import PATIENCE

pytestmark = pytest.mark.slow

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
NOBODY = 65534


def names(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def test_a_process_is_found_from_its_first_scope_on(some_url: str, place: Path) -> None:
    with Worker(some_url) as worker:
        assert worker.do("threads") == ["MainThread"]
        assert not place.exists()

        worker.do("hold")
        (found,) = seen_soon(1)

        assert found.problem is None
        assert found.pid == worker.pid
        assert found.said["service"] == "shop"
        assert found.said["command"] == "python -m tests.terminal.worker"
        assert found.said["databases"] == ["shop"]
        modes = [stat.S_IMODE(each.lstat().st_mode) for each in (place, found.process.path)]
        assert modes == [0o700, 0o600]

        assert worker.end() == ""
        assert names(place) == []


def test_closing_the_last_database_takes_the_socket_away(url: str, place: Path) -> None:
    with Worker(url) as worker:
        worker.do("work")
        seen_soon(1)
        worker.do("close")

        eventually(lambda: names(place), lambda found: found == [])
        assert "hermetic-nearby" not in worker.do("threads")[0]


def test_a_killed_worker_is_forgotten_and_its_socket_removed(url: str, place: Path) -> None:
    with Worker(url) as killed, Worker(url) as other:
        killed.do("hold")
        other.do("work")
        seen_soon(2)

        killed.process.kill()
        killed.process.wait(PATIENCE)
        assert len(names(place)) == 2

        assert [each.pid for each in seen()] == [other.pid]
        assert [name.partition("-")[0] for name in names(place)] == [str(other.pid)]


def test_a_forked_child_has_a_socket_of_its_own(url: str, place: Path) -> None:
    with Worker(url) as worker:
        worker.do("work")
        seen_soon(1)
        worker.tell("fork")
        child = int(worker.line())

        found = seen_soon(2)
        assert {each.pid for each in found} == {worker.pid, child}
        assert {each.said["service"] for each in found} == {"shop"}

        worker.tell("go on")
        assert worker.line() == "done"
        assert [each.pid for each in seen()] == [worker.pid]
        assert worker.end() == ""


def test_a_process_that_does_not_answer_in_time_is_said_so(place: Path) -> None:
    goes_on = threading.Event()
    own, database, process = opened(lambda *_: {"pid": 1, "went on": goes_on.wait(PATIENCE)})

    stuck = ask(process, {"ask": "who"}, 0.2)
    goes_on.set()
    answered = ask(process, {"ask": "who"}, PATIENCE)

    assert stuck is not None
    assert (stuck.problem, stuck.pid) == ("it did not answer within 0.2 s", os.getpid())
    assert answered is not None
    assert (answered.problem, answered.pid) == (None, 1)
    own.leave(database)
    eventually(process.path.exists, lambda there: not there)


@pytest.mark.parametrize(
    ("watch", "env"),
    [
        ({}, {}),
        ({"nearby": False}, {}),
        ({"service": "shop"}, {"HERMETIC_NEARBY": "off"}),
    ],
    ids=["not watched", "by the option", "by the environment"],
)
def test_it_is_off(watch: dict[str, Any], env: dict[str, str], url: str, place: Path) -> None:
    with Worker(url, watch, **env) as worker:
        worker.do("hold")

        assert "hermetic-nearby" not in worker.do("threads")[0]
        assert worker.end() == ""
        assert not place.exists()


def test_the_environment_names_a_folder_and_a_service(
    url: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = place.parent / "n"
    monkeypatch.setenv("HERMETIC_NEARBY", str(named))
    with Worker(url, {"every": 1.0}, HERMETIC_SERVICE="billing") as worker:
        worker.do("hold")

        (found,) = seen_soon(1)
        assert found.said["service"] == "billing"
        assert found.process.path.parent == named


def test_without_a_name_the_folder_is_that_of_the_login_or_the_users_own(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HERMETIC_NEARBY", "on")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place.parent))
    users = Path(f"/tmp/hermetic-{os.geteuid()}")
    assert list(folder.candidates()) == [place, users]
    assert folder.own() == place
    assert stat.S_IMODE(place.lstat().st_mode) == 0o700

    monkeypatch.setenv("XDG_RUNTIME_DIR", "relative")
    assert list(folder.candidates()) == [users]
    # one that is gone with its login is not made anew
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place.parent / "gone"))
    assert folder.own() == users


# ---------------------------------------------------------------- whom a process does not trust


def test_a_folder_that_others_may_enter_is_not_used(url: str, place: Path) -> None:
    place.mkdir(mode=0o755)
    place.chmod(0o755)
    with Worker(url) as worker:
        worker.do("hold", "release", "work")

        said = worker.end()

    assert said.count("\n") == 1
    assert f"{place} is open to others: chmod 700 {place}" in said
    assert names(place) == []


def test_a_link_in_the_folders_place_is_not_followed(url: str, place: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    place.symlink_to(tmp_path)

    with pytest.raises(folder.NotPrivate, match="is no folder"):
        folder.check(place, os.geteuid())
    with Worker(url) as worker:
        worker.do("hold")
        assert "is no folder" in worker.end()


def test_a_folder_where_others_may_replace_it_is_not_used(place: Path) -> None:
    place.mkdir(mode=0o700)
    place.parent.chmod(0o777)
    with pytest.raises(folder.NotPrivate, match="lets others replace"):
        folder.check(place, os.geteuid())
    place.parent.chmod(0o1777)
    folder.check(place, os.geteuid())


@as_root
def test_a_folder_of_somebody_else_is_neither_used_nor_looked_into(url: str, place: Path) -> None:
    place.mkdir(mode=0o700)
    os.chown(place, NOBODY, NOBODY)
    found, left_out = processes()
    assert not any(each.path.parent == place for each in found)
    assert left_out == [f"{place} is user {NOBODY}'s, not 0's"]
    with Worker(url) as worker:
        worker.do("hold")
        assert f"user {NOBODY}'s" in worker.end()


@as_root
def test_somebody_else_gets_no_answer_even_where_the_modes_let_him_in(
    url: str, place: Path
) -> None:
    with Worker(url) as worker:
        worker.do("hold")
        (found,) = seen_soon(1)
        path = found.process.path
        for each in (place.parent, place):
            each.chmod(0o755)
        path.chmod(0o777)
        program = "; ".join(
            (
                "import os, socket",
                f"os.setgid({NOBODY})",
                f"os.setuid({NOBODY})",
                "s = socket.socket(socket.AF_UNIX)",
                f"s.connect({str(path)!r})",
                's.sendall(b\'\\0\\0\\0\\r{"ask":"who"}\')',
                "print(s.recv(10))",
            )
        )
        asked = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        place.chmod(0o700)

        # closed without an answer; what was sent may have been in nobody's hands
        assert asked.stdout in ("", "b''\n")
        hung_up = "ConnectionResetError" in asked.stderr or "BrokenPipeError" in asked.stderr
        assert asked.stdout or hung_up, asked.stderr
        assert [each.problem for each in seen()] == [None]


def test_who_is_on_the_other_side_is_told_by_the_system() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert wire.user_of(one) == os.geteuid()
        assert wire.is_trusted(one)
        if os.geteuid() != 0:
            assert not wire.is_trusted(one, owner=NOBODY)


# ---------------------------------------------------------------- whoever asks holds nobody


class Slow:
    """Somebody who connects and then does not do what is expected."""

    def __init__(self, process: Process) -> None:
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.settimeout(PATIENCE)
        self.connection.connect(str(process.path))

    def send(self, content: bytes) -> None:
        self.connection.sendall(content)

    def gets(self) -> int:
        """How many bytes there are until it is hung up on."""
        with self.connection:
            found = 0
            while piece := self.connection.recv(65536):
                found += len(piece)
            return found

    def is_hung_up_on(self) -> bool:
        try:
            return self.connection.recv(1) == b""
        except ConnectionResetError:
            return True
        finally:
            self.connection.close()


_NO_QUESTIONS = {
    "nothing": b"",
    "half a length": b"\0",
    "half a question": b"\0\0\0\x10{",
    "too much": b"\xff\xff\xff\xff",
    "a list": b"\0\0\0\x02[]",
    "no JSON": b"\0\0\0\x02no",
    "no text": b"\0\0\0\x04\xff\xff\xff\xff",
}


def test_a_question_that_is_none_is_hung_up_on(url: str, place: Path) -> None:
    with Worker(url) as worker:
        worker.do("hold")
        (found,) = seen_soon(1)
        for what, sent in _NO_QUESTIONS.items():
            slow = Slow(found.process)
            slow.send(sent)
            worker.do("work")  # it goes on meanwhile
            assert slow.is_hung_up_on(), what
        assert [each.problem for each in seen()] == [None]
        assert worker.end() == ""


def big(question: dict[str, Any], databases: list[Any]) -> dict[str, Any]:
    # what takes long to write down would be counted as time for sending
    length = {"much": 10_000_000, "more": 100_000}.get(question["ask"], 0)
    return {"pid": os.getpid(), "much": "x" * length}


def opened(answer: Answer) -> tuple[Door, Database, Process]:
    """A socket of this process, and what it says."""
    own, database = Door(answer), Database("sqlite://")
    own.add(database)
    own.open()
    path = eventually(lambda: own.path, bool)
    assert path is not None
    return own, database, Process(path, os.geteuid())


def test_whoever_does_not_take_his_answer_is_left_alone(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hermetic.nearby.door._TAKEN", 0.05)
    own, database, process = opened(big)
    path = process.path
    slow = Slow(process)
    slow.send(b'\0\0\0\x0e{"ask":"much"}')

    answered = ask(process, {"ask": "who"}, PATIENCE)
    assert answered is not None
    assert answered.problem is None
    assert slow.gets() < 10_000_000

    own.leave(database)
    eventually(path.exists, lambda there: not there)
    assert ask_all([process], {"ask": "who"}) == []


def test_an_answer_that_is_too_long_is_not_read(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "LONGEST_ANSWER", 1000)
    own, database, process = opened(big)
    path = process.path

    answered = ask(process, {"ask": "more"}, PATIENCE)

    assert answered is not None
    assert "more than 1000" in str(answered.problem)
    own.leave(database)
    eventually(path.exists, lambda there: not there)


def test_a_failure_to_open_is_said_once_and_fails_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(*_: object) -> None:
        raise OSError("too many open files")

    monkeypatch.setattr(folder, "own", refused)
    own = Door()
    with caplog.at_level(logging.WARNING, "hermetic"):
        own.open()
        eventually(lambda: caplog.messages, lambda said: len(said) == 1)
        own.open()
        own.start_anew()

    assert "too many open files" in caplog.text
    assert len(caplog.messages) == 1


def test_a_database_that_is_collected_is_not_seen_any_more(place: Path) -> None:
    own = Door(lambda question, databases: {"databases": len(databases)})
    kept, dropped = Database("sqlite://"), Database("sqlite://")
    own.add(kept)
    own.add(dropped)

    assert own.databases() == [kept, dropped]
    del dropped
    import gc

    gc.collect()
    assert own.databases() == [kept]


def open_again(own: Door) -> Path | None:
    own.open()
    return own.path


def test_a_socket_that_is_opened_again_is_taken_away_too(place: Path) -> None:
    own = Door(lambda question, databases: {"databases": len(databases)})
    for _ in range(5):
        database = Database("sqlite://")
        own.add(database)
        # asked again, as by every first scope after a while
        eventually(lambda: open_again(own), bool)
        own.leave(database)
    eventually(lambda: own.path, lambda path: path is None)
    eventually(lambda: names(place), lambda found: found == [])
    database = Database("sqlite://")
    own.add(database)
    eventually(lambda: open_again(own), bool)

    own.at_exit()

    assert names(place) == []
    own.leave(database)


def test_a_database_that_is_closed_at_once_leaves_no_socket(place: Path) -> None:
    own = Door(lambda question, databases: {})
    database = Database("sqlite://")
    own.add(database)
    own.open()
    own.leave(database)
    eventually(lambda: place.exists() and names(place), lambda found: found == [])
    eventually(
        lambda: [each.name for each in threading.enumerate()],
        lambda found: "hermetic-nearby" not in found,
    )


def test_a_path_that_is_too_long_for_a_socket_is_said(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    long = place.parent / ("long" * 30)
    monkeypatch.setenv("HERMETIC_NEARBY", str(long))
    own = Door()
    with caplog.at_level(logging.WARNING, "hermetic"):
        own.open()
        eventually(lambda: caplog.messages, lambda said: len(said) == 1)

    assert "too long" in caplog.text
    assert names(long) == []


def test_making_a_database_opens_nothing(place: Path) -> None:
    before = set(threading.enumerate())  # of which some may end meanwhile
    db = Database("sqlite://", watch=Watch(service="shop"))

    assert (set(threading.enumerate()) - before, door.path) == (set(), None)
    assert not place.exists()
    db.close()


class Counted(Door):
    """Writes down when somebody was to be let in."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer)
        self.met: list[float] = []

    def _meet(self, listener: socket.socket) -> bool:
        self.met.append(time.monotonic())
        return super()._meet(listener)


@contextmanager
def no_more_files() -> Iterator[None]:
    """This process can open nothing."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    copies: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        with suppress(OSError):
            while True:
                copies.append(os.dup(0))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for each in copies:
            os.close(each)


def test_whoever_cannot_be_let_in_waits_and_costs_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hermetic.nearby.door._PAUSE", 0.1)
    own = Counted(lambda question, databases: {"pid": 1})
    database = Database("sqlite://")
    own.add(database)
    own.open()
    path = eventually(lambda: own.path, bool)
    with socket.socket(socket.AF_UNIX) as client:
        with no_more_files():
            client.connect(str(path))
            eventually(lambda: own.met, lambda met: len(met) > 2)
            first, _, third, *_ = own.met
            assert third - first >= 0.15, "it turns"
        client.sendall(b'\0\0\0\x0d{"ask":"who"}')
        client.settimeout(PATIENCE)
        assert b"pid" in client.recv(100)
    own.leave(database)
    eventually(lambda: own.path, lambda found: found is None)


def test_the_door_shuts_while_somebody_waits_at_it(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hermetic.nearby.door._PAUSE", 100 * PATIENCE)
    own = Counted(lambda question, databases: {})
    database = Database("sqlite://")
    own.add(database)
    own.open()
    path = eventually(lambda: own.path, bool)
    with socket.socket(socket.AF_UNIX) as client, no_more_files():
        client.connect(str(path))
        eventually(lambda: own.met, bool)
        own.leave(database)
        eventually(lambda: own.path, lambda found: found is None)
