"""What an ASGI application receives of a request: kept for another run, and watched for its end."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

Message = Any
Receive = Callable[[], Awaitable[Message]]


class Receiving:
    """Stands between the server's ``receive`` and the application."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        # bytes of the body that may still be kept
        self._limit = limit
        self._kept: list[Message] | None = []
        # for the application: what was kept for another run, what came while it was watched
        self._next: deque[Message] = deque()
        # the one that watches has received something, or does so no more
        self._came = asyncio.Event()
        # the body has come as a whole; somebody wants to hear of the client's end
        self._whole = False
        self._gone: Callable[[], None] | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def can_repeat(self) -> bool:
        """Whether all that was received is there for another run."""
        return self._kept is not None

    @property
    def client_gone(self) -> bool:
        """Whether the client was seen to be gone."""
        return bool(self._next) and self._next[-1]["type"] == "http.disconnect"

    def repeat(self) -> None:
        """Give the application the body once more, from its beginning."""
        assert self._kept is not None
        behind = [each for each in self._next if each["type"] != "http.request"]
        self._next = deque([*self._kept, *behind])

    async def __call__(self) -> Message:
        while not self._next:
            if self._watcher is None:
                message = await self._receive()
                self._note(message)
                self._watch_on()
                return message
            # the one that watches is receiving already, and goes on with it
            self._came.clear()
            await self._came.wait()
        if self._next[0]["type"] == "http.disconnect":
            return self._next[0]  # as a server has it: whoever asks again is told again
        return self._next.popleft()

    def _note(self, message: Message) -> None:
        if message["type"] != "http.request":
            return
        self._whole = not message.get("more_body", False)
        if self._kept is None:
            return
        self._limit -= len(message.get("body", b""))
        if self._limit < 0:
            self._kept = None
        else:
            self._kept.append(message)

    def watch(self, gone: Callable[[], None], *, has_body: bool) -> None:
        """Call ``gone`` when the client is gone. A body is left to the application to receive."""
        self._gone = gone
        if self._whole or not has_body:
            self._start()

    def _watch_on(self) -> None:
        if self._gone is not None and self._whole:
            self._start()

    def _start(self) -> None:
        if self._watcher is None:
            self._watcher = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        try:
            while await self._look_once():
                pass
        finally:
            self._came.set()

    async def _look_once(self) -> bool:
        try:
            message = await self._receive()
        except Exception as failed:
            # the application gets it where it receives by itself
            message = {"type": "http.disconnect", "error": repr(failed)}
        self._note(message)
        self._next.append(message)
        self._came.set()
        if message["type"] == "http.disconnect":
            if self._gone is not None:
                self._gone()
            return False
        if not self._whole:
            self._watcher = None  # the rest of a body is the application's to receive
        return self._whole

    def stop(self) -> None:
        """Watch no longer."""
        self._gone = None
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
