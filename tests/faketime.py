"""A wall clock that jumps, for a whole process: Debian's package ``libfaketime``.

The library stands between a program and the C library, which Python's ``time.time`` comes from. The
monotonic clock is left as it is.
"""

from __future__ import annotations

import itertools
import threading
from pathlib import Path
from types import TracebackType
from typing import Final, Self

# hours by which it is wrong, one after the other
JUMPS: Final = (3, -3, 24 * 30, 0, -24 * 30)
EVERY: Final = 0.05


class FaketimeUnavailable(Exception):
    """The library is not installed."""


class JumpingClock:
    """A wall clock that jumps while its block is open.

    :param folder: for a file that whoever has this clock reads.
    """

    def __init__(self, folder: Path) -> None:
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
        if not found:
            raise FaketimeUnavailable("no libfaketime here: install the package 'libfaketime'")
        self._library = found[0]
        self._file = folder / "clock"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._jump, name="jumping-clock", daemon=True)
        self._set(0)

    @property
    def environment(self) -> dict[str, str]:
        """With this a program has this clock."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _jump(self) -> None:
        for hours in itertools.cycle(JUMPS):
            self._set(hours)
            if self._over.wait(EVERY):
                return

    def _set(self, hours: int) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{hours * 3600:+d}\n")
        fresh.chmod(0o644)
        fresh.rename(self._file)
