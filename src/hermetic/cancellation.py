"""Cancellations and interrupts that are answered with something else, and are delivered all the
same.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

from .owner import current_task


class Delivering:
    """Around a call of a driver, in a task: a cancellation that comes in the meantime is raised,
    whatever the call ends with.

    Drivers lose some. asyncio.wait_for of Python 3.11, by which they connect, swallows one that
    comes in the very moment of success, or of failure. SQLAlchemy's ping by asyncpg (2.1.9) sets
    the connection back in a ``finally``, whose own error takes the place of the cancellation; so
    does an assertion of psycopg's (3.3.9) where the pipeline of an executemany is entered. By its
    error alone such a connection would be taken for good. An interrupt in a thread is lost there
    too.
    """

    __slots__ = ("_before", "_task")

    def __init__(self) -> None:
        task = self._task = current_task()
        self._before = 0 if task is None else task.cancelling()

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        task = self._task
        if task is not None and task.cancelling() > self._before:
            if error is None or isinstance(error, Exception):
                raise asyncio.CancelledError from error
        elif isinstance(error, AssertionError):
            struck = error.__context__
            if struck is not None and not isinstance(struck, Exception):
                raise struck from error
