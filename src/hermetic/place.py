"""Which line of the user's code something was begun at."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from types import CodeType, FrameType

import sqlalchemy

_PACKAGE = __file__.rpartition("/")[0] + "/"
_INNER = (
    _PACKAGE,
    sqlalchemy.__file__.rpartition("/")[0] + "/",
    asyncio.__file__.rpartition("/")[0] + "/",
    contextlib.__file__,
)


def caller_frame(depth: int = 1) -> FrameType:
    """The frame of the user's code that called into hermetic."""
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        last, frame = frame, frame.f_back
    return frame if frame is not None else last


def user_frame() -> FrameType:
    """The frame of the user's code, from beneath SQLAlchemy, also under its bridge to asyncio."""
    frame: FrameType | None = sys._getframe(1)
    first = frame
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
    if frame is not None:
        return frame
    assert first is not None
    return first


def _is_inner(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    return name.startswith(_INNER) or name.startswith("<sqlalchemy")


class Place:
    """A line of code, kept as cheaply as can be and put into words when asked."""

    __slots__ = ("_code", "_line")

    def __init__(self, frame: FrameType) -> None:
        self._code: CodeType = frame.f_code
        self._line = frame.f_lineno

    def __str__(self) -> str:
        return f"{self._code.co_filename}:{self._line} in {self._code.co_name}"

    @property
    def function(self) -> str:
        return self._code.co_name
