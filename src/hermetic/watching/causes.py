"""Where a statement comes from: the line of the user's code, and what SQLAlchemy was doing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

from ..owner import Owner
from ..place import user_frame

# SQLAlchemy's functions that send one statement for so many objects or rows at a time
_BATCHES = frozenset({"_load_via_parent", "_load_via_child", "_exec_insertmany_context"})
# how many frames of a holder's stack are shown
_DEEP = 12


@dataclass(frozen=True, slots=True)
class Cause:
    """``relationship`` is ``Class.attribute`` of what was loaded lazily, if it was that;
    ``column`` the same of a deferred column. ``batch``: SQLAlchemy sends it for many rows at a
    time, and again for the next ones.
    """

    place: str
    relationship: str | None = None
    column: str | None = None
    batch: bool = False

    @property
    def advice(self) -> str:
        """What ends it."""
        if self.relationship is not None:
            return (
                f"Load it with the objects: select(…).options(selectinload({self.relationship})),"
                " or joinedload() for a single object."
            )
        if self.column is not None:
            return (
                f"Load the column with the objects: select(…).options(undefer({self.column})), or"
                " refresh the objects in one statement."
            )
        return (
            "Ask once for all: select(…).where(column.in_(values)), or insert_many and"
            " update_many for writes."
        )


def cause_of_statement() -> Cause:
    """Of the statement that the caller is about to send."""
    relationship = column = None
    batch = False
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_name
        if name == "_load_for_state":
            relationship = relationship or _relationship(frame.f_locals.get("self"))
        elif name == "_quickly":
            relationship = relationship or _relationship(
                getattr(frame.f_locals.get("self"), "strategy", None)
            )
        elif name == "load_scalar_attributes":
            column = column or _columns(frame.f_locals)
        elif name in _BATCHES:
            batch = True
        frame = frame.f_back
    place = described(user_frame())
    return Cause(place, relationship, None if relationship else column, batch)


def _relationship(strategy: Any) -> str | None:
    prop = getattr(strategy, "parent_property", None)
    return None if prop is None else f"{prop.parent.class_.__name__}.{prop.key}"


def _columns(values: dict[str, Any]) -> str | None:
    mapper, names = values.get("mapper"), values.get("attribute_names")
    if mapper is None or not names:
        return None
    return f"{mapper.class_.__name__}.{sorted(names)[0]}"


def described(frame: FrameType) -> str:
    """A line as every error names it."""
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"


def stack_of(owner: Owner, deep: int = _DEEP) -> tuple[str, ...]:
    """Where a thread or task is at this moment, innermost last; empty where that cannot be told.

    :param deep: how many frames, of the innermost ones.
    """
    task = owner.task
    if task is not None and not _runs(task):
        frames = list(_waiting(task.get_coro()))
    else:
        frames = list(_running(sys._current_frames().get(owner.thread_id)))
    return tuple(map(described, frames[-deep:]))


def _runs(task: Any) -> bool:
    return asyncio.current_task(task.get_loop()) is task


def _running(frame: FrameType | None) -> Iterator[FrameType]:
    found = []
    while frame is not None:
        found.append(frame)
        frame = frame.f_back
    yield from reversed(found)


def _waiting(coroutine: Any) -> Iterator[FrameType]:
    """The frames of a coroutine that waits, each for the next; ``Task.get_stack`` has the first."""
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is None:
            return
        yield frame
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
