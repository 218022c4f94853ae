"""A signal at every step of a piece of work, one after the other, without a clock.

CPython runs signal handlers after the call of a C function, where a Python function begins, and
where a loop turns back. The profiler is called at the first two, and where a Python function
returns, which is more than CPython does; the handler runs from there.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any, Final

# A C function that is about to be called cannot be interrupted: its __exit__ lets go of a lock.
_STEPS: Final = frozenset({"call", "return", "c_return"})


class Strike:
    """Raises SIGINT at one step of what is done inside it, or inside one function there.

    :param beside: functions that are not struck at where they are called.
    """

    def __init__(
        self,
        step: int,
        within: CodeType | None = None,
        beside: frozenset[CodeType] = frozenset(),
    ) -> None:
        self._step = step
        self._within = within
        self._beside = beside
        self._frame: FrameType | None = None
        self._over = False
        self._seen = 0
        self.where: str | None = None
        # kept: what the interpreter calls is not kept by it, should it be taken away in the call
        self._profiler = self._profile

    def __enter__(self) -> None:
        sys.setprofile(self._profiler)

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _profile(self, frame: FrameType, event: str, argument: Any) -> None:
        if self._over or event not in _STEPS or frame.f_code.co_filename == __file__:
            return
        if self._within is not None and self._frame is None:
            if frame.f_code is not self._within:
                return
            self._frame = frame
        if event == "call" and frame.f_code in self._beside:
            return
        self._seen += 1
        if self._seen == self._step:
            self._over = True
            name = argument.__qualname__ if event == "c_return" else ""
            self.where = f"{event} {name} in {frame.f_code.co_qualname}, line {frame.f_lineno}"
            signal.raise_signal(signal.SIGINT)
        elif event == "return" and frame is self._frame:
            self._over = True


def strikes(work: Callable[[Strike], object], within: CodeType | None = None) -> Iterator[Strike]:
    """Do the work again and again, interrupted at each of its steps."""
    step = 0
    while True:
        step += 1
        strike = Strike(step, within)
        with contextlib.suppress(KeyboardInterrupt):
            work(strike)
        sys.setprofile(None)
        if strike.where is None:
            return
        yield strike
