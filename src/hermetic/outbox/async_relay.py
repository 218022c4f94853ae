"""The relay of asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..errors import InvalidOption
from ..proof import new_token
from .claims import Claimed
from .relaying import Hand, Relaying, Trying


class AsyncRelay(Relaying):
    """Sends an outbox's messages as tasks: those of different keys at once.

    Made by ``outbox.relay(send)`` where ``send`` is a coroutine function. Its options are Relay's,
    and one more.

    :param concurrency: how many are sent at once. Default 10.
    :raises InvalidOption: a value is none.
    """

    def __init__(self, *args: Any, concurrency: int = 10, **options: Any) -> None:
        super().__init__(*args, **options)
        if concurrency < 1:
            raise InvalidOption("concurrency", concurrency, "must be 1 or more", place="relay()")
        self._concurrency = concurrency
        self._woken: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def wake(self) -> None:
        """Have it look at once; from any thread."""
        loop, woken = self._loop, self._woken
        if loop is not None and woken is not None:
            # it may have been closed
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(woken.set)

    def stop(self) -> None:
        """As Relay.stop."""
        self._stopping = True
        self.wake()

    async def run(self) -> None:
        """As Relay.run. A cancellation ends it too; what it has sent by then is noted first, what
        is being sent is broken off, and sent again by the next relay.
        """
        woken = self._begin()
        while not self._stopping:
            woken.clear()
            seconds = await self._round()
            if seconds and not self._stopping:
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await woken.wait()

    async def drain(self) -> int:
        """As Relay.drain."""
        self._begin()
        before = self.told.sent
        while not self._stopping:
            pause = await self._round()
            if pause >= self._poll:
                break
            await asyncio.sleep(pause)
        return self.told.sent - before

    def _begin(self) -> asyncio.Event:
        self._loop, self._woken = asyncio.get_running_loop(), asyncio.Event()
        return self._woken

    async def _round(self) -> float:
        """How long to wait for the next."""
        lease = new_token()
        try:
            hand = await self._in_database(self._claim, lease)
        except Exception:
            raise
        except BaseException:
            # it may have been committed all the same
            await self._finish(Hand(lease, [], 0.0), last=True)
            raise
        if not isinstance(hand, Hand):
            pause: float = hand
            return pause
        places, renewing = asyncio.Semaphore(self._concurrency), asyncio.Lock()
        try:
            async with asyncio.TaskGroup() as group:
                for run in hand.runs:
                    group.create_task(self._go_through(hand, run, places, renewing))
            await self._finish(hand)
        except BaseException:
            await self._finish(hand, last=True)
            raise
        return 0.0

    async def _go_through(
        self, hand: Hand, run: list[Claimed], places: asyncio.Semaphore, renewing: asyncio.Lock
    ) -> None:
        async with places:
            for each in run:
                if self._stopping:
                    return
                async with renewing:
                    if self._is_late(hand):
                        await self._keep(hand)
                if each.id not in hand.left:
                    return  # another relay has it, and what follows
                try:
                    await self._send(each.message)
                except (Exception, asyncio.CancelledError) as error:
                    if _is_ours(error):
                        raise
                    self._has_failed(hand, each, error)
                    return
                self._was_sent(hand, each)

    async def _keep(self, hand: Hand) -> None:
        done, left = hand.taken(), frozenset(hand.left)
        try:
            lost, held, hand.until = await self._in_database(self._renew, hand.lease, done, left)
        except BaseException:
            hand.not_noted(done)
            raise
        # whatever was sent in between is not in it any more
        hand.left &= held
        self._noted(lost)

    async def _finish(self, hand: Hand, *, last: bool = False) -> None:
        done = hand.taken()
        try:
            lost = await self._in_database(self._end, hand.lease, done, last=last)
        except BaseException:
            hand.not_noted(done)
            raise
        self._noted(lost)

    async def _in_database(self, work: Callable[..., Any], *args: Any, last: bool = False) -> Any:
        """As Relay's."""
        trying = Trying(self, last=last)
        while True:
            try:
                async for attempt in self.outbox.db.attempts(**self._scope()):
                    async with attempt as session:
                        answer = await session.run_sync(work, *args)
                return answer
            except Exception as error:
                pause = trying.after(error)
            await asyncio.sleep(pause)


def _is_ours(error: BaseException) -> bool:
    """Whether the task itself was cancelled, and not something that ``send`` has waited for."""
    task = asyncio.current_task()
    cancelled = isinstance(error, asyncio.CancelledError)
    return cancelled and task is not None and task.cancelling() > 0
