"""A flow: what one request, task or user has written and read so far, as a position.

It is one object, found through a context variable: tasks that a block starts see the same one, and
what any of them has seen is the floor of all. Nothing is sent here.
"""

from __future__ import annotations

import os
import threading
import weakref
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Self

from .dialects.positions import covers, joined
from .errors import ScopeControls
from .routing import ServerState

_current_flow: ContextVar[Flow | None] = ContextVar("hermetic_flow", default=None)
_flows: weakref.WeakSet[Flow] = weakref.WeakSet()


class Flow:
    """Scopes that see each other's writes, and never less than one of them has seen before.

    As ``Database.flow`` gives it: a block, ``with`` or ``async with``.
    """

    def __init__(self, routes: Any, floor: Any, *, monotonic: bool) -> None:
        self._routes = routes
        # what came from outside, and what was seen since then
        self._given = floor
        self._seen: Any = None
        self.monotonic = monotonic
        # the replica that was read from last: it needs no wait
        self.last: ServerState | None = None
        # when a scope ended of which it is not known how far the primary had come
        self._doubted: float | None = None
        self._lock = threading.Lock()
        self._parent: Flow | None = None
        self._token: Token[Flow | None] | None = None
        _flows.add(self)

    def __repr__(self) -> str:
        return f"<Flow at {self.floor}{', in doubt' if self.unsure else ''}>"

    @property
    def position(self) -> str | None:
        """What it has seen, for a cookie, a header or ``db.flow(position=…)`` elsewhere.

        ``None`` where nothing was seen yet, or the Database has no replicas.
        """
        floor = self.floor
        return None if floor is None else str(floor)

    @property
    def floor(self) -> Any:
        """What every server has to show that it reads from."""
        return joined(self._given, self._seen)

    @property
    def unsure(self) -> bool:
        """Whether it has seen something that its position may not cover: it reads from the
        primary, which tells it.
        """
        return self._doubted is not None

    def note(self, upper: Any, asked: float, state: ServerState | None) -> None:
        """A scope has ended.

        :param upper: covers all that it may have seen.
        :param asked: monotonic seconds, before the server was asked for that.
        :param state: the replica that it read from; ``None`` for the primary.
        """
        with self._lock:
            self._seen = joined(self._seen, upper)
            if state is None and not covers(upper, self._given):
                # the primary, which has everything there is, has never come so far: it is of a
                # history that is no more, or made up, and would be waited for again and again
                self._given = None
            if state is not None:
                self.last = state
            elif self._doubted is not None and asked > self._doubted:
                self._doubted = None

    def doubt(self, now: float) -> None:
        """A scope has ended, and nobody knows what it has seen or written."""
        with self._lock:
            self._doubted = now

    # ------------------------------------------------------------ as a block

    def of(self, routes: object) -> Flow | None:
        """The innermost flow of a Database, from this one on outwards."""
        flow: Flow | None = self
        while flow is not None and flow._routes is not routes:
            flow = flow._parent
        return flow

    def __enter__(self) -> Self:
        if self._token is not None:
            raise ScopeControls(
                "This flow is entered already.",
                hint="Tasks that are started inside the block are in it; elsewhere, go on from its "
                "position: db.flow(position=flow.position).",
            )
        self._parent = _current_flow.get()
        self._token = _current_flow.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        token, self._token = self._token, None
        if token is None:
            return
        try:
            _current_flow.reset(token)
        except ValueError:
            pass  # left in another context than it was entered in, which has it no more

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, trace)


def current_flow(routes: object) -> Flow | None:
    """The flow of a Database that is open here, if one is."""
    flow = _current_flow.get()
    return None if flow is None else flow.of(routes)


def _after_fork() -> None:
    for flow in list(_flows):
        flow._lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
