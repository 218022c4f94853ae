"""A server in a process of ours, from its empty folder to its end."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from tests.servers.access import ServerAccess, ServerAddress
from tests.servers.process import (
    Account,
    ServerFailed,
    end,
    free_port,
    make_directory,
    run,
    spawn,
    wait_until,
)

# Characters that a URL must quote, and some that a second unquoting would change.
_PASSWORD = "p@ss/w%72d?#:1"

_READY_TIMEOUT = 30.0


class LocalServer(ServerAccess):
    """A server that this process starts and ends.

    `start` fills a temporary folder at its first call; `halt` and `kill` end the process and keep
    the data and the port for the next `start`; `stop` removes everything. As a context manager it
    starts and stops.
    """

    system_user: ClassVar[str]
    # The signal on which the server rolls back what runs and ends without waiting for its clients.
    halt_signal: ClassVar[signal.Signals]

    def __init__(self, *, durable: bool = False, settings: Mapping[str, str] | None = None) -> None:
        """A durable server waits for the disk, which only tests of a crash need."""
        super().__init__(None)
        self.durable = durable
        self.settings = dict(settings or {})
        self._account: Account | None = None
        self._directory: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    @abstractmethod
    def installed_version(cls) -> str:
        """The version of the programs found; raises ServerUnavailable when there are none."""

    @abstractmethod
    def _initialise(self) -> None:
        """Fill the empty folder: data and settings."""

    @abstractmethod
    def _command(self) -> list[str | Path]: ...

    @abstractmethod
    def _answers(self) -> bool: ...

    def _admit_user(self) -> None:
        """Called once, when the new server answers for the first time."""

    @property
    def directory(self) -> Path:
        if self._directory is None:
            raise RuntimeError(f"{type(self).__name__} is not started")
        return self._directory

    @property
    def log_path(self) -> Path:
        return self.directory / "server.log"

    @property
    def pid(self) -> int | None:
        """The process id while the server runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        if self.pid is not None:
            raise RuntimeError(f"{type(self).__name__} runs already, as process {self.pid}")
        if self._directory is not None:
            self._launch()
            return
        try:
            self._create()
        except BaseException:
            self.stop()
            raise

    def halt(self) -> None:
        """End the process in good order; running transactions are rolled back."""
        self._end(self.halt_signal)

    def kill(self) -> None:
        """End the process as a crash would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.halt()
        self.start()

    def stop(self) -> None:
        """End the process and remove its folder."""
        try:
            # In good order, although the data goes: a killed server leaves shared memory behind.
            self._end(self.halt_signal)
        finally:
            directory, self._directory, self._address = self._directory, None, None
            if directory is not None:
                shutil.rmtree(directory, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _create(self) -> None:
        self.installed_version()
        self._account = Account.for_server(self.system_user)
        self._directory = make_directory(f"hermetic-{self.family}-", self._account)
        self._address = ServerAddress(
            host="127.0.0.1",
            port=free_port(),
            socket_dir=str(self._directory),
            user="hermetic",
            password=_PASSWORD,
        )
        self._initialise()
        self._launch()
        self._admit_user()

    def _launch(self) -> None:
        # More than once: a killed PostgreSQL leaves children that hold its shared memory for a
        # moment, and a port that was free can be taken before the server binds it.
        for _ in range(5):
            process = self._process = spawn(
                self._command(),
                account=self._account,
                directory=self.directory,
                log_path=self.log_path,
                ends_with=self.halt_signal,
            )
            wait_until(self._settled, _READY_TIMEOUT)
            if process.poll() is None:
                break
            time.sleep(0.2)
        if self.pid is None or not self._answers():
            self.kill()
            log_end = self.log_path.read_text(errors="replace")[-2000:]
            raise ServerFailed(f"{type(self).__name__} did not start; its log ends:\n{log_end}")

    def _settled(self) -> bool:
        return self.pid is None or self._answers()

    def _end(self, first: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            end(process, first, timeout=15.0)

    def _run(self, *command: str | Path) -> None:
        run(command, account=self._account, directory=self.directory)
