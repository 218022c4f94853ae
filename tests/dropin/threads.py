"""Running things in threads, with an end to every wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

R = TypeVar("R")

PATIENCE = 40.0


def in_thread(function: Callable[[], R], name: str = "worker") -> R:
    """What a function returns in a thread of its own, or raises there."""
    (result,) = together(function, names=[name])
    return result


def together(*functions: Callable[[], R], names: list[str] | None = None) -> list[R]:
    """What functions return that run at once, each in a thread of its own."""
    results: list[Any] = [None] * len(functions)
    errors: list[BaseException] = []

    def run(index: int) -> None:
        try:
            results[index] = functions[index]()
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(
            target=run, args=(index,), name=names[index] if names else f"party-{index}", daemon=True
        )
        for index in range(len(functions))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * PATIENCE)
        assert not thread.is_alive(), f"{thread.name} did not end"
    if errors:
        raise errors[0]
    return results


def wait_for(event: threading.Event) -> None:
    assert event.wait(PATIENCE), "nobody set the event"
