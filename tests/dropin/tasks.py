"""Waiting for what other tasks will have done in a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def eventually(condition: Callable[[], bool], *, patience: float = 15.0) -> bool:
    """Whether a condition came true while other tasks were running."""
    pause = 0.005
    for _ in range(int(patience / pause)):
        if condition():
            return True
        await asyncio.sleep(pause)
    return False
