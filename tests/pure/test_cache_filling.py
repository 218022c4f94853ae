"""Who waits for another one's read is woken, whatever becomes of the others who wait."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

from sqlalchemy.util import greenlet_spawn

from hermetic.cache.filling import Filling
from tests.servers.process import wait_until


class Closed(asyncio.SelectorEventLoop):
    """A loop that is closed between any look at it and the call."""

    def call_soon_threadsafe(self, *args: Any, **options: Any) -> Any:  # type: ignore[override]
        raise RuntimeError("Event loop is closed")


def waiter(*, asynchronous: bool) -> Any:
    return SimpleNamespace(asynchronous=asynchronous, deadline=None, connection=None)


def test_a_waiter_whose_loop_was_closed_keeps_nobody_waiting() -> None:
    lock = threading.Lock()
    filling = Filling(waiter(asynchronous=False))
    loop = Closed()

    def in_loop() -> None:
        wait = greenlet_spawn(filling.wait, waiter(asynchronous=True), 1.5, lock)
        loop.run_until_complete(wait)

    first = threading.Thread(target=in_loop)
    first.start()
    assert wait_until(lambda: len(filling._waiters) == 1, 5)
    second = threading.Thread(target=filling.wait, args=(waiter(asynchronous=False), 30.0, lock))
    second.start()
    assert wait_until(lambda: len(filling._waiters) == 2, 5)

    with lock:
        filling.finish("found")
    second.join(5)

    assert not second.is_alive()
    first.join()
    loop.close()
