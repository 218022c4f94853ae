"""A Redis of a test's own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers.process import (
    ServerFailed,
    ServerUnavailable,
    end,
    find_program,
    free_port,
    make_directory,
    spawn,
    wait_until,
)


class RedisServer:
    """Runs on a port of its own while its block is open, and keeps nothing on disk.

    It can be stopped in the middle, frozen, and started again on the same port.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._directory: Path | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        program = find_program("redis-server", [Path("/usr/bin"), Path("/usr/local/bin")])
        if program is None:
            raise ServerUnavailable("no program 'redis-server': install the package of that name")
        assert self._directory is not None
        log = self._directory / "redis.log"
        settings = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", ""]
        self._process = spawn(
            [program, *settings, "--appendonly", "no", "--dir", self._directory],
            account=None,
            directory=self._directory,
            log_path=log,
            ends_with=signal.SIGKILL,
        )
        if not wait_until(self._answers, 30.0):
            said = log.read_text(errors="replace")[-2000:]
            self.stop()
            raise ServerFailed(f"Redis did not start; its log ends:\n{said}")

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            os.kill(process.pid, signal.SIGCONT)
            end(process, signal.SIGKILL, timeout=10.0)

    def freeze(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)
        # one of its threads is told, and the others go on until that one looks
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        self._directory = make_directory("hermetic-redis-", None)
        self.port = free_port()
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 0.5) as link:
                link.sendall(b"PING\r\n")
                return link.recv(16).startswith(b"+PONG")
        except OSError:
            return False
