"""Which line of the user's code something was begun at."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from types import CodeType, FrameType

import sqlalchemy

try:
    import cython  # type: ignore[import-untyped]
except ImportError:
    from .fast import shadow as cython

# the compiled form has these from place.pxd
if not cython.compiled:

    def this_frame() -> FrameType:
        return sys._getframe(1)

    def code_of(frame: FrameType) -> CodeType:
        return frame.f_code

    def instruction_of(frame: FrameType) -> int:
        return frame.f_lasti

    def is_ours(code: CodeType, package: str) -> bool:
        return code.co_filename.startswith(package)


_PACKAGE = __file__.rpartition("/")[0] + "/"
_INNER = (
    _PACKAGE,
    sqlalchemy.__file__.rpartition("/")[0] + "/",
    asyncio.__file__.rpartition("/")[0] + "/",
    contextlib.__file__,
)


def caller_frame() -> FrameType:
    """The frame of the user's code that called into hermetic."""
    # from the innermost one on: compiled functions have no frames to count
    frame: FrameType | None = this_frame()
    while frame is not None and is_ours(code_of(frame), _PACKAGE):
        last, frame = frame, frame.f_back
    if frame is None:
        return last
    # a frame that knows itself keeps every caller's variables alive until garbage is collected
    last = frame
    return frame


def user_frame() -> FrameType:
    """The frame of the user's code, from beneath SQLAlchemy, also under its bridge to asyncio."""
    frame: FrameType | None = sys._getframe(0)
    while frame is not None and _is_inner(frame):
        frame = frame.f_back
    if frame is not None:
        return frame
    # in a greenlet of SQLAlchemy's, whose frames do not lead to those of the coroutine
    bridge = sys.modules.get("greenlet")
    parent = None if bridge is None else bridge.getcurrent().parent
    frame = None if parent is None else parent.gr_frame
    while frame is not None and _is_inner(frame):
        frame = frame.f_back
    return frame if frame is not None else sys._getframe(0)


def _is_inner(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    return name.startswith(_INNER) or name.startswith("<sqlalchemy")


# of places that were put into words: their code, and the words
_told: dict[tuple[int, int], tuple[CodeType, str]] = {}
_MOST_TOLD = 1000


class Place:
    """A line of code, kept as cheaply as can be and put into words when asked."""

    __slots__ = ("_at", "_code")

    def __init__(self, frame: FrameType) -> None:
        self._code: CodeType = code_of(frame)
        # an instruction's number; its line is looked up when somebody asks
        self._at = instruction_of(frame)

    def __str__(self) -> str:
        # by its number, as the code is kept: comparing it would compare all that is in it
        key = id(self._code), self._at
        known = _told.get(key)
        if known is None:
            if len(_told) >= _MOST_TOLD:
                _told.clear()
            said = f"{self._code.co_filename}:{self.line} in {self._code.co_name}"
            known = _told[key] = (self._code, said)
        return known[1]

    @property
    def line(self) -> int:
        for start, end, line in self._code.co_lines():
            if start <= self._at < end and line is not None:
                return line
        return self._code.co_firstlineno

    @property
    def function(self) -> str:
        return self._code.co_name
