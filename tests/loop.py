"""Running an async test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class LoopComplained(AssertionError):
    """The loop was told of an error that nobody awaited."""


def run_async(test: Callable[..., Coroutine[Any, Any, object]], /, **arguments: object) -> None:
    """Run a test in a loop of its own; errors that only the loop heard of fail it too."""
    heard: list[str] = []

    def listen(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        heard.append(f"{context.get('message')}: {context.get('exception')!r}")

    with asyncio.Runner(debug=False) as runner:
        runner.get_loop().set_exception_handler(listen)
        runner.run(test(**arguments))
    if heard:
        raise LoopComplained("; ".join(heard))
