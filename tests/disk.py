"""A small disk of a test's own, which can be filled to the last byte, and emptied again."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_FILLER: Final = "filler"


class DiskUnavailable(Exception):
    """Disks cannot be mounted here. ``refused``: by the kernel, whatever is installed."""

    refused = False


class SmallDisk:
    """A tmpfs, mounted while its block is open."""

    def __init__(self, megabytes: int) -> None:
        self._megabytes = megabytes
        self.path = Path(tempfile.mkdtemp(prefix="hermetic-disk-"))

    def fill(self, *, leaving: int = 0) -> None:
        """:param leaving: bytes that stay free."""
        with (self.path / _FILLER).open("ab") as filler:
            found = os.statvfs(self.path)
            size = found.f_bavail * found.f_frsize - leaving
            if size > 0:
                os.posix_fallocate(filler.fileno(), filler.tell(), size)

    def free(self) -> None:
        """Throw out what ``fill`` has put there."""
        (self.path / _FILLER).unlink(missing_ok=True)

    def read_only(self, yes: bool) -> None:
        self._mount("-o", f"remount,{'ro' if yes else 'rw'}")

    def __enter__(self) -> Self:
        try:
            if os.geteuid() != 0 or shutil.which("mount") is None:
                raise DiskUnavailable("a disk of one's own takes root and the program 'mount'")
            try:
                self._mount("-t", "tmpfs", "-o", f"size={self._megabytes}m", "tmpfs")
            except subprocess.CalledProcessError as error:
                said = error.stderr.strip()
                refusal = DiskUnavailable(f"no disk can be mounted here: {said}")
                refusal.refused = True
                raise refusal from error
        except DiskUnavailable:
            self.path.rmdir()
            raise
        self.path.chmod(0o755)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # lazily: somebody may have a file open there for a moment longer
        subprocess.run(["umount", "-l", self.path], check=False, capture_output=True)
        self.path.rmdir()

    def _mount(self, *arguments: str) -> None:
        command = ["mount", *arguments, str(self.path)]
        subprocess.run(command, check=True, capture_output=True, text=True)
