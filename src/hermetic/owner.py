"""Whose a session is: a thread, or a task of a thread's event loop."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import threading
import traceback
import weakref
from asyncio import _get_running_loop  # the C function; get_running_loop raises where none runs
from threading import get_ident
from types import FrameType
from typing import Any

try:
    import cython  # type: ignore[import-untyped]
except ImportError:
    from .fast import shadow as cython

Task = asyncio.Task[Any]
_running_loop = _get_running_loop

# the compiled form has this from owner.pxd
if not cython.compiled:

    def this_thread() -> int:
        """A number that no other thread has, had, or will have."""
        number: int | None = getattr(_here, "number", None)
        if number is None:
            number = _here.number = next(_numbers)
        return number


_numbers = itertools.count(1)


# how often this process was forked, itself or one that it comes from
_forks = 0


class _Process:
    id = os.getpid()

    forks = 0

    @classmethod
    def forked(cls) -> None:
        global _forks  # noqa: PLW0603 - a variable of C in the compiled form
        cls.id = os.getpid()
        cls.forks += 1
        _forks = cls.forks
        _here.__dict__.clear()  # the thread that forked is another owner in the child

    @classmethod
    def name(cls) -> str:
        """What tells this process from the one it comes from; empty in an original one."""
        if cls.forks:
            return f" of process {cls.id}"
        multiprocessing = sys.modules.get("multiprocessing.process")
        if multiprocessing is None or multiprocessing.parent_process() is None:
            return ""
        return f" of process {multiprocessing.current_process().name}"


os.register_at_fork(after_in_child=_Process.forked)


def current_task() -> Task | None:
    """The running task, or ``None`` outside of any event loop."""
    loop = _running_loop()
    return None if loop is None else asyncio.current_task(loop)


class Owner:
    """A thread, or a task within it. Compares equal to itself seen from anywhere."""

    __slots__ = ("_forks", "_process", "_task", "_task_id", "_thread", "thread", "thread_id")

    # what somebody else can do who wants to use what it owns
    hint = "Open a scope of your own there, or hand this one over with session.lend()."

    def __init__(self) -> None:
        self._process = _Process.id
        self._forks = _forks
        self._thread = this_thread()
        self.thread_id = get_ident()
        self.thread = threading.current_thread()
        task = current_task()
        # weak: a finished task's frames must not live as long as a record of its scopes
        self._task = None if task is None else weakref.ref(task)
        self._task_id = 0 if task is None else id(task)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Owner):
            return NotImplemented
        return self.thread_id == other.thread_id and self._task_id == other._task_id

    def __hash__(self) -> int:
        return hash((self.thread_id, self._task_id))

    @property
    def task(self) -> Task | None:
        return None if self._task is None else self._task()

    def is_current(self) -> bool:
        """Whether the caller is this owner."""
        if self._task is None and self._thread == this_thread() and self._forks == _forks:
            return _running_loop() is None
        # a new thread may have the number of one that is gone
        if self.thread_id != get_ident() or self._process != _Process.id:
            return False
        if self.thread is not threading.current_thread():
            return False  # a new thread with the number of one that is gone
        loop = _get_running_loop()
        if loop is None:
            return self._task is None
        task = asyncio.current_task(loop)
        return (None if self._task is None else self._task()) is task

    def is_elsewhere(self) -> bool:
        """Whether it is of the process that this one was forked from."""
        return bool(self._process != _Process.id)

    def __str__(self) -> str:
        thread = f"thread {self.thread.name!r}"
        if self._process != _Process.id:
            thread += f" of process {self._process}"
        else:
            thread += _Process.name()
        if self._task is None:
            return thread
        task = self._task()
        return f"{'a finished task' if task is None else f'task {task.get_name()!r}'} of {thread}"

    __repr__ = __str__

    def now_at(self) -> str:
        """Where it is at this moment: ``file:line in function``, or ``""`` where that cannot be
        told.
        """
        frame = self._frame()
        if frame is None:
            return ""
        entries = traceback.StackSummary.extract(traceback.walk_stack(frame), lookup_lines=False)
        # innermost first; the caller's code is what helps, not ours or the driver's
        for entry in entries:
            name = entry.filename
            if not name.startswith("<") and "site-packages" not in name and not _is_inner(name):
                return f"{entry.filename}:{entry.lineno} in {entry.name}"
        return ""

    def _frame(self) -> FrameType | None:
        if self._task is None:
            return sys._current_frames().get(self.thread_id)
        task = self._task()
        if task is None or task.done():
            return None
        stack = task.get_stack()
        return stack[-1] if stack else None


# of each thread: itself as an owner, for as long as it runs no loop
_here = threading.local()
# the thread that was last asked for; in most programs it is the next one too
_last: Owner | None = None


def current_owner() -> Owner:
    """The caller; always the same object for a thread outside of any event loop."""
    if _running_loop() is not None:
        return Owner()
    global _last  # noqa: PLW0603 - as above
    found = _last
    if found is None or found._thread != this_thread() or found._forks != _forks:
        found = getattr(_here, "owner", None)
        if found is None:
            found = _here.owner = Owner()
        _last = found
    return found


def describe_current() -> str:
    """The caller, in the words of an Owner."""
    return str(Owner())


_INNER = (__file__.rpartition("/")[0], threading.__file__, asyncio.__file__.rpartition("/")[0])


def _is_inner(filename: str) -> bool:
    return filename.startswith(_INNER)
