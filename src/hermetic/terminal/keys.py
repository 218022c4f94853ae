"""Keys, one at a time, as a terminal sends them."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

_NAMED = {
    b"\x1b[A": "up",
    b"\x1b[B": "down",
    b"\x1bOA": "up",
    b"\x1bOB": "down",
    b"\x1b[5~": "page-up",
    b"\x1b[6~": "page-down",
    b"\x1b[H": "home",
    b"\x1b[F": "end",
    b"\x1bOH": "home",
    b"\x1bOF": "end",
    b"\x1b[1~": "home",
    b"\x1b[4~": "end",
    b"\x1b[Z": "shift-tab",
    b"\r": "enter",
    b"\n": "enter",
    b"\t": "tab",
    b"\x7f": "backspace",
    b"\x08": "backspace",
    b"\x03": "ctrl-c",
    b"\x1b": "esc",
}
_LONGEST = max(map(len, _NAMED))


def keys_of(sent: bytes) -> Iterator[str]:
    """What was pressed, by name; a character is its own. What nobody knows is left out."""
    while sent:
        for length in range(min(_LONGEST, len(sent)), 0, -1):
            name = _NAMED.get(sent[:length])
            if name == "esc" and sent[1:2] in (b"[", b"O"):
                length = _end_of_sequence(sent)  # noqa: PLW2901 - another key's, as a whole
                name = ""
            if name is not None:
                break
        else:
            length, name = _character(sent)
        if name:
            yield name
        sent = sent[length:]


def _end_of_sequence(sent: bytes) -> int:
    for number, each in enumerate(sent[2:], 2):
        if 0x40 <= each <= 0x7E:
            return number + 1
    return len(sent)


def _character(sent: bytes) -> tuple[int, str]:
    length = 1
    while length < len(sent) and 0x80 <= sent[length] < 0xC0:
        length += 1
    text = sent[:length].decode("utf-8", "ignore")
    return length, text if text.isprintable() else ""


class Keyboard:
    """The terminal's keys without a line to be ended: ``with Keyboard() as keyboard:``.

    Where the input is no terminal there are none. The terminal is as it was afterwards.
    """

    def __init__(self) -> None:
        self._number: int | None = None
        self._before: Any = None

    def __enter__(self) -> Self:
        try:
            import termios
            import tty

            number = sys.stdin.fileno()
            if os.isatty(number) and os.tcgetpgrp(number) == os.getpgrp():
                self._before = termios.tcgetattr(number)
                tty.setcbreak(number)
                self._number = number
        except (ImportError, OSError, ValueError, AttributeError):
            self._number = None  # nobody types there
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._number is not None:
            import termios

            termios.tcsetattr(self._number, termios.TCSADRAIN, self._before)

    def read(self, seconds: float) -> list[str]:
        """What was pressed, as soon as something was, or nothing after so many seconds."""
        number = self._number
        if number is None:
            select.select([], [], [], seconds)
            return []
        ready, _, _ = select.select([number], [], [], seconds)
        if not ready:
            return []
        sent = os.read(number, 1024)
        if not sent:
            return ["q"]  # the terminal has gone
        return list(keys_of(sent))
