"""Cancelling a task at each point where it, or anything it started, waits.

With n = 1, 2, 3 … until the operation ends by itself, no point is left out, and none has to be
known.
"""

from __future__ import annotations

import asyncio
import gc
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import Any

import anyio

from tests.worlds import PATIENCE


class Waits:
    """Counts the waits of all tasks that begin inside its block, and acts at one of them."""

    def __init__(self, act: Callable[[int], None]) -> None:
        self._act = act
        self.count = 0

    @types.coroutine
    def counted(self, inner: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        resume: Callable[[], Any] = lambda: inner.send(None)  # noqa: E731
        while True:
            try:
                waited_for = resume()
            except StopIteration as done:
                return done.value
            self.count += 1
            self._act(self.count)
            try:
                value = yield waited_for
            except BaseException as error:
                resume = lambda error=error: inner.throw(error)  # type: ignore[misc]  # noqa: E731
            else:
                resume = lambda value=value: inner.send(value)  # type: ignore[misc]  # noqa: E731

    @contextmanager
    def watching(self) -> Generator[None]:
        loop = asyncio.get_running_loop()

        def make(loop: asyncio.AbstractEventLoop, inner: Any, **options: Any) -> asyncio.Task[Any]:
            async def run() -> Any:
                return await self.counted(inner)

            task = asyncio.Task(run(), loop=loop, **options)
            # one that was cancelled before its first step has not come to what it was given
            task.add_done_callback(lambda _: inner.close())
            return task

        before = loop.get_task_factory()
        loop.set_task_factory(make)
        try:
            yield
        finally:
            loop.set_task_factory(before)


@contextmanager
def without_asyncpgs_forgotten_future() -> Generator[None]:
    """Keep one complaint from the loop's handler.

    asyncpg 0.32, cancelled while its socket connects, leaves a future with an error in it to the
    garbage collector; the socket is closed all the same.
    """
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()

    def listen(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if str(context.get("exception")) == "unexpected connection_lost() call":
            return
        if before is not None:
            before(loop, context)

    loop.set_exception_handler(listen)
    try:
        yield
        gc.collect()
    finally:
        loop.set_exception_handler(before)


class Victim:
    """One run of an operation that was cancelled at one of its waits."""

    def __init__(self, at: int) -> None:
        self.at = at
        # How many CancelledErrors came out, or while the task went on a little.
        self.deliveries = 0
        # Whether it waited so often that it was cancelled at all.
        self.struck = False
        self.cancelled = False
        self.error: BaseException | None = None

    def __repr__(self) -> str:
        state = "cancelled" if self.cancelled else f"ended with {self.error!r}"
        return f"<struck at wait {self.at}, {state}>"


async def cancel_at(
    n: int,
    operation: Callable[[], Awaitable[Any]],
    *,
    times: int = 1,
    before: Callable[[], object] = lambda: None,
) -> Victim:
    """Run an operation, and cancel it at the n-th wait (and at the ones after it).

    :param before: done in the moment before the first cancellation.
    """
    victim = Victim(n)

    async def body() -> None:
        try:
            await operation()
        except asyncio.CancelledError:
            victim.deliveries += 1
            for _ in range(3):
                try:
                    await asyncio.sleep(0)
                except asyncio.CancelledError:
                    victim.deliveries += 1
            raise

    def act(count: int) -> None:
        # The task's own clean end is not what is cut short here.
        if n <= count < n + times and not victim.deliveries:
            if not victim.struck:
                before()
            victim.struck = True
            task.cancel()

    with Waits(act).watching():
        task = asyncio.ensure_future(body())
        await asyncio.wait({task}, timeout=PATIENCE)
    assert task.done(), f"{victim!r} did not end"
    victim.cancelled = task.cancelled()
    victim.error = None if victim.cancelled else task.exception()
    return victim


async def cancel_scope_at(n: int, operation: Callable[[], Awaitable[Any]]) -> Victim:
    """Run an operation in a cancel scope of anyio's, which is cancelled at the n-th wait."""
    victim = Victim(n)
    scope = anyio.CancelScope()

    async def body() -> None:
        with scope:
            try:
                await operation()
            except asyncio.CancelledError:
                victim.deliveries += 1
                raise

    def act(count: int) -> None:
        if count == n and not victim.deliveries:
            victim.struck = True
            scope.cancel()

    with Waits(act).watching():
        task = asyncio.ensure_future(body())
        await asyncio.wait({task}, timeout=PATIENCE)
    assert task.done(), f"{victim!r} did not end"
    victim.cancelled = scope.cancelled_caught
    victim.error = task.exception()
    return victim
