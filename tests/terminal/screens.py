"""A terminal, as a program sees one: it is written to, and keys come from it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import subprocess
import termios
import time
from typing import Self

from tests.terminal.workers import ROOT, eventually
from tests.worlds import PATIENCE

_ORDER = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z]|[()][A-Z0-9])")


def _take_terminal() -> None:
    """Of a new session: its terminal, which sends Ctrl-C as a signal."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Terminal:
    """A program in a terminal of its own, with what it has written so far."""

    def __init__(self, *program: str, **env: str) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            program,
            cwd=ROOT,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24", **env},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509 - there is one thread
        )
        os.close(theirs)
        # everything, and how far of its text, without orders, has been looked through
        self.written = ""
        self._past = 0

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def shows(self, text: str) -> None:
        """It writes this, after what it was last known to have written."""
        until = time.monotonic() + PATIENCE
        while (found := _ORDER.sub("", self.written).find(text, self._past)) < 0:
            assert time.monotonic() < until, self.written[-3000:]
            self._read(0.2)
        self._past = found + len(text)

    def ends(self) -> int:
        """Its exit code."""
        code = eventually(self._poll, lambda code: code is not None)
        assert code is not None
        seen = -1
        while seen < len(self.written):
            seen = len(self.written)
            self._read(0.0)
        return code

    def _poll(self) -> int | None:
        code = self.process.poll()
        self._read(0.0)
        return code

    def _read(self, seconds: float) -> None:
        ready, _, _ = select.select([self._ours], [], [], seconds)
        try:
            self.written += os.read(self._ours, 65536).decode(errors="replace") if ready else ""
        except OSError:
            time.sleep(seconds)  # it has gone

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._ours)
