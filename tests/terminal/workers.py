"""Workers as processes of their own, and looking at them as a user would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import pytest

from hermetic.nearby.asking import Answered, ask_all, processes
from tests.worlds import PATIENCE

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
# all but what Python 3.12 and later say of a fork beside threads
_WARNED = ("-W", "error", "-W", "ignore:This process:DeprecationWarning")


def eventually(look: Callable[[], T], wanted: Callable[[T], bool]) -> T:
    """What is seen as soon as it is what was wanted, or after a while."""
    until = time.monotonic() + PATIENCE
    while not wanted(seen := look()) and time.monotonic() < until:
        time.sleep(0.01)
    assert wanted(seen), seen
    return seen


class Worker:
    """A worker that is told what to do."""

    def __init__(self, url: str, watch: dict[str, Any] | None = None, **env: str) -> None:
        given = [] if watch is None else [json.dumps(watch)]
        self.process = subprocess.Popen(
            [sys.executable, *_WARNED, "-m", "tests.terminal.worker", url, *given],
            cwd=ROOT,
            env={**os.environ, **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.pid = self.process.pid

    def tell(self, what: str) -> None:
        """Have it do something, without waiting for that."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()

    def line(self) -> str:
        """What it says next."""
        assert self.process.stdout is not None
        found = self.process.stdout.readline().strip()
        if not found:
            pytest.fail(f"the worker ended: {self.process.communicate()}")
        return found

    def do(self, *what: str) -> list[str]:
        """Have it do something; what it says besides."""
        said = []
        for each in what:
            self.tell(each)
            while (line := self.line()) != "done":
                said.append(line)
        return said

    def end(self) -> str:
        """Let it end; what it has written to its standard error."""
        _, errors = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0, errors
        return errors

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def seen(**question: Any) -> list[Answered]:
    """Every process that is there to be seen."""
    found, left_out = processes()
    assert left_out == []
    return ask_all(found, {"ask": "who", **question}, PATIENCE)


def seen_soon(many: int) -> list[Answered]:
    """So many of them: a worker opens its socket in a thread of its own."""
    return eventually(seen, lambda found: len(found) == many)
