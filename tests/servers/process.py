"""Programs, ports, accounts and process ids: what starting a server needs of the system."""

from __future__ import annotations

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

# Below the range that the kernel hands to outgoing connections: a client that reconnects
# while its server restarts could otherwise be given the server's port. Each of xdist's workers has
# a share of its own: a port is bound a while after it was chosen, and again at each start.
_SHARES = 16
_SHARE = int(os.environ.get("PYTEST_XDIST_WORKER", "gw-1").removeprefix("gw")) + 1
_PORTS = range(20_000 + _SHARE % _SHARES, 32_000, _SHARES)
_chance = random.SystemRandom()
_given: set[int] = set()

# A socket's path has room for 107 bytes, its file name included.
_LONGEST_DIRECTORY = 70


class ServerUnavailable(Exception):
    """The server's programs are not installed."""


class ServerFailed(Exception):
    """The server's programs are installed, and do not work."""


@dataclass(frozen=True, slots=True)
class Account:
    """A system user to run a program as."""

    name: str
    uid: int
    gid: int

    @classmethod
    def for_server(cls, name: str) -> Account | None:
        """The account to change to, or None to stay who we are: servers refuse to run as root."""
        if os.geteuid() != 0:
            return None
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise ServerFailed(f"running as root, and there is no user {name!r}") from None
        return cls(entry.pw_name, entry.pw_uid, entry.pw_gid)


def find_program(name: str, folders: Sequence[Path] = ()) -> Path | None:
    """A program on the path, or in the first of the folders that has it."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *map(str, folders)])
    found = shutil.which(name, path=path)
    return Path(found) if found else None


def reported_version(program: Path) -> str:
    """What `program --version` prints."""
    done = subprocess.run(
        [program, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def free_port() -> int:
    """One that nobody listens on, and that this process has not been given before."""
    if len(_given) > len(_PORTS) // 2:
        _given.clear()
    for port in _chance.sample(_PORTS, k=100):
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            _given.add(port)
            return port
    raise ServerFailed(f"no free port found in {_PORTS}")


def make_directory(prefix: str, account: Account | None) -> Path:
    parent = tempfile.gettempdir()
    if len(parent) > _LONGEST_DIRECTORY:
        parent = "/tmp"
    directory = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    if account is not None:
        os.chown(directory, account.uid, account.gid)
    return directory


def wait_until(condition: Callable[[], bool], timeout: float, *, pause: float = 0.02) -> bool:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


def run(command: Sequence[str | Path], *, account: Account | None, directory: Path) -> None:
    done = subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=directory,
        env=_environment(),
        check=False,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=os.getgrouplist(account.name, account.gid) if account else None,
    )
    if done.returncode:
        output = done.stdout.decode(errors="replace")[-2000:]
        raise ServerFailed(f"{command[0]} ended with {done.returncode}:\n{output}")


def spawn(
    command: Sequence[str | Path],
    *,
    account: Account | None,
    directory: Path,
    log_path: Path,
    ends_with: signal.Signals,
) -> subprocess.Popen[bytes]:
    with log_path.open("ab") as log:
        return subprocess.Popen(
            [*_tied_to_us(ends_with), *(str(part) for part in command)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=directory,
            env=_environment(),
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=os.getgrouplist(account.name, account.gid) if account else None,
            # Ctrl-C in the terminal must reach the tests first, and the server through them.
            start_new_session=True,
        )


def end(
    process: subprocess.Popen[bytes], first: signal.Signals, *, timeout: float
) -> signal.Signals | None:
    """Signal a process and wait for its end; the signal that ended it, if any was needed."""
    for each in (first, signal.SIGKILL):
        if process.poll() is not None:
            return None
        process.send_signal(each)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            continue
        return each
    raise ServerFailed(f"process {process.pid} survived SIGKILL for {timeout} s")


def _tied_to_us(ends_with: signal.Signals) -> list[str]:
    """A prefix that lets the kernel end the server when the tests are killed."""
    setpriv = shutil.which("setpriv")
    # The kernel takes the end of the starting thread for the end of the parent.
    if setpriv is None or threading.current_thread() is not threading.main_thread():
        return []
    return [setpriv, "--pdeathsig", ends_with.name.removeprefix("SIG"), "--"]


def _environment() -> dict[str, str]:
    """Ours without the variables that point clients and servers elsewhere."""
    foreign = ("PG", "MYSQL", "MARIADB", "NOTIFY_SOCKET", "LC_", "LANG")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}
