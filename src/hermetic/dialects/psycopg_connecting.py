"""psycopg's connecting, given up at a moment, where it counts in whole seconds from 2 up by itself.

psycopg drives a generator, ``_connect_gen``, and comes back to it every tenth of a second at least
(3.3.8, 3.3.9), in both worlds. Where another release does otherwise its own timeout is left.
"""

from __future__ import annotations

from collections.abc import Generator
from contextvars import ContextVar
from typing import Any

from ..clock import monotonic

# monotonic seconds, for the connection that this thread or task is about to make
CONNECTING_UNTIL: ContextVar[float | None] = ContextVar("hermetic_connecting", default=None)


class Punctual:
    """Mixed into psycopg's connections."""

    @classmethod
    def _connect_gen(cls, *args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        until = CONNECTING_UNTIL.get()
        steps: Generator[Any, Any, Any] = super()._connect_gen(*args, **kwargs)  # type: ignore[misc]
        if until is None:
            return (yield from steps)
        try:
            waited = next(steps)
            while True:
                ready = yield waited
                if monotonic() >= until:
                    raise _too_late()
                waited = steps.send(ready)
        except StopIteration as made:
            return made.value
        finally:
            steps.close()


def _too_late() -> Exception:
    from psycopg.errors import ConnectionTimeout

    return ConnectionTimeout("connection timeout expired")
